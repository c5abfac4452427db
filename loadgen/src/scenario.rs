//! What sessions do: a table of scenarios, one row each, and the commands that a run's sessions say, made once.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use crate::corpus::Corpus;
use crate::network::Proxy;
use crate::tls::Mode;

/// The name in EHLO.
const CLIENT_NAME: &str = "loadgen.test";

/// Octets of commands that a flood sends at a time.
const FLOOD_BYTES: usize = 64 * 1024;

/// How a session goes, and which replies are expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Sends mail; everything is accepted.
    Mail,
    /// RCPT is refused, 4yz or 5yz; then QUIT or the next one.
    Refused,
    /// Says EHLO before the greeting. A refusal (greeting or EHLO answered 4yz or 5yz) is as good as service.
    EarlyTalker,
    /// An octet of mail data a second. The server may end it whenever it wants.
    Slowloris,
    /// Large messages. 552 is as good as 250.
    Huge,
    /// Closes in the middle of the mail data.
    Abort,
    /// Mail data of nothing but LF. Whatever the server makes of it is as good.
    BareLf,
    /// RCPT without end, and reads no reply. The server may end it whenever it wants.
    NeverReads,
    /// Twenty octets of mail data, then nothing. The server may end it whenever it wants.
    HalfData,
    /// Says EHLO, and nothing more. The server may end it whenever it wants.
    Idle,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What its sessions do.
    pub act: Act,
    /// Messages of a session, unless `--per-connection` says otherwise; none: as many as there are.
    pub messages_per_session: Option<NonZeroU64>,
    /// Sessions begin together, at multiples of this time.
    pub period: Option<Duration>,
}

const fn row(name: &'static str, act: Act, messages_per_session: u64) -> Row {
    Row { name, act, messages_per_session: NonZeroU64::new(messages_per_session), period: None }
}

/// All scenarios. 0 messages a session: no limit.
static TABLE: [Row; 12] = [
    row("steady", Act::Mail, 0),
    Row { period: Some(Duration::from_secs(1)), ..row("burst", Act::Mail, 20) },
    row("churn", Act::Mail, 1),
    row("refusals", Act::Refused, 1),
    row("early-talker", Act::EarlyTalker, 1),
    row("slowloris", Act::Slowloris, 0),
    row("huge", Act::Huge, 0),
    row("abort", Act::Abort, 1),
    row("bare-lf", Act::BareLf, 0),
    row("never-reads", Act::NeverReads, 0),
    row("half-data", Act::HalfData, 0),
    row("idle", Act::Idle, 0),
];

impl Act {
    /// Whether its sessions send the run's messages; others keep the server company while the run lasts.
    pub fn sends(self) -> bool {
        !matches!(self, Self::Slowloris | Self::NeverReads | Self::HalfData | Self::Idle)
    }
}

/// Scenarios with the weights that divide the connections among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(pub Vec<(&'static Row, u32)>);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WEIGHT_MAX: u32 = 10_000;
        let part = |part: &str| {
            let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
            let row = TABLE.iter().find(|row| row.name == name).ok_or_else(|| {
                let names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
                format!("{name:?} is no scenario; there are {}", names.join(", "))
            })?;
            let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
            Ok((row, weight.ok_or_else(|| format!("the weight of {name} is 1 to {WEIGHT_MAX}"))?))
        };
        text.split(',').map(part).collect::<Result<_, String>>().map(Self)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |(row, weight): &(&Row, u32)| match self.0.len() {
            1 => row.name.to_owned(),
            _ => format!("{}:{weight}", row.name),
        };
        f.write_str(&self.0.iter().map(part).collect::<Vec<_>>().join(","))
    }
}

impl Mix {
    /// Which scenario each of so many connections has, spread evenly: at every step the one that is most behind its share.
    /// Each has one connection at least, if there are enough.
    pub fn divide(&self, connections: usize) -> Vec<usize> {
        let mut counts = vec![0_u64; self.0.len()];
        let next = |_| {
            let behind = |index: &usize| {
                let weight = f64::from(self.0[*index].1);
                counts[*index] as f64 / weight - if counts[*index] == 0 { 1.0 } else { 0.0 }
            };
            let chosen =
                (0..counts.len()).min_by(|one, two| behind(one).total_cmp(&behind(two))).unwrap_or(0);
            counts[chosen] += 1;
            chosen
        };
        (0..connections).map(next).collect()
    }
}

/// One kind of session in a run. It lives as long as the process, so that commands are sent from where they are.
#[derive(Debug)]
pub struct Scenario {
    /// Its row of the table.
    pub row: &'static Row,
    /// Messages of a session, then QUIT; none: as many as there are.
    pub messages_per_session: Option<NonZeroU64>,
    /// Transactions under way at a time, if MAIL, RCPT and DATA leave as one command group (RFC 2920) where the server
    /// offers it. `depth >= 1`
    pub pipelining: Option<u16>,
    /// Octets of a chunk, if mail data is sent with BDAT (RFC 3030).
    pub bdat: Option<usize>,
    /// PROXY headers, if connections begin with one.
    pub proxy: Option<Proxy>,
    /// When TLS begins, if it does.
    pub tls: Option<Mode>,
    /// The commands.
    pub commands: Commands,
    /// The mail data.
    pub corpus: &'static Corpus,
}

/// Commands with their CRLF.
#[derive(Debug, Clone)]
pub struct Commands {
    /// EHLO.
    pub ehlo: Vec<u8>,
    /// HELO, for servers that do not know EHLO.
    pub helo: Vec<u8>,
    /// MAIL.
    pub mail: Vec<u8>,
    /// RCPT, one a recipient; never empty.
    pub recipients: Vec<Vec<u8>>,
    /// The first RCPT many times over.
    pub flood: Vec<u8>,
    /// MAIL and every RCPT.
    pub envelope: Vec<u8>,
    /// MAIL, every RCPT and DATA.
    pub group: Vec<u8>,
}

impl Commands {
    /// DATA.
    pub const DATA: &'static [u8] = b"DATA\r\n";
    /// The end of mail data that is nothing else: what RFC 2920 §3.1 has a client send when DATA was accepted though no
    /// recipient was.
    pub const EMPTY_MAIL_DATA: &'static [u8] = b".\r\n";
    /// STARTTLS.
    pub const STARTTLS: &'static [u8] = b"STARTTLS\r\n";
    /// RSET.
    pub const RSET: &'static [u8] = b"RSET\r\n";
    /// QUIT.
    pub const QUIT: &'static [u8] = b"QUIT\r\n";

    /// Commands of a transaction from one reverse-path to as many forward-paths; `parameters` are those of MAIL, each behind
    /// a space.
    pub fn new(reverse_path: &str, parameters: &str, forward_paths: &[String]) -> Self {
        assert!(!forward_paths.is_empty(), "a transaction has a recipient");
        let mail = format!("MAIL FROM:<{reverse_path}>{parameters}\r\n").into_bytes();
        let recipients: Vec<_> =
            forward_paths.iter().map(|path| format!("RCPT TO:<{path}>\r\n").into_bytes()).collect();
        let envelope = [&mail[..], &recipients.concat()].concat();
        let flood = recipients[0].repeat(FLOOD_BYTES / recipients[0].len());
        let group = [&envelope[..], Self::DATA].concat();
        let [ehlo, helo] = ["EHLO", "HELO"].map(|verb| format!("{verb} {CLIENT_NAME}\r\n").into_bytes());
        Self { ehlo, helo, mail, recipients, flood, envelope, group }
    }
}

/// Forward-paths of `count` recipients: the mailbox itself, then `local-part+2@domain` and so on.
pub fn forward_paths(mailbox: &str, count: usize) -> Vec<String> {
    let (local_part, domain) = mailbox.rsplit_once('@').unwrap_or((mailbox, "loadgen.test"));
    let numbered = (2..=count).map(|number| format!("{local_part}+{number}@{domain}"));
    std::iter::once(mailbox.to_owned()).chain(numbered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_group_is_its_commands_in_order() {
        let commands = Commands::new("a@x.test", "", &forward_paths("b@y.test", 3));
        assert_eq!(
            String::from_utf8_lossy(&commands.group),
            "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<b+2@y.test>\r\nRCPT TO:<b+3@y.test>\r\nDATA\r\n"
        );
        assert_eq!(commands.recipients.len(), 3);
    }

    #[test]
    fn weights_divide_the_connections_and_nobody_is_left_out() {
        let mix: Mix = "steady:8,churn:1,abort".parse().expect("a mix");
        assert_eq!(mix.to_string(), "steady:8,churn:1,abort:1");
        let count = |connections, index| mix.divide(connections).iter().filter(|at| **at == index).count();
        assert_eq!([count(100, 0), count(100, 1), count(100, 2)], [80, 10, 10]);
        assert_eq!([count(3, 0), count(3, 1), count(3, 2)], [1, 1, 1]);
        for wrong in ["", "study", "steady:0", "steady:x", "steady,,abort"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}

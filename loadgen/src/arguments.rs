//! The command line.

use std::num::{NonZeroU16, NonZeroU64};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use crate::compare::CompareArguments;
use crate::network::{Network, ProxyVersion};
use crate::rate::Rate;
use crate::scenario::Mix;
use crate::size::Size;
use crate::threshold::Threshold;
use crate::tls::{Mode, Version};
use crate::verify::VerifyArguments;

/// Sends mail to an SMTP receiver and measures it: as fast as its replies allow, or with --rate at intended times.
///
/// Without --rate every connection is a closed loop: it sends the next message when the last one was answered. With --rate
/// each message has an intended time, and its latency counts from then. Each thread drives its share of the connections over
/// its own io_uring.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version = version(), after_help = EXAMPLES, after_long_help = AFTER)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CommandLine {
    /// Another job than sending mail.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to send; there unless a command is.
    #[command(flatten)]
    pub load: Option<Arguments>,
}

/// The version with the commit that it was built from.
fn version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), ringmx::cli::commit()))
}

/// What loadgen does besides sending mail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compares a ledger with what is stored: finds lost, altered and duplicated mail by name
    Verify(VerifyArguments),
    /// Prints reports written by --json side by side, with ratios, and marks what may be noise
    Compare(CompareArguments),
}

/// What to send, where and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The receiver: a name or an address, and a port
    #[arg(value_name = "HOST:PORT")]
    pub target: String,

    /// Connections held open at a time, over all threads
    #[arg(short, long, value_name = "N", default_value_t = 50, help_heading = "Load")]
    pub connections: usize,

    /// Messages of the whole run [default: 10000, unless --duration is given]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Load")]
    pub messages: Option<u64>,

    /// Begin no message after this time; with --messages, whichever comes first [default: 10min]
    #[arg(short, long, value_name = "TIME", value_parser = positive_time, help_heading = "Load")]
    pub duration: Option<Duration>,

    /// Messages of a session, then QUIT and a new connection (1: a connection a message) [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub per_connection: Option<NonZeroU64>,

    /// Open loop: messages have intended times, at this rate (20000/s, or a ramp over --duration: 1000/s..20000/s)
    #[arg(short, long, value_name = "RATE", help_heading = "Load")]
    pub rate: Option<Rate>,

    /// What sessions do: a scenario, or several with weights that divide the connections (steady:8,churn:1,abort:1)
    #[arg(long, value_name = "NAME[:N],...", default_value = "steady", help_heading = "Load")]
    pub scenario: Mix,

    /// Send MAIL, RCPT and DATA in one write, where the server offers PIPELINING (RFC 2920); above 1, begin so many
    /// transactions before the first is answered (with DATA two at most: the next envelope rides behind the mail data)
    #[arg(short, long, value_name = "DEPTH", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Load")]
    pub pipelining: Option<u16>,

    /// Send mail data with BDAT (RFC 3030), whole or in chunks of this size; the server must offer CHUNKING
    #[arg(long, value_name = "CHUNK", num_args = 0..=1, require_equals = true, default_missing_value = "1GiB", help_heading = "Load")]
    pub bdat: Option<ByteSize>,

    /// Octets of a message (header and text, without what transparency adds): a size, lognormal:MEDIAN or lognormal:MEDIAN:SIGMA, or profile (mail as an MX sees it)
    #[arg(short, long, value_name = "SIZE", default_value = "4KiB", help_heading = "Message")]
    pub size: Size,

    /// Send these messages instead: a folder of .eml files, or an mbox
    #[arg(long, value_name = "PATH", conflicts_with = "size", help_heading = "Message")]
    pub corpus: Option<PathBuf>,

    /// Seed of the text that is made
    #[arg(long, value_name = "N", default_value_t = 5321, help_heading = "Message")]
    pub seed: u64,

    /// Recipients of a message
    #[arg(long, value_name = "N", default_value_t = NonZeroU16::MIN, help_heading = "Message")]
    pub recipients: NonZeroU16,

    /// Reverse-path; "" is the null reverse-path
    #[arg(long, value_name = "MAILBOX", default_value = "sender@loadgen.test", help_heading = "Message")]
    pub from: String,

    /// Forward-path; of several recipients the second is local-part+2@domain, and so on
    #[arg(long, value_name = "MAILBOX", default_value = "recipient@example.test", help_heading = "Message")]
    pub to: String,

    /// Forward-path that the scenario refusals expects to be refused
    #[arg(long, value_name = "MAILBOX", default_value = "unknown@refused.test", help_heading = "Message")]
    pub unknown: String,

    /// Begin every connection with a PROXY header, as a load balancer does
    #[arg(long, value_name = "v1|v2", help_heading = "Addresses")]
    pub proxy: Option<ProxyVersion>,

    /// Client addresses that PROXY headers tell, one a connection in turn
    #[arg(long, value_name = "NETWORK", default_value = "198.18.0.0/15", help_heading = "Addresses")]
    pub proxy_clients: Network,

    /// Connect from these addresses, one a connection in turn: 127.0.0.2, or 127.0.0.0/8
    #[arg(long, value_name = "NETWORK", help_heading = "Addresses")]
    pub source: Option<Network>,

    /// Send all mail under TLS: behind STARTTLS (RFC 3207), or from the first octet of the connection
    #[arg(long, value_name = "starttls|implicit", help_heading = "TLS")]
    pub tls: Option<Mode>,

    /// The server's name, for SNI and for --tls-verify [default: the target's host, if it is a name]
    #[arg(long, value_name = "NAME", requires = "tls", help_heading = "TLS")]
    pub tls_name: Option<String>,

    /// Verify the server's certificate against the roots in this file (PEM); without it nothing of it is checked
    #[arg(long, value_name = "FILE", requires = "tls", help_heading = "TLS")]
    pub tls_verify: Option<PathBuf>,

    /// Resume sessions, where the server lets us; without it every handshake is a full one
    #[arg(long, requires = "tls", help_heading = "TLS")]
    pub tls_resume: bool,

    /// Offer this version only [default: both]
    #[arg(long, value_name = "1.2|1.3", requires = "tls", help_heading = "TLS")]
    pub tls_version: Option<Version>,

    /// Threads [default: one a core of --cpus, or 1]
    #[arg(short, long, value_name = "N", help_heading = "This machine")]
    pub threads: Option<NonZeroU16>,

    /// Cores to pin the threads to, one a thread [default: the last ones, from the end]
    #[arg(long, value_name = "CPU,CPU", value_delimiter = ',', help_heading = "This machine")]
    pub cpus: Vec<usize>,

    /// The longest wait for a connection, a reply, or the server to take what is sent
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive_time, help_heading = "This machine")]
    pub timeout: Duration,

    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,

    /// Write the report as one HTML page, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,

    /// Write the latency of transactions as HdrHistogram percentiles, in milliseconds
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub hgrm: Option<PathBuf>,

    /// Fail, with exit code 3, if this holds: 'p99>5ms', 'accepted.p99.9>1s', 'rate<20000', 'handshakes<900',
    /// 'resumed<95', 'errors>0', 'unsent>0'; may be repeated
    #[arg(long, value_name = "THRESHOLD", help_heading = "Report")]
    pub fail_if: Vec<Threshold>,

    /// Append to this file what was sent and how it was answered, for `loadgen verify`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub ledger: Option<PathBuf>,

    /// Allow a target that is not a loopback address
    #[arg(long, help_heading = "This machine")]
    pub i_own_this_host: bool,
}

const EXAMPLES: &str = "Example: loadgen 127.0.0.1:2525 --duration 10s --connections 200 --pipelining";

const AFTER: &str = "\
Sizes are written 4096, 4KiB, 1.5MB; times 500ms, 10s, 2min.

Scenarios:
  steady        connections are kept, one message after another
  burst         all connections at once, each with 20 messages; then silence to the end of the second
  churn         a connection for each message
  refusals      unknown recipients: RCPT must be refused
  early-talker  EHLO before the greeting: refused, or served all the same
  slowloris     an octet of mail data a second, without end
  huge          messages of 25 MiB; 552 is an answer, too
  abort         closes in the middle of the mail data
  bare-lf       mail data of 1 MiB of nothing but LF: refused, stored, closed
  never-reads   RCPT without end, and no reply is read
  half-data     twenty octets of mail data, then nothing
  idle          connections held open, doing nothing

Examples:
  loadgen 127.0.0.1:2525
  loadgen [::1]:2525 --duration 10s --connections 200 --pipelining
  loadgen 127.0.0.1:2525 --messages 5000 --per-connection 1 --size 64KiB --recipients 3
  loadgen 127.0.0.1:2525 --rate 5000/s --duration 30s --html report.html --fail-if 'p99>5ms'
  loadgen 127.0.0.1:2525 --duration 10s --scenario steady:8,churn:1,abort:1 --pipelining=2
  loadgen localhost:2525 --duration 10s --scenario churn --tls starttls --tls-resume
  loadgen 127.0.0.1:2525 --duration 10s --ledger sent.ledger; loadgen verify --ledger sent.ledger --maildir ringmx-data

Exit code: 0 if every reply was as expected and every message begun was accepted (Ctrl-C makes a run shorter, not wrong); 1 if \
not, and then the run has no result, or if a report cannot be written; 2 if the arguments make no run; 3 if a --fail-if \
failed.";

/// A time above zero.
fn positive_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("must be longer than nothing".into()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_have_units() {
        let line = ["loadgen", "h:1", "--size", "64KiB", "--duration", "1min", "--cpus", "1,3"];
        let arguments = CommandLine::try_parse_from(line).expect("arguments").load.expect("a load");
        assert_eq!(arguments.size, Size::Fixed(65_536));
        assert_eq!(arguments.duration, Some(Duration::from_mins(1)));
        assert_eq!(arguments.cpus, [1, 3]);
    }

    #[test]
    fn verify_takes_one_store_and_no_load() {
        let parse = |line: &str| CommandLine::try_parse_from(line.split(' '));
        let verify = parse("loadgen verify --ledger l --spool s").expect("arguments");
        assert!(matches!(verify.command, Some(Command::Verify(_))) && verify.load.is_none());
        for wrong in [
            "loadgen",
            "loadgen --size 4KiB",
            "loadgen verify --ledger l",
            "loadgen verify --maildir m",
            "loadgen verify --ledger l --maildir m --spool s",
            "loadgen h:1 verify --ledger l --maildir m",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

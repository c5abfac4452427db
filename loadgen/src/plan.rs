//! What a run is to do: arguments turned once into values that cannot be wrong.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ringmx::shard::affinity::allowed_cpus;

use crate::arguments::Arguments;
use crate::corpus::{Corpus, Recipe, SIZE_MAX};
use crate::network::{Network, Proxy};
use crate::rate::Rate;
use crate::report::counted;
use crate::samples;
use crate::scenario::{Act, Commands, Mix, Row, Scenario, forward_paths};
use crate::size::Size;
use crate::tls::Tls;

/// Messages of a run for which neither a count nor a time was given.
const MESSAGES_DEFAULT: u64 = 10_000;

/// How long a run lasts at most unless `--duration` says otherwise.
const DURATION_DEFAULT: Duration = Duration::from_mins(10);

/// How long a run lasts that sends no mail.
const IDLE_DURATION_DEFAULT: Duration = Duration::from_secs(10);

const SIZE_MAX_PLUS_1: u64 = SIZE_MAX + 1;

/// Connections of a run.
const CONNECTIONS_MAX: usize = 50_000;

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// The target as it was given.
    pub target: String,
    /// Where that is.
    pub address: SocketAddr,
    /// What sessions do, as it was asked for.
    pub mix: Mix,
    /// What sessions do, in the order of the mix.
    pub scenarios: Vec<&'static Scenario>,
    /// The scenario of each connection, as an index of `scenarios`.
    dealt: Vec<usize>,
    /// All mail data.
    pub corpus: &'static Corpus,
    /// What that is, in words.
    pub message: String,
    /// Recipients of a message.
    pub recipients: usize,
    /// The open loop's rate; none: a closed loop.
    pub rate: Option<Rate>,
    /// Addresses to connect from.
    pub source: Option<Network>,
    /// TLS, if mail is sent under it.
    pub tls: Option<Tls>,
    /// Messages of the whole run; none: as many as the time allows.
    pub messages: Option<u64>,
    /// After this time no message is begun.
    pub duration: Duration,
    /// Whether the run is meant to end then, with messages left.
    pub by_time: bool,
    /// No wait for the server is longer.
    pub timeout: Duration,
    /// The threads.
    pub threads: Vec<Share>,
}

/// A thread's share of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its place among the threads.
    pub index: usize,
    /// The core it is pinned to.
    pub cpu: usize,
    /// Its connections. `connections >= 1`.
    pub connections: usize,
    /// Number of its first message.
    pub first: u64,
    /// Its messages; none: as many as the time allows.
    pub messages: Option<u64>,
}

/// Arguments that make no run.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

fn wrong<T>(message: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(message.into()))
}

impl Plan {
    /// Checks the arguments; looks the target up.
    pub fn new(arguments: &Arguments) -> Result<Self, UsageError> {
        let mix = &arguments.scenario;
        let sends = mix.0.iter().any(|(row, _)| row.act.sends());
        let messages = match (arguments.messages, arguments.duration) {
            _ if !sends => None,
            (None, None) => Some(MESSAGES_DEFAULT),
            (given, _) => given,
        };
        let duration_default = if sends { DURATION_DEFAULT } else { IDLE_DURATION_DEFAULT };
        if let (Some(rate), None) = (arguments.rate, arguments.duration)
            && rate.is_ramp()
        {
            return wrong("a ramp takes as long as --duration says, so give one");
        }
        let connections = arguments.connections;
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            return wrong(format!("--connections takes 1 to {CONNECTIONS_MAX}"));
        }
        let threads = shares(
            &cpus(arguments)?,
            // A connection without a message to send would be a session of nothing.
            usize::try_from(messages.unwrap_or(u64::MAX)).map_or(connections, |most| most.min(connections)),
            messages,
        );
        let dealt = mix.divide(threads.iter().map(|share| share.connections).sum());
        if dealt.len() < mix.0.len() {
            return wrong(format!("{} scenarios need at least as many connections", mix.0.len()));
        }
        let address = address(&arguments.target, arguments.i_own_this_host, arguments.timeout)?;
        if let Some(source) = arguments.source {
            if source.is_ipv4() != address.is_ipv4() {
                return wrong(format!("--source is of another family than {address}"));
            }
            if !source.is_loopback() && !arguments.i_own_this_host {
                return wrong(
                    "--source takes loopback addresses, unless --i-own-this-host says that you may",
                );
            }
        }
        let tls = Tls::new(arguments, address.ip()).map_err(UsageError)?;
        let samples = arguments.corpus.as_deref().map(samples::read).transpose().map_err(UsageError)?;
        let corpus = corpus(arguments, samples.as_deref())?;
        let message = match samples {
            Some(samples) => format!(
                "{} of {}, {} octets on average",
                counted(samples.len() as u64, "message"),
                arguments.corpus.as_deref().unwrap_or(Path::new("")).display(),
                corpus.size_mean()
            ),
            None if arguments.size.varies() => {
                format!("{}, {} octets on average", arguments.size, corpus.size_mean())
            }
            None => arguments.size.to_string(),
        };
        let message = match (mix.0.iter().any(|(row, _)| row.act == Act::Huge), mix.0.len()) {
            (true, 1) => format!("{} octets", corpus.size_max()),
            (true, _) => format!("{message} (huge: {})", corpus.size_max()),
            (false, _) => message,
        };
        Ok(Self {
            address,
            target: arguments.target.clone(),
            mix: mix.clone(),
            scenarios: mix.0.iter().map(|(row, _)| scenario(arguments, row, corpus)).collect(),
            dealt,
            corpus,
            message,
            recipients: arguments.recipients.get().into(),
            rate: arguments.rate,
            source: arguments.source,
            tls,
            messages,
            duration: arguments.duration.unwrap_or(duration_default),
            by_time: arguments.duration.is_some() || !sends,
            timeout: arguments.timeout,
            threads,
        })
    }

    /// What a connection does.
    pub fn scenario_of(&self, connection: usize) -> &'static Scenario {
        // Threads may differ by a connection, and then the last one has no place of its own.
        self.scenarios[self.dealt[connection % self.dealt.len()]]
    }

    /// Whether some sessions send mail.
    pub fn sends(&self) -> bool {
        self.scenarios.iter().any(|scenario| scenario.row.act.sends())
    }

    /// Whether command groups were asked for, and how many transactions at a time.
    pub fn pipelining(&self) -> Option<u16> {
        self.scenarios.iter().find_map(|scenario| scenario.pipelining)
    }

    /// Connections of all threads.
    pub fn connections(&self) -> usize {
        self.threads.iter().map(|share| share.connections).sum()
    }
}

fn corpus(arguments: &Arguments, samples: Option<&[Vec<u8>]>) -> Result<&'static Corpus, UsageError> {
    let Arguments { from, to, .. } = arguments;
    if !from.is_empty() {
        check_mailbox("--from", from)?;
    }
    check_mailbox("--to", to)?;
    check_mailbox("--unknown", &arguments.unknown)?;
    if let Size::Fixed(SIZE_MAX_PLUS_1..) | Size::LogNormal { median: SIZE_MAX_PLUS_1.., .. } = arguments.size
    {
        return wrong("--size takes at most 1GiB");
    }
    let now = SystemTime::now();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let eight_bit = samples.is_some_and(|samples| samples.iter().any(|text| !text.is_ascii()));
    let group = commands(arguments, eight_bit, to).group;
    let recipe = Recipe {
        // The header has a mailbox in From: even when the reverse-path is null.
        from: if from.is_empty() { "postmaster@loadgen.test" } else { from },
        to,
        size: arguments.size,
        seed: arguments.seed,
        samples,
        huge: arguments.scenario.0.iter().any(|(row, _)| row.act == Act::Huge),
        chunked: arguments.bdat.is_some(),
        next_group: if arguments.pipelining > Some(1) && arguments.bdat.is_none() { &group } else { b"" },
        // Until the year 2554.
        run: u64::try_from(since_epoch.as_nanos()).unwrap_or_default(),
        now,
    };
    let corpus = Corpus::new(&recipe).map_err(|too_small| {
        UsageError(format!("--size must be at least {}: the header takes that much", too_small.minimum))
    })?;
    Ok(Box::leak(Box::new(corpus)))
}

fn commands(arguments: &Arguments, eight_bit: bool, to: &str) -> Commands {
    let parameters = if eight_bit { " BODY=8BITMIME" } else { "" };
    Commands::new(&arguments.from, parameters, &forward_paths(to, arguments.recipients.get().into()))
}

fn scenario(arguments: &Arguments, row: &'static Row, corpus: &'static Corpus) -> &'static Scenario {
    let to = if row.act == Act::Refused { &arguments.unknown } else { &arguments.to };
    // Those that stop within the mail data do it in the plain form.
    let plain = matches!(row.act, Act::Slowloris | Act::Abort | Act::Idle);
    Box::leak(Box::new(Scenario {
        row,
        messages_per_session: arguments
            .per_connection
            .filter(|_| row.act.sends())
            .or(row.messages_per_session),
        pipelining: arguments.pipelining.filter(|_| !plain),
        bdat: arguments
            .bdat
            .filter(|_| !plain)
            .map(|chunk| usize::try_from(chunk.as_u64()).unwrap_or(usize::MAX).max(1)),
        proxy: arguments.proxy.map(|version| Proxy { version, clients: arguments.proxy_clients }),
        tls: arguments.tls,
        commands: commands(arguments, corpus.is_8bit(), to),
        corpus,
    }))
}

/// A mailbox goes into commands and into the header as it is, so it must not be able to end a line or a path.
fn check_mailbox(argument: &str, mailbox: &str) -> Result<(), UsageError> {
    const BYTES_MAX: usize = 254;
    let plain = mailbox.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>".contains(&octet));
    let whole = mailbox
        .rsplit_once('@')
        .is_some_and(|(local_part, domain)| !local_part.is_empty() && !domain.is_empty());
    if plain && whole && mailbox.len() <= BYTES_MAX {
        return Ok(());
    }
    wrong(format!("{argument} takes a mailbox such as somebody@example.test, not {mailbox:?}"))
}

/// The cores of the threads: those that were named, or the last ones, from the end, so that a receiver on the first ones is
/// left alone.
fn cpus(arguments: &Arguments) -> Result<Vec<usize>, UsageError> {
    let allowed = allowed_cpus().map_err(|error| UsageError(format!("which cores may be used: {error}")))?;
    if let Some(cpu) = arguments.cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        return wrong(format!("--cpus: this process may not run on core {cpu}; it may on {allowed:?}"));
    }
    let named = arguments.cpus.len();
    let threads = arguments.threads.map_or(named.max(1), |threads| threads.get().into());
    if threads > arguments.connections {
        return wrong(format!("{threads} threads need at least as many --connections"));
    }
    if named == 0 {
        return Ok(allowed.iter().rev().cycle().take(threads).copied().collect());
    }
    if named != threads {
        return wrong(format!("--cpus names {named} cores for {threads} threads; give one a thread"));
    }
    Ok(arguments.cpus.clone())
}

/// Divides connections and messages as evenly as it goes. No more threads than connections are used.
fn shares(cpus: &[usize], connections: usize, messages: Option<u64>) -> Vec<Share> {
    let threads = cpus.len().min(connections);
    // Part `index` of `total`, and the sum of the parts before it.
    let part = |total: u64, index: u64| {
        let threads = threads as u64;
        (
            total / threads + u64::from(index < total % threads),
            total / threads * index + index.min(total % threads),
        )
    };
    let share = |(index, cpu): (usize, &usize)| {
        let (index_of_thread, index) = (index, index as u64);
        let (count, first) = match messages {
            Some(messages) => (Some(part(messages, index).0), part(messages, index).1),
            None => (None, index << 48),
        };
        let connections = usize::try_from(part(connections as u64, index).0).unwrap_or(connections);
        Share { index: index_of_thread, cpu: *cpu, connections, first, messages: count }
    };
    cpus.iter().take(threads).enumerate().map(share).collect()
}

/// Looks the target up. Load is a weapon, so anything but this machine must be asked for by name.
fn address(target: &str, anywhere: bool, timeout: Duration) -> Result<SocketAddr, UsageError> {
    let found = target.to_socket_addrs().map_err(|error| {
        UsageError(format!("the target {target:?} is not HOST:PORT, or cannot be looked up: {error}"))
    })?;
    let found: Vec<SocketAddr> = found.collect();
    if let Some(far) = found.iter().find(|address| !anywhere && !address.ip().to_canonical().is_loopback()) {
        return wrong(format!(
            "{target} is {}, not this machine: load is sent to a loopback address only, unless --i-own-this-host says that \
             you may",
            far.ip()
        ));
    }
    match found[..] {
        [] => wrong(format!("{target} has no address")),
        [only] => Ok(only),
        // A name may have addresses that nobody listens on: the first that answers is taken.
        [first, ..] => {
            let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, timeout).is_ok();
            Ok(found.iter().find(answers).copied().unwrap_or(first))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_numbers_do_not_overlap() {
        for threads in 1..=5 {
            for messages in [5, 17, 1000] {
                let cpus: Vec<usize> = (0..threads).collect();
                let shares = shares(&cpus, 13, Some(messages));
                assert_eq!(shares.iter().map(|share| share.connections).sum::<usize>(), 13);
                let mut next = 0;
                for share in &shares {
                    assert_eq!(share.first, next);
                    next += share.messages.expect("bounded");
                }
                assert_eq!(next, messages);
            }
        }
        assert_eq!(
            shares(&[3, 2], 1, None),
            [Share { index: 0, cpu: 3, connections: 1, first: 0, messages: None }]
        );
    }

    #[test]
    fn mailboxes_cannot_break_out_of_their_command() {
        for good in ["a@b.test", "\"q\"@x.test", "a+b@[127.0.0.1]"] {
            assert_eq!(check_mailbox("--to", good), Ok(()));
        }
        for bad in ["", "a", "@x", "a@", "a@b>\r\nQUIT", "a b@c.test", "a@b.test>", "ä@b.test"] {
            assert!(check_mailbox("--to", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_this_machine_unless_owned() {
        let timeout = Duration::from_millis(10);
        for near in ["127.0.0.1:25", "127.9.9.9:1", "[::1]:25", "[::ffff:127.0.0.1]:25"] {
            assert!(address(near, false, timeout).is_ok(), "{near}");
        }
        for far in ["192.0.2.1:25", "[2001:db8::1]:25", "0.0.0.0:25"] {
            assert!(address(far, false, timeout).is_err(), "{far}");
            assert!(address(far, true, timeout).is_ok(), "{far}");
        }
        for wrong in ["127.0.0.1", "::1", "127.0.0.1:99999", ":"] {
            assert!(address(wrong, true, timeout).is_err(), "{wrong}");
        }
    }
}

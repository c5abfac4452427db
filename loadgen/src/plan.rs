//! What a run is to do: arguments turned once into values that cannot be wrong.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ringmx::shard::affinity::allowed_cpus;

use crate::arguments::Arguments;
use crate::corpus::{Corpus, SIZE_MAX};
use crate::scenario::{Commands, Scenario, forward_paths};

/// Messages of a run for which neither a count nor a time was given.
const MESSAGES_DEFAULT: u64 = 10_000;

/// Connections of a run.
const CONNECTIONS_MAX: usize = 50_000;

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// The target as it was given.
    pub target: String,
    /// Where that is.
    pub address: SocketAddr,
    /// What each session says.
    pub scenario: &'static Scenario,
    /// Messages of the whole run; none: as many as the time allows.
    pub messages: Option<u64>,
    /// After this time no message is begun.
    pub duration: Option<Duration>,
    /// No wait for the server is longer.
    pub timeout: Duration,
    /// Where the ledger is kept, if there is one.
    pub ledger: Option<PathBuf>,
    /// The threads.
    pub threads: Vec<Share>,
}

/// A thread's share of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
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
        let messages = match (arguments.messages, arguments.duration) {
            (None, None) => Some(MESSAGES_DEFAULT),
            (given, _) => given,
        };
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
        Ok(Self {
            address: address(&arguments.target, arguments.i_own_this_host, arguments.timeout)?,
            target: arguments.target.clone(),
            scenario: scenario(arguments)?,
            messages,
            duration: arguments.duration,
            timeout: arguments.timeout,
            ledger: arguments.ledger.clone(),
            threads,
        })
    }

    /// Connections of all threads.
    pub fn connections(&self) -> usize {
        self.threads.iter().map(|share| share.connections).sum()
    }
}

fn scenario(arguments: &Arguments) -> Result<&'static Scenario, UsageError> {
    let Arguments { from, to, .. } = arguments;
    if !from.is_empty() {
        check_mailbox("--from", from)?;
    }
    check_mailbox("--to", to)?;
    let size = arguments.size.as_u64();
    if size > SIZE_MAX {
        return wrong("--size takes at most 1GiB");
    }
    let now = SystemTime::now();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Until the year 2554.
    let run = u64::try_from(since_epoch.as_nanos()).unwrap_or_default();
    // The header has a mailbox in From: even when the reverse-path is null.
    let author = if from.is_empty() { "postmaster@loadgen.test" } else { from };
    let corpus = Corpus::new(author, to, size, run, now).map_err(|too_small| {
        UsageError(format!("--size must be at least {}: the header takes that much", too_small.minimum))
    })?;
    Ok(Box::leak(Box::new(Scenario {
        messages_per_session: arguments.per_connection,
        pipelining: arguments.pipelining,
        commands: Commands::new(from, &forward_paths(to, arguments.recipients.get().into())),
        corpus,
    })))
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
        let index = index as u64;
        let (count, first) = match messages {
            Some(messages) => (Some(part(messages, index).0), part(messages, index).1),
            None => (None, index << 48),
        };
        let connections = usize::try_from(part(connections as u64, index).0).unwrap_or(connections);
        Share { cpu: *cpu, connections, first, messages: count }
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
        assert_eq!(shares(&[3, 2], 1, None), [Share { cpu: 3, connections: 1, first: 0, messages: None }]);
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

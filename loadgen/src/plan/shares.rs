//! How connections and messages are divided among threads, and threads among cores.

use ringmx::shard::affinity::allowed_cpus;

use super::usage::{UsageError, wrong};
use crate::arguments::load::LoadArguments;

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
    /// Its messages. `None`: as many as the time allows.
    pub messages: Option<u64>,
}

/// The cores of the threads: those that were named, or the last ones, from the end, so that a receiver on the
/// first ones is left alone.
pub fn cpus(arguments: &LoadArguments) -> Result<Vec<usize>, UsageError> {
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

/// Divides connections and messages as evenly as possible. No more threads than connections are used.
pub fn shares(cpus: &[usize], connections: usize, messages: Option<u64>) -> Vec<Share> {
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
}

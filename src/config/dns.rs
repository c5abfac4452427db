//! `[dns]`: the name servers that are asked, and the threads that ask them.

use std::net::SocketAddr;

use super::document::Fallback;
use super::section::Section;
use crate::dns::DNS_PORT;

/// Shards that one thread asks for, where the number of threads is not given.
const SHARDS_A_THREAD: usize = 8;

/// More threads than this have nothing to do.
const THREADS_MAX: usize = 64;

/// Who is asked, and by how many threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Name servers, at least one; none where those of the system are asked.
    pub servers: Option<Vec<SocketAddr>>,
    /// Threads that ask; none where their number goes by that of the shards.
    pub threads: Option<usize>,
}

impl Dns {
    /// How many threads ask for so many shards; at least one.
    pub fn threads_for(&self, shards: usize) -> usize {
        let threads = self.threads.unwrap_or_else(|| shards.div_ceil(SHARDS_A_THREAD));
        // Each shard keeps to one of them.
        threads.clamp(1, shards.max(1))
    }
}

/// Reads the table.
pub(super) fn read(root: &mut Section<'_>) -> Dns {
    let mut section = root.table(
        "dns",
        "Who is asked for names and records of the DNS. Nobody is asked while nothing here needs an answer.",
    );
    section.needs_restart_but(&[]);
    let servers = section.texts(
        "servers",
        "IP addresses, with a port where it is not 53",
        Fallback::Computed { example: "[\"127.0.0.1\"]", default: "those of /etc/resolv.conf" },
        "Resolvers that do the work of looking up. One on this machine, or near it, is best.",
        |text| {
            let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, DNS_PORT)));
            address.map_err(|_| {
                format!(
                    "{text:?} is no IP address, such as \"192.0.2.53\", \"127.0.0.1:5353\" or \"[::1]:5353\""
                )
            })
        },
    );
    if servers.as_ref().is_some_and(Vec::is_empty) && !section.faulty("servers") {
        section.problem(
            "servers",
            "the list is empty; write at least one, or leave the key out to ask those of /etc/resolv.conf"
                .to_owned(),
        );
    }
    let threads = section.optional_integer(
        "threads",
        1..=THREADS_MAX,
        Fallback::Computed { example: "1", default: "one for each 8 shards, when something asks" },
        "Threads that ask. With this key they are there from the start, so that a reload may add what asks.",
    );
    section.finish();
    let servers = servers.map(|servers| servers.into_iter().map(|(_, server)| server).collect());
    Dns { servers, threads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_a_shard_and_eight_by_default() {
        let of = |threads| Dns { servers: None, threads };
        for (shards, threads) in [(1, 1), (8, 1), (9, 2), (64, 8)] {
            assert_eq!(of(None).threads_for(shards), threads, "{shards}");
        }
        assert_eq!((of(Some(4)).threads_for(64), of(Some(4)).threads_for(2)), (4, 2));
    }
}

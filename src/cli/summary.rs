//! A configuration in one line.

use super::output::counted;
use crate::config::Config;
use crate::memory_sum::{MemorySum, Purpose, SocketMemory};

/// What a configuration comes down to, in one line.
pub fn summary(config: &Config) -> String {
    let addresses: Vec<String> =
        config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    let domains = match config.domains.len() {
        0 => "any domain".to_owned(),
        1 => "1 domain".to_owned(),
        count => format!("{count} domains"),
    };
    let mut sink = config.sink.facts().summary();
    if let Some(cluster) = config.nats.as_ref().filter(|cluster| cluster.has_fallback) {
        sink = cluster.summary_before(&sink);
    }
    // What the kernel allows its sockets makes no difference to these.
    let sum = MemorySum::of(config, SocketMemory::default());
    let memory = |purpose| sum.bytes_for(purpose).div_ceil(1 << 20);
    format!(
        "{} on {}, mail for {domains} into {sink}, {} on {}, at most {} MiB of memory for mail and {} MiB for \
         connections",
        config.hostname,
        addresses.join(" and "),
        counted(config.sink.workers, "sink worker"),
        counted(config.shards.len(), "shard"),
        memory(Purpose::Mail),
        memory(Purpose::Connections),
    )
}

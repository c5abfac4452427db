//! What the kernel charges to RLIMIT_MEMLOCK for a ring, as a sum: so that it can be told before a ring is
//! made, and by who is not charged.

use crate::config::Shard;

/// Completions a turn may bring before the kernel has to keep them aside, per submission entry: multishot
/// operations post many an entry.
pub(super) const COMPLETIONS_PER_ENTRY: u32 = 4;

/// The most completion entries that a ring is made with; the kernel cuts what is asked for to that
/// (`IORING_MAX_CQ_ENTRIES`).
const COMPLETIONS_MAX: u64 = 64 * 1024;

/// Octets of a submission entry, a completion entry, a place in the array of submissions (which newer kernels
/// leave out), and an entry of the ring of published buffers.
const SUBMISSION_BYTES: u64 = 64;
const COMPLETION_BYTES: u64 = 16;
const ARRAY_BYTES: u64 = 4;
const BUFFER_BYTES: u64 = 16;

/// Octets in front of the completions; the kernel has a few hundred there.
const HEAD_BYTES: u64 = 1024;

/// Submission entries of the rings that tokio-uring makes for sink workers.
const WORKER_ENTRIES: u32 = 256;

/// Octets that the ring of a shard locks, at most: its memory is counted in whole pages.
pub fn of_shard(shard: &Shard) -> u64 {
    of_ring(shard.ring_entries) + pages(shard.buffers.next_power_of_two() as u64 * BUFFER_BYTES)
}

/// Octets that the ring of a sink worker locks, where it has one.
pub fn of_worker() -> u64 {
    of_ring(WORKER_ENTRIES)
}

fn of_ring(entries: u32) -> u64 {
    let completions = (u64::from(entries) * u64::from(COMPLETIONS_PER_ENTRY)).min(COMPLETIONS_MAX);
    let entries = u64::from(entries);
    pages(entries * SUBMISSION_BYTES)
        + pages(HEAD_BYTES + completions * COMPLETION_BYTES + entries * ARRAY_BYTES)
}

fn pages(bytes: u64) -> u64 {
    let page = rustix::param::page_size() as u64;
    bytes.div_ceil(page) * page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn sixteen_usual_shards_take_more_than_8_mib() {
        let shard = &Config::embedded_default().shards[0];
        let each = of_shard(shard);
        // Measured on Linux 6.18: 532 KiB.
        assert!((532 << 10..600 << 10).contains(&each), "{each}");
        assert!(16 * each > 8 << 20);
    }

    #[test]
    fn completions_are_cut_to_what_the_kernel_has() {
        assert!(of_ring(32 * 1024) - of_ring(16 * 1024) < (1 << 20) + (1 << 17));
    }
}

//! What the main thread sees of load threads while they run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::tally::Tally;

/// Counts of one load thread, written by it alone. A pair of cache lines of its own, because processors fetch
/// two.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    accepted: AtomicU64,
    started: AtomicU64,
    done: AtomicU64,
    failures: AtomicU64,
    latency_sum: AtomicU64,
    /// The longest since the main thread last looked, which sets it to 0.
    latency_max: AtomicU64,
    pipelining_missing: AtomicBool,
}

/// What all threads had counted at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Since the start of the run.
    pub at: Duration,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages that ended as expected.
    pub done: u64,
    /// Messages begun and not ended.
    pub in_flight: u64,
    /// Failures.
    pub failures: u64,
    /// Sum of all latencies, in microseconds.
    pub latency_sum: u64,
    /// The longest latency since the sample before, in microseconds.
    pub latency_max: u64,
}

impl Sample {
    /// Adds up the counts of these threads, and resets their longest latencies.
    pub fn take(threads: &[Counters], at: Duration) -> Self {
        let sum = |count: fn(&Counters) -> &AtomicU64| -> u64 {
            threads.iter().map(|thread| count(thread).load(Ordering::Relaxed)).sum()
        };
        let done = sum(|counters| &counters.done);
        Self {
            at,
            accepted: sum(|counters| &counters.accepted),
            done,
            in_flight: sum(|counters| &counters.started).saturating_sub(done),
            failures: sum(|counters| &counters.failures),
            latency_sum: sum(|counters| &counters.latency_sum),
            latency_max: threads
                .iter()
                .map(|thread| thread.latency_max.swap(0, Ordering::Relaxed))
                .max()
                .unwrap_or(0),
        }
    }
}

impl Counters {
    /// Whether the thread was to send command groups and the server does not offer PIPELINING.
    pub fn lacks_pipelining(&self) -> bool {
        self.pipelining_missing.load(Ordering::Relaxed)
    }

    /// Shows the thread's counts to the main thread.
    pub fn show(&self, tally: &mut Tally) {
        self.started.store(tally.started, Ordering::Relaxed);
        self.done.store(tally.done(), Ordering::Relaxed);
        self.latency_sum.store(tally.latency_sum, Ordering::Relaxed);
        let longest = std::mem::take(&mut tally.latency_max);
        // Read first: a turn rarely has a new one, and a locked operation each turn is not free.
        if longest > self.latency_max.load(Ordering::Relaxed) {
            self.latency_max.fetch_max(longest, Ordering::Relaxed);
        }
        self.accepted.store(tally.accepted, Ordering::Relaxed);
        self.failures.store(tally.failures.count, Ordering::Relaxed);
        if tally.pipelining_missing {
            self.pipelining_missing.store(true, Ordering::Relaxed);
        }
    }
}

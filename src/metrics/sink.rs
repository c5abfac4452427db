//! What one worker of the sink counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::histogram::{Histogram, Spread, micros};
use super::pulse::Pulse;
use crate::counter::Counter;

/// The counters of one worker, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct SinkMetrics {
    /// How it is seen to go on. A sink that takes long over one message has it, too.
    pub pulse: Arc<Pulse>,
    /// Batches that were stored, well or not.
    pub batches: Counter,
    /// Messages in them.
    pub batch_messages: Histogram,
    /// How long a batch took: layout, writes, syncs.
    pub sync_duration: Histogram,
    /// Messages that could not be stored.
    pub failures: Counter,
    /// When the oldest message of the batch under way was completed, in microseconds since `epoch` and one
    /// more; 0 while there is none (gauge).
    oldest: Counter,
    /// When the batch under way began, in the same way (gauge).
    began: Counter,
    epoch: Instant,
}

impl Default for SinkMetrics {
    fn default() -> Self {
        Self {
            pulse: Arc::default(),
            batches: Counter::new(),
            batch_messages: Histogram::default(),
            sync_duration: Histogram::default(),
            failures: Counter::new(),
            oldest: Counter::new(),
            began: Counter::new(),
            epoch: Instant::now(),
        }
    }
}

/// What a worker had counted at a moment, or several of them together.
#[derive(Debug, Clone, Default)]
pub struct SinkValues {
    /// Batches that were stored, well or not.
    pub batches: u64,
    /// Messages in them.
    pub batch_messages: Spread,
    /// How long a batch took, in microseconds.
    pub sync_duration: Spread,
    /// Messages that could not be stored.
    pub failures: u64,
    /// How long the oldest message of the batch under way has waited; zero where there is none.
    pub oldest_wait: Duration,
    /// How long the batch under way has taken so far; zero where there is none.
    pub batch_age: Duration,
}

impl SinkMetrics {
    /// A batch begins whose oldest message was completed then.
    pub fn begin_batch(&self, oldest: Instant, now: Instant) {
        self.oldest.set(self.mark(oldest));
        self.began.set(self.mark(now));
    }

    /// It has ended, and of its messages so many were not stored.
    pub fn end_batch(&self, messages: usize, failures: usize, took: Duration) {
        self.batches.add(1);
        self.batch_messages.add(messages as u64);
        self.sync_duration.add_duration(took);
        self.failures.add(failures as u64);
        for gauge in [&self.oldest, &self.began] {
            gauge.set(0);
        }
    }

    /// What was counted so far.
    pub fn read(&self, now: Instant) -> SinkValues {
        SinkValues {
            batches: self.batches.value(),
            batch_messages: self.batch_messages.spread(),
            sync_duration: self.sync_duration.spread(),
            failures: self.failures.value(),
            oldest_wait: self.since(self.oldest.value(), now),
            batch_age: self.since(self.began.value(), now),
        }
    }

    fn mark(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.epoch)).saturating_add(1)
    }

    fn since(&self, mark: u64, now: Instant) -> Duration {
        let age = |at| Duration::from_micros(self.mark(now).saturating_sub(at));
        if mark == 0 { Duration::ZERO } else { age(mark) }
    }
}

impl SinkValues {
    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        self.batches += other.batches;
        self.batch_messages.merge(&other.batch_messages);
        self.sync_duration.merge(&other.sync_duration);
        self.failures += other.failures;
        self.oldest_wait = self.oldest_wait.max(other.oldest_wait);
        self.batch_age = self.batch_age.max(other.batch_age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_hangs_is_seen_while_it_hangs() {
        let sink = SinkMetrics::default();
        let start = Instant::now();
        assert_eq!(sink.read(start).oldest_wait, Duration::ZERO);
        sink.begin_batch(start, start + Duration::from_secs(1));
        let seen = sink.read(start + Duration::from_secs(11));
        assert_eq!((seen.oldest_wait.as_secs(), seen.batch_age.as_secs()), (11, 10));
        sink.end_batch(3, 1, Duration::from_secs(10));
        let seen = sink.read(start + Duration::from_secs(12));
        assert_eq!((seen.oldest_wait, seen.failures, seen.batches), (Duration::ZERO, 1, 1));
        assert_eq!((seen.batch_messages.sum, seen.sync_duration.sum), (3, 10_000_000));
    }
}

//! How full the spool is and how far its consumer came. Written by the thread that looks at it anyway, so
//! that a scrape never waits for a disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::counter::Counter;

/// What the spool's own thread found at its last look.
#[derive(Debug, Default)]
pub struct SpoolMetrics {
    is_seen: AtomicBool,
    bytes: Counter,
    segments: Counter,
    unconsumed_bytes: Counter,
    free_bytes: Counter,
    consumer_lag_us: Counter,
    /// The record that was written last, by the sink's worker: the number of its segment, 0 before the first,
    /// and the octet at which it begins.
    written: [Counter; 2],
}

/// How full a spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolValues {
    /// Octets of its files, those that wait for their next use among them.
    pub bytes: u64,
    /// Segments that hold records or can take some.
    pub segments: u64,
    /// Octets of segments and large messages from the consumer's cursor on.
    pub unconsumed_bytes: u64,
    /// Octets that are free on its file system.
    pub free_bytes: u64,
    /// For how long there has been something that the consumer did not consume, without its cursor moving.
    pub consumer_lag: Duration,
}

impl SpoolMetrics {
    /// Takes what a look found.
    pub fn see(&self, found: SpoolValues) {
        let SpoolValues { bytes, segments, unconsumed_bytes, free_bytes, consumer_lag } = found;
        self.bytes.set(bytes);
        self.segments.set(segments);
        self.unconsumed_bytes.set(unconsumed_bytes);
        self.free_bytes.set(free_bytes);
        self.consumer_lag_us.set(super::histogram::micros(consumer_lag));
        self.is_seen.store(true, Ordering::Release);
    }

    /// The record that was written last begins there.
    pub fn note_written(&self, sequence: u64, offset: u64) {
        let [at_sequence, at_offset] = &self.written;
        at_sequence.set(sequence);
        at_offset.set(offset);
    }

    /// The number of the segment with the record that was written last since the start, and where that
    /// begins. Read while a segment follows another, the two may not belong together; the next look is right.
    pub fn written(&self) -> Option<(u64, u64)> {
        let [sequence, offset] = &self.written;
        Some((sequence.value(), offset.value())).filter(|(sequence, _)| *sequence > 0)
    }

    /// What the last look found; none where there was none, because the sink is no spool.
    pub fn read(&self) -> Option<SpoolValues> {
        self.is_seen.load(Ordering::Acquire).then(|| SpoolValues {
            bytes: self.bytes.value(),
            segments: self.segments.value(),
            unconsumed_bytes: self.unconsumed_bytes.value(),
            free_bytes: self.free_bytes.value(),
            consumer_lag: Duration::from_micros(self.consumer_lag_us.value()),
        })
    }
}

//! How full a spool is and how far its consumer came, measured for whoever watches the server, by the thread
//! that looks at the spool anyway.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::{self, Cursor};
use super::fill;
use crate::metrics::{SpoolMetrics, SpoolValues};

/// How often it is measured, where that takes no time.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// It takes a system call for each segment and each large message. Whoever needs the next segment waits for
/// the same thread, so that has no more than this share of its time.
const MEASURE_SHARE: u32 = 20;

/// Measures a spool.
pub(super) struct Watch {
    metrics: Arc<SpoolMetrics>,
    /// Not before this time again.
    due: Option<Instant>,
    lag: Lag,
}

impl Watch {
    /// Tells what it finds here.
    pub(super) fn new(metrics: Arc<SpoolMetrics>) -> Self {
        Self { metrics, due: None, lag: Lag::default() }
    }

    /// Measures when it is time. An error leaves what was known: the thread tells it where it matters.
    pub(super) fn measure_if_due(&mut self, root: &Path, now: Instant) {
        if self.due.is_none_or(|due| due <= now) {
            if let Ok(found) = self.measure(root, now) {
                self.metrics.see(found);
            }
            self.due = Some(now + pause_after(now.elapsed()));
        }
    }

    fn measure(&mut self, root: &Path, now: Instant) -> io::Result<SpoolValues> {
        let consumed = cursor::read_consumed(root)?;
        let written = self.metrics.written().map(|(sequence, offset)| Cursor { sequence, offset });
        let found = fill::measure(root)?;
        Ok(SpoolValues {
            bytes: found.bytes + found.prepared_bytes,
            segments: found.segments.len() as u64,
            unconsumed_bytes: found.bytes_from(consumed),
            free_bytes: found.free_bytes,
            consumer_lag: self.lag.see(written, consumed, now),
        })
    }
}

/// From one measurement, which took so long, to the next.
fn pause_after(took: Duration) -> Duration {
    MEASURE_EVERY.max(MEASURE_SHARE * took)
}

/// How long a consumer has left something unconsumed without its cursor moving.
#[derive(Debug, Default)]
struct Lag {
    consumed: Option<Cursor>,
    /// When its cursor was seen to move last, or something to be there for it.
    since: Option<Instant>,
}

impl Lag {
    /// `written` is the last record since the start, `consumed` the last one that was consumed.
    fn see(&mut self, written: Option<Cursor>, consumed: Option<Cursor>, now: Instant) -> Duration {
        let is_behind = written > consumed;
        let has_moved = std::mem::replace(&mut self.consumed, consumed) != consumed;
        if !is_behind {
            self.since = None;
        } else if has_moved || self.since.is_none() {
            self.since = Some(now);
        }
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_to_measure_is_measured_less_often() {
        let pauses = [0, 1, 250, 1000, 30_000].map(|took| pause_after(Duration::from_millis(took)).as_secs());
        assert_eq!(pauses, [5, 5, 5, 20, 600]);
    }

    #[test]
    fn a_consumer_lags_while_something_is_left_and_its_cursor_stands_still() {
        let at = |offset| Some(Cursor { sequence: 1, offset });
        let start = Instant::now();
        let mut lag = Lag::default();
        let mut see = |written, consumed, second| {
            lag.see(written, consumed, start + Duration::from_secs(second)).as_secs()
        };
        assert_eq!(see(None, None, 0), 0, "nothing was written");
        assert_eq!((see(at(1), None, 10), see(at(2), None, 15)), (0, 5), "nobody consumes");
        assert_eq!((see(at(2), at(1), 20), see(at(2), at(1), 30)), (0, 10), "it moved, and stands");
        assert_eq!((see(at(2), at(2), 40), see(at(2), at(2), 90)), (0, 0), "all is consumed");
        assert_eq!(see(at(3), at(2), 95), 0, "a new message is no lag of the time before it");
    }
}

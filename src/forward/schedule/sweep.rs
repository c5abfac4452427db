//! The pace of the walks over all deliveries: one that finds what has expired, and those that operators ask
//! for. Each goes in slices, so that nobody is held up by a million deliveries.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::delivery::DestinationId;

/// Entries that are looked at in one slice.
const SLICE_ENTRIES: u32 = 1024;

/// The sweep for expired deliveries comes round in this time.
const ROUND: Duration = Duration::from_mins(1);

/// Operators' walks that wait for one another.
const WALKS_MAX: usize = 16;

/// Operators' walks, one after the other. The destination is the one that they are for, or all.
#[derive(Debug, Default)]
pub(super) struct Walks {
    waiting: VecDeque<Option<DestinationId>>,
    /// Where the first one is.
    cursor: u32,
}

impl Walks {
    /// One more; false if there are too many.
    pub(super) fn begin(&mut self, destination: Option<DestinationId>) -> bool {
        let has_room = self.waiting.len() < WALKS_MAX;
        if has_room {
            self.waiting.push_back(destination);
        }
        has_room
    }

    pub(super) fn is_walking(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next slots to look at, and for whom.
    pub(super) fn next_slice(&mut self, slots: u32) -> Option<(Range<u32>, Option<DestinationId>)> {
        let destination = *self.waiting.front()?;
        let slice = self.cursor..(self.cursor + SLICE_ENTRIES).min(slots);
        self.cursor = slice.end;
        if slice.end == slots {
            self.waiting.pop_front();
            self.cursor = 0;
        }
        Some((slice, destination))
    }
}

/// A walk over the slots of the index, round and round.
#[derive(Debug)]
pub(super) struct Sweep {
    cursor: u32,
    /// Entries of the slice that is under way.
    left: u32,
    next_at: Instant,
}

impl Sweep {
    pub(super) fn new(now: Instant) -> Self {
        Self { cursor: 0, left: 0, next_at: now }
    }

    /// The next slot to look at; none when the slice is over, and until the next one is due.
    pub(super) fn next_slot(&mut self, slots: u32, now: Instant) -> Option<u32> {
        if self.left == 0 {
            if now < self.next_at || slots == 0 {
                return None;
            }
            self.left = SLICE_ENTRIES.min(slots);
            self.next_at = now + ROUND / slots.div_ceil(SLICE_ENTRIES);
        }
        self.left -= 1;
        let slot = if self.cursor < slots { self.cursor } else { 0 };
        self.cursor = slot + 1;
        Some(slot)
    }

    /// When the next slice is due, or the rest of this one.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        if self.left > 0 { now } else { self.next_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_sees_each_slot_once_in_slices_that_are_spread_over_a_minute() {
        let start = Instant::now();
        let (mut sweep, slots) = (Sweep::new(start), 1_003_520);
        let mut seen = vec![0_u8; slots as usize];
        let mut now = start;
        for _ in 0..slots / SLICE_ENTRIES {
            let mut looked_at = 0;
            while let Some(slot) = sweep.next_slot(slots, now) {
                seen[slot as usize] += 1;
                looked_at += 1;
            }
            assert_eq!(looked_at, SLICE_ENTRIES);
            assert!(sweep.next_at(now) >= now + Duration::from_millis(61));
            now = sweep.next_at(now);
        }
        let took = now - start;
        assert!(took > ROUND * 99 / 100 && took <= ROUND, "{took:?}");
        assert!(seen.iter().all(|count| *count == 1));
    }
}

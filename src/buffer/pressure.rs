//! How scarce a shard's memory for mail data is, and what that means: all questions, from the mildest answer
//! to the hardest.
//!
//! ```text
//!   taken of          0 %         22 %        37 %       50 %              87 %  100 %
//!   blocks            ├────────────┼─ clients may be silent for less ────────┼─────┤ then: no new one
//!   blocks, buffers   ├── a message moves out of memory the earlier, the less is free (by the cube) ──┤
//!                     ├────────────────────────┼─ large messages get one buffer at a time ────────────┤
//!   buffers           ├───────────────────────────────────┼─ mail data is copied, never borrowed ─────┤
//! ```
//!
//! The three rows are different memory, so one of them can be used up while another is free; that is why
//! there is no single answer. Silence is counted in the 87 % that new transactions may take
//! ([`Pressure::used_percent`]): a quarter of that is 22 %.

use crate::limits::{SPILL_BYTES_MAX, SPILL_BYTES_MIN};

/// A share of all memory is counted in so many units.
const SHARE_UNITS: usize = 1024;

/// How much of a shard's memory for mail data is left.
#[derive(Debug, Clone, Copy)]
pub struct Pressure {
    /// Octets of the budget for blocks, and those that are free. `blocks_free <= blocks_max`
    pub(super) blocks_max: usize,
    pub(super) blocks_free: usize,
    /// Receive buffers, those that nobody holds, and those that have to be left to the sockets.
    pub(super) buffers: usize,
    pub(super) buffers_unpinned: usize,
    pub(super) buffers_kept: usize,
    pub(super) buffer_bytes: usize,
}

impl Pressure {
    /// How much of the budget for blocks is used, in per cent of what [`Self::refuses_new`] leaves. Pinned
    /// buffers do not count: where they are many, octets are copied.
    pub fn used_percent(self) -> usize {
        let most = self.blocks_max - self.blocks_max / 8;
        let used = self.blocks_max - self.blocks_free;
        (used.saturating_mul(100) / most.max(1)).min(100)
    }

    /// How much memory the mail data of one message may take before it is written out, and never more than
    /// `bytes_max`. The less is free, the less.
    ///
    /// The cube keeps messages of ordinary size in memory while there is plenty, and lets hundreds of slow
    /// ones settle well below the point where new ones are refused: 500 of them at 110 KiB each with the
    /// default budgets.
    pub(super) fn spill_threshold(self, bytes_max: usize) -> usize {
        /// No message takes more than this part of all memory.
        const SHARE: usize = 16;
        let most = (self.memory() / SHARE).min(bytes_max);
        let share = self.free_share();
        (most / SHARE_UNITS * share / SHARE_UNITS * share / SHARE_UNITS * share)
            .clamp(SPILL_BYTES_MIN, SPILL_BYTES_MAX)
    }

    /// Whether so much of all memory is taken that large messages under way get one buffer at a time.
    pub fn is_scarce(self) -> bool {
        self.free_share() < SHARE_UNITS * 5 / 8
    }

    /// Whether so many buffers are pinned that one more would leave too few for the sockets: octets are
    /// copied.
    pub fn lacks_buffers(self) -> bool {
        self.buffers_unpinned < self.buffers_kept
    }

    /// Whether so little is left of the budget for blocks that no new transaction should begin.
    pub fn refuses_new(self) -> bool {
        self.blocks_free < self.blocks_max / 8
    }

    /// All memory for mail data, in octets.
    fn memory(self) -> usize {
        self.blocks_max + (self.buffers - self.buffers_kept) * self.buffer_bytes
    }

    /// The part of it that is free, out of [`SHARE_UNITS`].
    fn free_share(self) -> usize {
        let buffers = self.buffers_unpinned.saturating_sub(self.buffers_kept);
        let free = self.blocks_free + buffers * self.buffer_bytes;
        free / (self.memory() / SHARE_UNITS).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 buffers of 4 KiB, of which so many are held, and blocks of 1 MiB, of which so much is used.
    fn pressure(buffers_pinned: usize, blocks_used: usize) -> Pressure {
        Pressure {
            blocks_max: 1 << 20,
            blocks_free: (1 << 20) - blocks_used,
            buffers: 64,
            buffers_unpinned: 64 - buffers_pinned,
            buffers_kept: 32,
            buffer_bytes: 4096,
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_drawing() {
        let idle = pressure(0, 0);
        assert!(
            !idle.is_scarce() && !idle.lacks_buffers() && !idle.refuses_new() && idle.used_percent() == 0
        );
        assert!(
            !pressure(0, (1 << 20) / 100 * 40).is_scarce() && pressure(0, (1 << 20) / 100 * 45).is_scarce()
        );
        assert!(!pressure(32, 0).lacks_buffers() && pressure(33, 0).lacks_buffers());
        let most = (1 << 20) / 8 * 7;
        assert!(!pressure(0, most).refuses_new() && pressure(0, most + 1).refuses_new());
        assert_eq!(pressure(0, most).used_percent(), 100);
    }

    #[test]
    fn the_less_is_free_the_earlier_a_message_moves_out_of_memory() {
        let thresholds: Vec<usize> =
            (0..=8).map(|eighths| pressure(0, (1 << 20) / 8 * eighths).spill_threshold(usize::MAX)).collect();
        assert!(thresholds.is_sorted_by(|earlier, later| earlier >= later), "{thresholds:?}");
        assert_eq!((thresholds[0], thresholds[8]), ((1 << 20) / 16 + (32 * 4096) / 16, SPILL_BYTES_MIN));
        assert_eq!(pressure(0, 0).spill_threshold(8192), 8192);
    }
}

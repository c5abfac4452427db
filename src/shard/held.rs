//! Octets that connections hold outside of receive buffers and of messages: what was received and cannot be
//! parsed yet, ciphertext of a record or a handshake that is not whole. All connections of a shard have one
//! budget for them.
//!
//! When it is nearly used up, whoever holds most is told 421; a connection that finds it used up is told so
//! at once. So clients that send and never read, or that stop in the middle of something large, cost a
//! bounded amount of memory, and those that hold little are not concerned.

use crate::limits::HELD_BYTES_MAX;

/// Past this share of the budget whoever holds most has to go.
const RELIEF_AT: usize = HELD_BYTES_MAX / 4 * 3;

/// What all connections of a shard hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// `<= HELD_BYTES_MAX`
    bytes: usize,
}

impl Held {
    /// Whether the budget has room for so many octets more.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= HELD_BYTES_MAX
    }

    /// A connection holds `now` octets, where it held `was`, and remembers that.
    pub(super) fn recount(&mut self, was: &mut usize, now: usize) {
        self.bytes = self.bytes - *was + now;
        *was = now;
    }

    /// Whether it is nearly used up.
    pub(super) fn is_nearly_used_up(&self) -> bool {
        self.bytes > RELIEF_AT
    }
}

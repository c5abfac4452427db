//! What the engine has in its hands: messages, what the office was told, and the small words of the room.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::forward::keep::{Change, Fetched, Place, Recipients};
use crate::forward::schedule::{Delivery, DestinationId};
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope::StoredEnvelope;

/// A message, as it is delivered. In memory while it is in the window of fresh mail, or on a connection.
#[derive(Debug)]
pub(super) struct InHand {
    /// Where it is.
    pub(super) place: Place,
    pub(super) envelope: StoredEnvelope,
    /// Our trace information and the mail data.
    pub(super) content: Vec<u8>,
}

/// A message of the log that is in the window.
pub(super) struct Mail {
    pub(super) message: Rc<InHand>,
    /// Destinations that it still goes to, and for whom.
    pub(super) parts: Vec<(DestinationId, Recipients)>,
}

/// What the schedule has no room for.
pub(super) struct Refused {
    pub(super) key: u64,
    /// Those that it is not admitted for yet.
    pub(super) destinations: VecDeque<DestinationId>,
}

/// A message that was read, or why it cannot be.
pub(super) type Arrived = Result<Fetched, String>;

/// What the office was told.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) kind: Kind,
    pub(super) change: Change,
}

/// A message of `later/` that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetch {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) place: Place,
}

/// What waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody: it has to be durable, sooner or later.
    Settle,
    /// The schedule: the delivery is being moved into `later/`.
    Move(Delivery),
    /// A connection of this slot: a message is read for it.
    Fetch(usize),
    /// A message is read, whose recipients for this destination have waited too long.
    Expire(Delivery),
    /// A step of what an operator asked for.
    Operation(u64),
}

/// How a next hop takes no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Down {
    /// No session begins.
    NoSession,
    /// Sessions begin, and end within a message.
    WithinMessages,
}

/// To a host whose TLS does not work nothing of it is said for so long, where TLS is no must: mail that goes
/// in plaintext is better than mail that does not go (RFC 7435).
pub(super) const PLAIN_FOR: Duration = Duration::from_hours(1);

/// Frames of a segment fit.
const KEY_SHIFT: u32 = 24;

/// What a cursor is to the schedule. Segments have 4 GiB at most, and frames are 512 octets.
pub(super) fn key_of(cursor: Cursor) -> u64 {
    (cursor.sequence << KEY_SHIFT) | (cursor.offset >> 9)
}

/// The cursor of a key.
pub(super) fn cursor_of(key: u64) -> Cursor {
    let frame = key & ((1 << KEY_SHIFT) - 1);
    Cursor { sequence: key >> KEY_SHIFT, offset: frame << 9 }
}

/// Seconds as the journal has them.
pub(super) fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Attempts that were deferred, and connections that were lost, as the journal has them in one number.
pub(super) fn packed(attempts: u8, poison: u8) -> u16 {
    u16::from_le_bytes([attempts, poison])
}

/// The same apart.
pub(super) fn unpacked(tries: u16) -> (u8, u8) {
    let [attempts, poison] = tries.to_le_bytes();
    (attempts, poison)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_and_its_key_are_the_same() {
        for (sequence, offset) in [(0, 4096), (1, 512), (0x1f, (4 << 30) - 512), (1 << 39, 4096)] {
            let cursor = Cursor { sequence, offset };
            assert_eq!(cursor_of(key_of(cursor)), cursor);
        }
    }

    #[test]
    fn tries_are_one_number() {
        for (attempts, poison) in [(0, 0), (7, 3), (255, 255)] {
            assert_eq!(unpacked(packed(attempts, poison)), (attempts, poison));
        }
    }
}

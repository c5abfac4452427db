//! What the engine tells the keeper, and what it gets for an answer: plain values.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::entry::{Wait, Why};
use super::place::Place;
use super::recipients::Recipients;
use crate::metrics;
use crate::sink::spool::cursor::Cursor;

/// Something that happened to recipients of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The log was read up to this message. Each message of the log is told once and in order, before
    /// anything else is said of it: so the keeper knows what lies between. Nothing is written for it.
    Read {
        /// Where it is in the log.
        at: Cursor,
        /// How many recipients it has. [`RECIPIENTS_MAX`](super::RECIPIENTS_MAX) where that cannot be told:
        /// then it may be told again, once it can.
        recipients: u32,
    },
    /// They are with the next hop.
    Sent {
        /// Where the message is.
        place: Place,
        /// Who.
        recipients: Recipients,
    },
    /// They wait. A message that is not in `later/` is copied there.
    Later {
        /// Where the message is.
        place: Place,
        /// Who.
        recipients: Recipients,
        /// What is known of them from now on.
        wait: Wait,
    },
    /// They do not get it. The message is copied to `dead/`.
    Dead {
        /// Where the message is: in the log or in `later/`.
        place: Place,
        /// Who.
        recipients: Recipients,
        /// When that was found, in seconds since 1970-01-01 UTC.
        died_at: u32,
        /// Why.
        why: Why,
        /// What the next hop said last. Cut as that of a [`Wait`] is.
        reply: String,
    },
    /// Those that wait in `later/` wait for an operator now.
    Hold {
        /// Where the message is in `later/`.
        at: Cursor,
        /// Who.
        recipients: Recipients,
        /// Shown in place of the last reply.
        why: String,
    },
    /// Those that wait in `later/` wait for a next hop again.
    Release {
        /// Where the message is in `later/`.
        at: Cursor,
        /// Who.
        recipients: Recipients,
        /// When it is tried, in seconds since 1970-01-01 UTC.
        next_at: u32,
    },
    /// An operator takes the message away from them.
    Remove {
        /// Where the message is.
        place: Place,
        /// Who.
        recipients: Recipients,
    },
    /// These happen, and a notice of them begins to wait in `later/`: all of it or nothing.
    Noticed {
        /// What happens, and no [`Change::Read`] or [`Change::Noticed`] among it. Nothing where it was told
        /// before.
        changes: Vec<Change>,
        /// The notice. The place that is told is its own.
        notice: Arc<Notice>,
    },
}

/// The destination of notices. It is no route's, whose names hold `://`.
pub const NOTICES: &str = metrics::NOTICES;

/// A message of our own with one recipient. Its content is whole in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The envelope, as in a segment of the spool.
    pub envelope: Vec<u8>,
    /// The mail data.
    pub content: Vec<u8>,
    /// What is known of its recipient.
    pub wait: Wait,
}

impl Change {
    /// Where the message is that it concerns.
    pub fn place(&self) -> Place {
        match self {
            Self::Read { at, .. } => Place::Log(*at),
            Self::Hold { at, .. } | Self::Release { at, .. } => Place::Later(*at),
            Self::Sent { place, .. }
            | Self::Later { place, .. }
            | Self::Dead { place, .. }
            | Self::Remove { place, .. } => *place,
            // Without any it concerns none.
            Self::Noticed { changes, .. } => {
                changes.first().map_or(Place::Log(Cursor { sequence: 0, offset: 0 }), Self::place)
            }
        }
    }

    /// Those who do not need the message where it is any more.
    pub fn settled(&self) -> Recipients {
        match self {
            Self::Sent { recipients, .. }
            | Self::Dead { recipients, .. }
            | Self::Remove { recipients, .. } => recipients.clone(),
            Self::Noticed { changes, .. } => {
                changes.iter().fold(Recipients::none(), |all, change| all.with(&change.settled()))
            }
            Self::Read { .. } | Self::Later { .. } | Self::Hold { .. } | Self::Release { .. } => {
                Recipients::none()
            }
        }
    }
}

/// Why a change was not taken. Nothing of it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The message is not there, or not for all of these recipients any more: somebody is told twice, or was
    /// not told.
    Unknown,
    /// The record, or its file, is not what it was: it cannot be copied, now or
    /// later. It stays in the log, and the log before it with it, until a [`Change::Remove`] gives it up.
    Damaged(String),
    /// The record cannot be read; perhaps it can later. Other messages are not concerned.
    Unread(io::ErrorKind, String),
    /// The disk did not do it; perhaps it does later.
    Disk(io::ErrorKind, String),
}

impl Refused {
    pub(super) fn disk(error: &io::Error) -> Self {
        Self::Disk(error.kind(), error.to_string())
    }

    /// Of a record that could not be read.
    pub(super) fn reading(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
                Self::Damaged(error.to_string())
            }
            kind => Self::Unread(kind, error.to_string()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such message waits there for these recipients"),
            Self::Damaged(what) => write!(f, "the message cannot be copied: {what}"),
            Self::Unread(_, what) => write!(f, "the message cannot be read now: {what}"),
            Self::Disk(_, what) => f.write_str(what),
        }
    }
}

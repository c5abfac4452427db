//! The check of the message under way, and what it says of mail data.

use std::time::Instant;

use crate::auth::message::MessageCheck;
use crate::shard::checks_budget::Held;

/// The check of the message under way.
#[derive(Debug)]
pub(super) struct Authenticating {
    pub(super) check: MessageCheck,
    /// What it holds of the shard's memory for checks.
    pub(super) held: Held,
    /// When the last facts came that answers are asked for by.
    pub(super) asked_at: Instant,
    /// The message is complete, and waits until then for answers.
    pub(super) waits_until: Option<Instant>,
}

/// Fields of a header section claim to be ours.
#[derive(Debug)]
pub(super) struct Forged {
    /// What is left of the header section without them.
    pub(super) kept: Vec<u8>,
    /// How many there are; neighbours count as one.
    pub(super) count: usize,
}

/// What has to happen once mail data that was looked at is kept.
#[derive(Debug)]
pub(super) enum Looked {
    /// Nothing.
    Done,
    /// Its header section ended; some of it may have to go.
    HeaderEnded(Option<Forged>),
    /// Its header section is too long.
    HeaderTooLong,
    /// There is no room for what has to be kept of its header section.
    NoRoom,
}

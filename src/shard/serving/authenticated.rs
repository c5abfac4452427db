//! The check of the message under way, and what it says of mail data.

use std::ops::Range;
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

/// What has to happen once mail data that was looked at is kept.
#[derive(Debug)]
pub(super) enum Looked {
    /// Nothing.
    Done,
    /// Its header section ended. These parts of it claim to be ours, and go.
    HeaderEnded(Vec<Range<usize>>),
    /// Its header section is too long.
    HeaderTooLong,
    /// There is no room for what has to be kept of its header section.
    NoRoom,
}

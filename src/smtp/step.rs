//! What a session and its caller say to each other: steps out, answers in.

use std::ops::Range;

use super::envelope::Envelope;
use crate::handoff::message::{QueueId, Refused, TryAgain};

/// What the session wants of its caller.
#[derive(Debug)]
pub enum Step {
    /// All input is consumed.
    NeedInput,
    /// This range of `input.bytes` is mail data.
    Data(Range<usize>),
    /// These octets are mail data and are not in the input.
    Insert(&'static [u8]),
    /// Drop the mail data given so far: the message will be refused at its end.
    Discard,
    /// Answer with [`super::session::Session::resolve`], then go on with the same input.
    Ask(Question),
    /// The end of the mail data of an acceptable message; `input.position` is just behind it. Answer with
    /// [`super::session::Session::resolve`].
    Deliver(Box<Envelope>),
    /// The replies are too many to go on: send them, then go on with the same input.
    Flush,
    /// Send the replies, then close politely.
    Close,
}

/// What the session cannot know by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// May a transaction begin? The size is what MAIL declared (RFC 1870), within the limit.
    Transaction {
        /// SIZE= in octets.
        size: Option<u64>,
    },
}

/// The answer to [`Step::Ask`] or [`Step::Deliver`].
#[derive(Debug)]
pub enum Answer {
    /// The transaction begins with this envelope; what it holds is cleared, its memory used.
    Begin(Box<Envelope>),
    /// Not now: to a transaction or a message.
    TryAgain(TryAgain),
    /// The message is stored.
    Accepted(QueueId),
    /// The message is not to be stored ever.
    Refused(Refused),
    /// The deadline passed and nobody knows whether the message was stored.
    Unknown,
}

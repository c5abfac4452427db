//! What crosses between a shard and a thread that asks somebody else about recipients, and back.

use std::time::Instant;

use super::message::Origin;

/// A question.
#[derive(Debug)]
pub struct MapInquiry {
    /// The shard and connection that ask.
    pub origin: Origin,
    /// Which of the connection's questions it is.
    pub number: u32,
    /// Which thread is asked.
    pub thread: usize,
    /// The mailbox, as it came.
    pub recipient: Box<[u8]>,
    /// What a map is asked for, one after the other until it has one: the mailbox, the same without its
    /// tag, its domain as `@domain`.
    pub keys: Vec<Box<[u8]>>,
    /// Since when the client waits.
    pub asked_at: Instant,
}

/// The answer.
#[derive(Debug)]
pub struct MapAnswer {
    /// The question.
    pub inquiry: MapInquiry,
    /// What was said.
    pub found: Found,
}

/// What was said of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is the mailbox, with its tag or without it.
    Listed,
    /// A map has its domain only, so nobody named the mailbox.
    ByDomain,
    /// There is none.
    Unlisted,
    /// It was not said.
    Unknown,
    /// Nobody could be asked, and it is taken all the same.
    Supposed,
}

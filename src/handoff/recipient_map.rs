//! What crosses between a shard and a thread that asks a map of recipients, and back.

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
    /// What the map is asked for, one after the other until it has one: the mailbox, the same without its
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
    /// What the map said.
    pub found: Found,
}

/// What a map says of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It has the mailbox, with its tag or without it.
    Listed,
    /// It has its domain only, so nobody named the mailbox.
    ByDomain,
    /// It has none of them.
    Unlisted,
    /// It did not say.
    Unknown,
}

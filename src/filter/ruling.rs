//! The end of asking: all that a filter can say, whatever it speaks.

use crate::mail::foreign_reply::ForeignReply;

/// What a filter says of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruling {
    /// What becomes of the message.
    pub action: Action,
    /// Whole header fields, each with its CRLF, to stand in front of the mail data of a message that goes on:
    /// at most [`FIELDS_BYTES_MAX`](super::FIELDS_BYTES_MAX) octets. One that is greylisted goes on later.
    pub fields: Vec<u8>,
    /// The score that it has, in the filter's own words; empty where the filter gives none.
    pub score: String,
    /// Names of what the filter found, the weightiest first.
    pub symbols: Vec<String>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    #[default]
    Pass,
    /// It goes on, and whoever reads it is told that it is suspicious.
    Mark,
    /// It is refused in the filter's words, 5yz or 4yz.
    Refuse(ForeignReply),
    /// The client is asked to come back, as by our own greylisting.
    Greylist,
    /// It is answered with 250, and nobody gets it.
    Discard,
}

//! A completed message on its way to a sink, and the receipt that carries it home.

use std::time::{Duration, Instant, SystemTime};

use crate::buffer::MailData;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::outcome::Outcome;
use crate::mail::queue_id::QueueId;

/// One completed message: envelope, trace information and mail data. Made and taken apart by its shard, read
/// by a sink.
///
/// Not `Clone`: exactly one place is answerable for it.
#[derive(Debug)]
pub struct Message {
    /// Its name from MAIL on: in the reply, in Received: and in the store.
    pub id: QueueId,
    /// The shard and connection that wait for the receipt.
    pub origin: Origin,
    /// Whom it came from and to whom it goes.
    pub envelope: Box<Envelope>,
    /// What was known of the SMTP client at the end of the mail data.
    pub client: ClientFacts,
    /// When the mail data ended.
    pub received_at: SystemTime,
    /// Our `Received:` field with its CRLF, and what has to stand between it and the mail data: an empty line
    /// where that begins with text, the name of a field and no line end where it begins with a mailbox line.
    /// A sink puts it directly in front of the mail data.
    pub received: Vec<u8>,
    /// The mail data after transparency, octet for octet as sent.
    pub data: MailData,
    /// Where the sink stored it, for the log; written by the sink.
    pub place: String,
    /// When it reached each stage.
    pub timeline: Timeline,
}

/// When a message reached each stage, by the clock of its shard's turns; none where it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeline {
    /// MAIL was accepted.
    pub begun: Option<Instant>,
    /// DATA was accepted, or the first BDAT came.
    pub data: Option<Instant>,
    /// The mail data ended.
    pub complete: Option<Instant>,
    /// A worker of the sink can take it.
    pub handed_over: Option<Instant>,
    /// The receipt came home.
    pub home: Option<Instant>,
}

impl Timeline {
    /// How long the envelope took, the mail data, the wait for the sink, and the sink; none where there is
    /// not both ends.
    pub fn phases(&self) -> [Option<Duration>; 4] {
        let Self { begun, data, complete, handed_over, home } = *self;
        [(begun, data), (data, complete), (complete, handed_over), (handed_over, home)]
            .map(|(from, to)| Some(to?.saturating_duration_since(from?)))
    }
}

/// Which connection waits for a receipt. Only its shard can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Number of the shard.
    pub shard: u16,
    /// The shard's own word for the connection: slot and generation.
    pub connection: u64,
}

/// The answer of a sink; it carries the message home.
#[derive(Debug)]
pub struct Receipt {
    /// The message, to be taken apart by its shard.
    pub message: Box<Message>,
    /// What became of it.
    pub outcome: Outcome,
}

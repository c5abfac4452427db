//! A completed message on its way to a sink, and the receipt that carries it home.

use std::time::{Instant, SystemTime};

use crate::buffer::MailData;
use crate::mail::authentication::Authentication;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::outcome::Outcome;
use crate::mail::queue_id::QueueId;
use crate::mail::session_id::SessionId;

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
    /// Our `Authentication-Results:` field, where messages are checked, and our `Received:` field, each with
    /// its CRLF, and what has to stand between it and the mail data: an empty line
    /// where that begins with text, the name of a field and no line end where it begins with a mailbox line.
    /// A sink puts it directly in front of the mail data.
    pub received: Vec<u8>,
    /// What was found of who vouches for it.
    pub authentication: Authentication,
    /// The mail data after transparency, octet for octet as sent, without fields that claimed to be our
    /// `Authentication-Results:`.
    pub data: MailData,
    /// Where the sink stored it, for the log; written by the sink, or by the station that knows better.
    pub place: String,
    /// How far it is on its way to the sink.
    pub progress: Progress,
    /// What the log tells of it besides.
    pub log: LogFacts,
}

/// How far a complete message is on its way to the sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Nobody checks its client, so some stations need not see it.
    pub is_trusted: bool,
    /// Stations that it has passed, or passed by.
    pub stations_passed: u8,
    /// When it came back from its last station; none where it was at none.
    pub passed_at: Option<Instant>,
    /// When a worker of the sink could take it; none before.
    pub handed_over: Option<Instant>,
}

/// What the log tells of a message, and what is counted of its phases. No sink stores any of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFacts {
    /// The session that it came in.
    pub session: SessionId,
    /// `Message-ID:` of the mail data, where its beginning has left memory; else it is looked for when it is
    /// told of.
    pub message_id: Option<Box<[u8]>>,
    /// What content filters found, each in a few words; and for whom a next hop has it already.
    pub filters: Vec<String>,
    /// When its phases began; none before it is complete.
    pub times: Option<Times>,
}

/// When the phases of a message began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// MAIL was accepted.
    pub begun: Instant,
    /// DATA or the first BDAT was accepted.
    pub data: Instant,
    /// The mail data ended.
    pub complete: Instant,
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

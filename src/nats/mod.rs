//! Mail for a JetStream stream of a NATS cluster: how one message of ours is one message of the stream, and
//! how it is known that the cluster has it.
//!
//! ```text
//!  message ──► head: subject, Nats-Msg-Id, Ringmx-Envelope ──► link ──► the stream's leader
//!                │ what does not fit goes first: object            ◄── answer: stored, full, … or none
//! ```
//!
//! - **The octets are those of the spool**: our fields in front, then the mail data as it came.
//! - **An acknowledgement names our stream**, and a quorum of its servers has the message then. Whatever else
//!   comes, or nothing, is not one: who asks here publishes again with the same id, which the stream keeps
//!   once within its window of duplicates.
//! - **What a message is too large for** goes to the object store beside the stream (`<stream>-large`), as
//!   any client library reads it, and the message names the object.
//!
//! The client library is `async-nats`, for its connection alone; what JetStream is asked is JSON, as its
//! documentation has it (ADR-2, ADR-20). Nothing here waits for ever: each wait has a bound.

mod answer;
mod first_look;
mod head;
mod link;
mod monitor;
mod object;
mod plan;
mod publisher;
mod stream;

use std::io;

use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;

pub use self::answer::Answer;
pub use self::first_look::FirstLook;
pub use self::head::Head;
pub use self::link::{Link, OpenError, Ticket};
pub use self::monitor::Server;
pub use self::object::{Object, PutError, bucket};
pub use self::plan::Plan;
pub use self::publisher::{ATTEMPT_WAIT_MAX, Publisher};
pub use self::stream::{LookError, StreamFacts, look};

/// What the stream gets to know of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its queue id.
    id: String,
    /// Its first recipient, `local@domain`; its partition goes by it.
    recipient: Vec<u8>,
    /// One line of JSON.
    envelope: String,
}

impl Mail {
    /// That of a message with this id and envelope, which is this JSON.
    pub fn of(id: QueueId, envelope: &Envelope, json: String) -> Self {
        let first = envelope.recipients().next();
        let recipient = first.map(|mailbox| [mailbox.local_part, b"@", mailbox.domain].concat());
        Self { id: id.to_string(), recipient: recipient.unwrap_or_default(), envelope: json }
    }
}

/// The octets of a message, portion by portion.
pub trait Octets {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// Appends the next portion; false when there is none left.
    ///
    /// # Errors
    /// They cannot be read, or are not those that were written.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool>;
}

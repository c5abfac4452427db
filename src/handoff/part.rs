//! What crosses between a shard and the spiller, the thread that writes spill files: parts of messages out,
//! the same parts home when they are written.

use super::message::Origin;
use crate::buffer::{MailData, SpillFile};
use crate::mail::client::Client;
use crate::mail::outcome::TryAgain;
use crate::mail::queue_id::QueueId;

/// A part of a message that is to be written out.
#[derive(Debug)]
pub struct Part {
    /// The message.
    pub id: QueueId,
    /// The shard and connection that receive it.
    pub origin: Origin,
    /// Who sends it; none for a client that is exempt from shares.
    pub client: Option<Client>,
    /// Its file so far, and what is to be appended.
    pub data: MailData,
}

/// What a shard asks of the spiller.
#[derive(Debug)]
pub enum Errand {
    /// Write this out and send it home.
    Write(Box<Part>),
    /// Close this file: the message came to nothing. To free a large file takes long.
    Close(SpillFile),
}

/// A part that comes home.
#[derive(Debug)]
pub struct Written {
    /// With its memory, which only its shard can free.
    pub part: Box<Part>,
    /// Whether its file holds it; the file is gone if not.
    pub result: Result<(), TryAgain>,
    /// It could not be written because there is no room for anybody: those who hold some and hardly send
    /// should give way.
    pub is_scarce: bool,
}

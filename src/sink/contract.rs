//! What a sink is: takes a batch, gives one outcome a message, and says what an outcome of it is worth.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::volatile;
use crate::handoff::message::Message;
use crate::mail::outcome::Outcome;
use crate::metrics::Pulse;

/// What [`Outcome::Stored`] of a sink means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Other servers have the message, as many as make a quorum.
    Quorum,
    /// The message survives a stop of the process and of the machine.
    Disk,
    /// The message survives a stop of the process and not one of the machine: the store is in memory.
    Memory,
    /// The sink promises nothing.
    None,
}

impl Durability {
    /// What a message is worth that is stored in this directory.
    pub(super) fn of_store(directory: impl AsFd) -> Self {
        if volatile::why(directory).is_some() { Self::Memory } else { Self::Disk }
    }
}

/// What a message costs the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Octets to be written.
    pub bytes: u64,
    /// Files to be made.
    pub files: usize,
}

/// A place where messages go. Lives on one worker thread, or on the shard when it never blocks.
pub trait Sink {
    /// A message that is larger than so many octets and whose mail data begins in a spill file comes to
    /// [`Self::store`] with that file ([`spilled`](crate::buffer::MailData::spilled)). `None`: all mail
    /// data is wanted in memory.
    fn inline_bytes_max(&self) -> Option<u64> {
        None
    }

    /// What it takes to store this message. Said of every message, so it is quick.
    fn cost(&self, message: &Message) -> Cost {
        Cost { bytes: message.data.bytes(), files: 0 }
    }

    /// Gives the pulse of its worker, before the first batch. A sink whose single message may take longer
    /// than a disk may hang [advances](Pulse::advance) it within [`Self::store`], on the same thread.
    fn watched(&mut self, _pulse: &Arc<Pulse>) {}

    /// Stores a batch and appends exactly one outcome a message, in the order of the batch. May block.
    ///
    /// Writes where each message went to its `place`. An error of the machine becomes `TryAgain`, logged once
    /// with errno and path; of a message whose outcome is not `Stored` nothing visible stays.
    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>);
}

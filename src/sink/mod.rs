//! Sinks: where completed messages go.
//!
//! A sink takes a batch and gives one outcome a message: all or nothing for a message. What it promises is part of its
//! type and logged at start.

pub mod worker;

use crate::handoff::message::{Message, Outcome};

/// What [`Outcome::Durable`] of a sink means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message survives a stop of the process and of the machine.
    Disk,
    /// The sink promises nothing.
    None,
}

/// A place where messages go. Lives on one worker thread, or on the shard when it never blocks.
pub trait Sink {
    /// What `Durable` means here.
    fn durability(&self) -> Durability;

    /// Stores a batch and appends exactly one outcome a message, in the order of the batch. May block.
    ///
    /// Writes where each message went to its `place`. An error of the machine becomes `TryAgain`, logged once with errno and
    /// path; a message whose outcome is not `Durable` leaves nothing visible behind.
    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>);
}

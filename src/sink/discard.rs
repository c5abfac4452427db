//! The sink that stores nothing, for measuring what receiving costs. Never blocks.

use super::contract::{Durability, Sink};
use super::opening::Opened;
use super::spill::SpillTo;
use crate::handoff::message::Message;
use crate::mail::outcome::Outcome;

/// Drops every message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

/// Opens the sink: there is nothing to open. It runs on the shards.
pub(super) fn open() -> Opened {
    Opened {
        description: "discard".to_owned(),
        durability: Durability::None,
        notes: vec!["discard stores nothing: every accepted message is lost".to_owned()],
        workers: Vec::new(),
        inline: Some(|| Box::new(Discard)),
        spill: SpillTo::Nowhere,
        mailboxes: None,
    }
}

impl Sink for Discard {
    fn durability(&self) -> Durability {
        Durability::None
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        for message in batch {
            message.place.clear();
            message.place.push_str("discarded");
            outcomes.push(Outcome::Stored);
        }
    }
}

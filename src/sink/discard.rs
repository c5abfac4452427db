//! The sink that stores nothing, for measuring what receiving costs. Never blocks.

use super::contract::{Durability, Sink};
use super::kind::Kind;
use super::opening::{OpenError, Opened, Surroundings};
use super::spill_file::SpillTo;
use crate::handoff::message::Message;
use crate::mail::outcome::Outcome;

/// Drops every message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl Kind for Discard {
    /// There is nothing to open. It runs on the shards.
    fn open(&self, _workers: usize, _surroundings: &Surroundings) -> Result<Opened, OpenError> {
        Ok(Opened {
            description: "discard".to_owned(),
            durability: Durability::None,
            notes: vec!["discard stores nothing: every accepted message is lost".to_owned()],
            workers: Vec::new(),
            inline: Some(|| Box::new(Self)),
            spill: SpillTo::Nowhere,
            mailboxes: None,
        })
    }
}

impl Sink for Discard {
    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        for message in batch {
            message.place.clear();
            message.place.push_str("discarded");
            outcomes.push(Outcome::Stored);
        }
    }
}

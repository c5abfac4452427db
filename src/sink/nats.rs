//! Behind a cluster that has no spool behind it: the sink for what the cluster does not take, which it puts
//! off. The station before it (`station/nats`) has the mail acknowledged, and no message goes on from there:
//! this one keeps the promise also if one ever did.

use std::path::PathBuf;

use super::contract::{Durability, Sink};
use super::kind::Kind;
use super::opening::{OpenError, Opened, Surroundings};
use super::spill_file::SpillTo;
use crate::config;
use crate::handoff::message::Message;
use crate::mail::outcome::{Outcome, TryAgain};

/// Stores nothing, and says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Kind for config::Nats {
    fn writes_in(&self) -> Option<PathBuf> {
        Some(std::env::temp_dir())
    }

    fn open(&self, _workers: usize, _surroundings: &Surroundings) -> Result<Opened, OpenError> {
        Ok(Opened {
            description: format!("nats stream {}", self.stream),
            durability: Durability::Quorum,
            notes: Vec::new(),
            workers: vec![Box::new(|| Ok(Box::new(Nothing)))],
            inline: None,
            spill: SpillTo::Directory(std::env::temp_dir()),
            mailboxes: None,
        })
    }
}

impl Sink for Nothing {
    /// It reads none.
    fn inline_bytes_max(&self) -> Option<u64> {
        Some(0)
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        outcomes.extend(batch.iter().map(|_| Outcome::TryAgain(TryAgain::Local)));
    }
}

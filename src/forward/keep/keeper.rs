//! The keeper: takes what happened to messages, makes it durable, and tells when it is.
//!
//! ```text
//!   copies into later/ and dead/, sync  →  one commit of the journal, sync  →  state  →  `consumed`
//! ```
//!
//! Each arrow waits for what stands before it. A copy that fails fails the changes that need it, and no
//! others. A commit that fails fails all of its changes; the journal is then written anew before the next
//! one.

use std::collections::BTreeMap;
use std::io;

use super::entry::Entry;
use super::files::Files;
use super::place::Place;
use super::settings::Settings;
use super::state::State;
use super::store::Store;
use super::writer::{Disk, Writer};
use crate::sink::spool::cursor::{Cursor, plan_consumed};

/// The durable state of a forwarder, and the way to change it.
pub struct Keeper {
    pub(super) disk: Disk,
    pub(super) files: Box<dyn Files>,
    pub(super) settings: Settings,
    pub(super) writer: Writer,
    pub(super) state: State,
    /// `later/` and `dead/`.
    pub(super) stores: [Store; 2],
    /// What `consumed` says. Never after `state.consumed()`.
    pub(super) published: Option<Cursor>,
    /// Where records were moved to that somebody may still name by their old place.
    pub(super) moves: BTreeMap<Place, Place>,
}

impl Keeper {
    pub(super) fn new(
        disk: Disk,
        files: Box<dyn Files>,
        settings: Settings,
        writer: Writer,
        state: State,
        stores: [Store; 2],
        published: Option<Cursor>,
    ) -> Self {
        Self { disk, files, settings, writer, state, stores, published, moves: BTreeMap::new() }
    }

    /// What is durable.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Moves `consumed` as far as the journal allows. [`Self::commit`] does so when another segment of the
    /// log is needed no more; who shows the operator how far deliveries are calls this now and then, and at
    /// the end.
    pub fn publish(&mut self) -> io::Result<()> {
        if let Some(cursor) = self.state.consumed()
            && Some(cursor) > self.published
        {
            let line = format!("{cursor}\n");
            self.disk.run(&plan_consumed(&line))?;
            self.published = Some(cursor);
        }
        Ok(())
    }

    /// Where a message is that was moved since the engine was told its place.
    pub fn place_of(&self, place: Place) -> Place {
        self.moves.get(&place).copied().unwrap_or(place)
    }

    /// Nobody names a message by this place any more, from which it was moved.
    pub fn confirm_move(&mut self, from: Place) {
        self.moves.remove(&from);
    }

    /// Writes the journal anew where there is none to append to, or it has grown to twice what it began with.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if self.writer.is_open() && !self.writer.has_doubled() {
            return Ok(());
        }
        self.writer.snapshot(&self.state, &mut self.disk)
    }

    /// Makes entries durable, then believes them.
    pub(super) fn record(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut octets = Vec::new();
        for entry in entries {
            entry.encode(&mut octets);
        }
        self.writer.append(&octets, &mut self.disk)?;
        for entry in entries {
            self.state.apply(entry);
        }
        Ok(())
    }

    /// Removes the segments that nobody needs. Not after a failed commit: it may be whole on the disk, and
    /// name copies in a segment that is full. A snapshot has to be durable first.
    pub(super) fn clear(&mut self) {
        if !self.writer.is_open() {
            return;
        }
        for store in &mut self.stores {
            store.clear(&self.state, &*self.files, &mut self.disk);
        }
    }
}

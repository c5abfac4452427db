//! Messages of `later/` that the office moved: the schedule learns their new places, and the office when
//! nothing names the old ones.

use std::collections::HashSet;

use super::Engine;
use super::hand::key_of;
use crate::forward::keep::{Moved, Place};
use crate::forward::office::Letter;
use crate::ring::Ring;

impl<R: Ring> Engine<R> {
    /// The office moved these.
    pub(super) fn handle_moved(&mut self, told: Vec<Moved>) {
        self.moves.add(told);
        self.learn_moves();
    }

    /// Calls messages by their new places, save those that are in hand.
    pub(super) fn learn_moves(&mut self) {
        if self.moves.all.is_empty() {
            return;
        }
        let in_hand = self.places_in_hand();
        let all = std::mem::take(&mut self.moves.all);
        for moved in all {
            let Moved { from, to } = moved;
            let is_learned = !in_hand.contains(&from)
                && match (from, to) {
                    (Place::Later(from), Place::Later(to)) => {
                        self.schedule.relocate(key_of(from), key_of(to))
                    }
                    _ => true,
                };
            if is_learned {
                self.unsent.push_back(Letter::Confirm(from));
            } else {
                self.moves.all.push(moved);
            }
        }
    }

    /// The places that something under way names.
    pub(super) fn places_in_hand(&self) -> HashSet<Place> {
        let waiting = self.again.iter().chain(&self.unread).map(|(_, pending)| pending);
        let told = self.pending.values().chain(waiting).map(|pending| pending.change.place());
        let fetches = self.fetches.iter().chain(self.fetching.values()).map(|fetch| fetch.place);
        let currents = self.connections.iter().flatten().filter_map(|one| one.current.as_ref());
        let on_connections = currents.map(|current| current.message.place);
        told.chain(fetches).chain(on_connections).chain(self.operations.places()).collect()
    }
}

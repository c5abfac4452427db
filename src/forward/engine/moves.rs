//! Messages of `later/` that the office moved: the schedule learns their new places, and the office when
//! nothing names the old ones.

use std::collections::HashSet;

use super::Engine;
use super::hand::key_of;
use crate::forward::keep::{Moved, Place};
use crate::forward::office::Letter;
use crate::ring::Ring;

/// What was moved and is still called by its old place, oldest first.
#[derive(Default)]
pub(super) struct Moves {
    all: Vec<Moved>,
}

impl Moves {
    /// The place by which the engine knows a message that is called by where it lies.
    pub(super) fn known(&self, place: Place) -> Place {
        self.all.iter().find(|moved| moved.to == place).map_or(place, |moved| moved.from)
    }

    fn add(&mut self, told: Vec<Moved>) {
        for new in told {
            // What has not learned the first move learns both at once.
            self.all.iter_mut().filter(|moved| moved.to == new.from).for_each(|moved| moved.to = new.to);
            self.all.push(new);
        }
    }
}

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
    fn places_in_hand(&self) -> HashSet<Place> {
        let waiting = self.again.iter().chain(&self.unread).map(|(_, pending)| pending);
        let told = self.pending.values().chain(waiting).map(|pending| pending.change.place());
        let fetches = self.fetches.iter().chain(self.fetching.values()).map(|fetch| fetch.place);
        let currents = self.connections.iter().flatten().filter_map(|one| one.current.as_ref());
        let on_connections = currents.map(|current| current.message.place);
        told.chain(fetches).chain(on_connections).chain(self.operations.places()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::spool::cursor::Cursor;

    #[test]
    fn a_message_that_is_moved_twice_is_called_by_its_first_place() {
        let at = |sequence| Place::Later(Cursor { sequence, offset: 4096 });
        let mut moves = Moves::default();
        moves.add(vec![Moved { from: at(1), to: at(7) }, Moved { from: at(2), to: at(7) }]);
        moves.add(vec![Moved { from: at(7), to: at(9) }]);
        assert_eq!(moves.known(at(9)), at(1));
        assert_eq!(moves.known(at(3)), at(3));
        let all: Vec<(Place, Place)> = moves.all.iter().map(|moved| (moved.from, moved.to)).collect();
        assert_eq!(all, [(at(1), at(9)), (at(2), at(9)), (at(7), at(9))]);
    }
}

//! Commands of operators that are under way, as the engine keeps them; and what the office moved meanwhile.

use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::forward::keep::{Moved, Place};
use crate::forward::operations::{Done, Outcome};
use crate::forward::schedule::{Deferred, DestinationId};

/// Commands that were begun, and their steps.
#[derive(Default)]
pub(super) struct Operations {
    pub(super) commands: HashMap<u64, Command>,
    pub(super) steps: HashMap<u64, Step>,
    /// Which command the office's answer of this number is for: what is suspended is noted.
    pub(super) suspends: HashMap<u64, u64>,
}

/// What somebody waits for.
pub(super) struct Command {
    pub(super) tell: oneshot::Sender<Outcome>,
    /// For the log.
    pub(super) word: &'static str,
    /// Steps that have not ended.
    pub(super) open: usize,
    pub(super) done: Done,
}

/// One message of a command.
pub(super) struct Step {
    pub(super) command: u64,
    pub(super) what: What,
    pub(super) place: Place,
    /// The same, as the operator has it.
    pub(super) told: Place,
    /// Of those who wait there only these, by the name of their destination.
    pub(super) of: Option<Rc<str>>,
    /// The destinations whose deliveries are changed.
    pub(super) destinations: Vec<DestinationId>,
    /// What the schedule had before.
    pub(super) undo: Vec<Deferred>,
    /// Changes that are not durable.
    pub(super) open: usize,
    pub(super) failed: Option<String>,
    /// It was done, and not what was asked for: this.
    pub(super) instead: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Hold,
    Release,
    Remove,
    /// It is tried now; asked only where the schedule has nothing of it.
    Retry,
    /// It was given up, and waits again.
    Revive,
}

impl Operations {
    /// The messages whose places are named.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.steps.values().map(|step| step.place)
    }
}

/// What was moved and is still called by its old place, oldest first.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) all: Vec<Moved>,
}

impl Moves {
    /// The place by which the engine knows a message that is called by where it lies.
    pub(super) fn known(&self, place: Place) -> Place {
        self.all.iter().find(|moved| moved.to == place).map_or(place, |moved| moved.from)
    }

    pub(super) fn add(&mut self, told: Vec<Moved>) {
        for new in told {
            // What has not learned the first move learns both at once.
            self.all.iter_mut().filter(|moved| moved.to == new.from).for_each(|moved| moved.to = new.to);
            self.all.push(new);
        }
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

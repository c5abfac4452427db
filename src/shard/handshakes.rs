//! Steps of TLS handshakes in a turn: the dearest thing that a client can ask for, so a turn takes few, and
//! the other connections wait for the next turn.

use std::collections::VecDeque;

use super::table::Key;
use crate::limits::HANDSHAKES_PER_TURN_MAX;

/// Those of this turn, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Steps that this turn has taken. `<= HANDSHAKES_PER_TURN_MAX`
    steps: usize,
    /// Connections whose handshake waits for a turn with time for it, the longest waiting first.
    waiting: VecDeque<Key>,
}

impl Handshakes {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.steps = 0;
    }

    /// Whether this turn has time for one more step, which is taken then.
    pub(super) fn take_step(&mut self) -> bool {
        let has_time = self.steps < HANDSHAKES_PER_TURN_MAX;
        self.steps += usize::from(has_time);
        has_time
    }

    /// Steps that this turn has taken.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// This connection waits for a turn with time for it.
    pub(super) fn wait(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    /// The next connection that waits, while the turn has time for it.
    pub(super) fn next(&mut self) -> Option<Key> {
        if self.steps < HANDSHAKES_PER_TURN_MAX { self.waiting.pop_front() } else { None }
    }

    /// Whether somebody waits, so that the shard must not sleep.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}

//! How much of a turn one connection may take: a slice, then the others have theirs.
//!
//! Work is counted, not timed, so that a simulated shard does the same again: a unit is about a nanosecond. A
//! connection that has used up its slice waits in a queue; the queue is worked on in the same turn while the
//! turn has work left, and in the next ones. Whoever does not wait there is served at once, so a few octets
//! of a good client never stand behind megabytes of others.

use std::collections::VecDeque;

use super::table::Key;
use crate::limits::{WORK_PER_TURN_MAX, WORK_SLICE};

/// What a step of the session costs besides its octets, in units.
const STEP: usize = 64;

/// What a command costs besides its octets, in units.
const COMMAND: usize = 256;

/// A slice of a short turn, which has one of them.
const SHORT_SLICE: usize = WORK_SLICE / 2;

/// So few octets are parsed at once, however much work a turn had: commands, and a message of usual size.
pub(super) const LITTLE_BYTES: usize = 8 * 1024;

/// Octets that the session only looks at cost a unit together: less than they take, because large messages of
/// honest clients are such octets, and short turns cost them more than they give to others
/// (`docs/experiments.md`).
const OCTETS_A_UNIT: usize = 128;

/// The work of a turn, and who waits for more of it.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Units that this turn has left for those who wait.
    left: usize,
    /// Connections that used up their slice, the longest waiting first.
    waiting: VecDeque<Key>,
}

impl Work {
    /// A turn begins, which is to be short.
    pub(super) fn begin_turn(&mut self, is_short: bool) {
        self.left = if is_short { SHORT_SLICE } else { WORK_PER_TURN_MAX };
    }

    /// Whether somebody waits, so that the shard must not sleep and takes in no more than before.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the turn's work is done: who has more than [`LITTLE_BYTES`] to be parsed has to wait in the
    /// queue.
    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// A slice was worked on.
    pub(super) fn end_slice(&mut self, slice: Slice) {
        self.left = self.left.saturating_sub(slice.used());
    }

    /// This connection has used up its slice and waits for the next one.
    pub(super) fn wait(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    /// The turn comes to those who wait: false when nobody does. One of them has a slice however much work
    /// the turn had.
    pub(super) fn begin_queue(&mut self) -> bool {
        self.left = self.left.max(1);
        self.is_behind()
    }

    /// The next connection that waits, while the turn has work left.
    pub(super) fn next(&mut self) -> Option<Key> {
        if self.left == 0 { None } else { self.waiting.pop_front() }
    }
}

/// What a connection has left of its slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    whole: usize,
    left: usize,
}

impl Slice {
    /// A whole one, of a short turn or of a usual one.
    pub(super) fn new(is_short: bool) -> Self {
        let whole = if is_short { SHORT_SLICE } else { WORK_SLICE };
        Self { whole, left: whole }
    }

    /// Whether nothing is left.
    pub(super) fn is_over(self) -> bool {
        self.left == 0
    }

    /// A step of the session looked at so many octets, gave so many that it put together itself, took so many
    /// steps more, and handled so many commands.
    pub(super) fn take(&mut self, looked_at: usize, made: usize, steps: usize, commands: usize) {
        let units = STEP + looked_at / OCTETS_A_UNIT + 2 * made + steps + commands * COMMAND;
        self.left = self.left.saturating_sub(units);
    }

    /// What was used of it.
    pub(super) fn used(self) -> usize {
        self.whole - self.left
    }
}

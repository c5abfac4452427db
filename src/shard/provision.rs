//! How many receive buffers are published at a time: few, so that the memory in use stays in cache, and more
//! when turns run out of them.

use crate::buffer::Pool;
use crate::ring::Ring;

/// Buffers published at the least.
const PUBLISHED_MIN: usize = 32;

/// Buffers published at the most for connections that stream: a shard that many large messages flood would
/// have the kernel copy into all that there are in one turn, while everybody waits.
const PUBLISHED_FOR_STREAMS_MAX: usize = 128;

/// With so many events that wait for another turn hardly any buffers are published: what comes faster than it
/// is handled stays in the sockets.
const WAITING_MAX: usize = 256;

/// Buffers published then: fewer than a turn handles.
const PUBLISHED_WHILE_FULL: usize = 8;

/// Turns after which the number is looked at again.
const WINDOW_TURNS: u32 = 1024;

/// Keeps the ring provided with receive buffers.
#[derive(Debug)]
pub(super) struct Provision {
    target: usize,
    /// The most buffers that one turn of this window used.
    used_max: usize,
    turns: u32,
    /// Receives of this turn that found no buffer.
    stalls: usize,
}

impl Provision {
    /// Begins with few.
    pub(super) fn new() -> Self {
        Self { target: PUBLISHED_MIN, used_max: 0, turns: 0, stalls: 0 }
    }

    /// Publishes free buffers up to the target, the ones used last first. Once a turn, before it. More than
    /// before are published only while what was received is parsed in its turn: a shard that is behind takes
    /// in no more at a time. `waiting` are events that wait for another turn; what they received is counted
    /// as published still.
    pub(super) fn provide<R: Ring>(
        &mut self,
        ring: &mut R,
        pool: &mut Pool,
        is_behind: bool,
        waiting: usize,
    ) {
        // A few fast senders empty any number of buffers; only when many connections find none are there too
        // few.
        if std::mem::take(&mut self.stalls) > self.target / 4 && !is_behind {
            self.target = (self.target * 2).min(pool.arena().buffers());
        }
        self.used_max = self.used_max.max(self.target.saturating_sub(ring.provided()));
        self.turns += 1;
        if self.turns == WINDOW_TURNS {
            if self.used_max < self.target / 4 {
                self.target = (self.target / 2).max(PUBLISHED_MIN);
            }
            self.used_max = 0;
            self.turns = 0;
        }
        let wanted = self.wanted(waiting);
        while ring.provided() < wanted {
            let Some(buffer) = pool.take() else { break };
            ring.provide(buffer);
        }
    }

    /// Buffers to be published while so many events wait.
    fn wanted(&self, waiting: usize) -> usize {
        let least = if waiting < WAITING_MAX { PUBLISHED_MIN } else { PUBLISHED_WHILE_FULL };
        self.target.saturating_sub(waiting).max(least)
    }

    /// A receive found no published buffer. `streams`: more than one is wanted there.
    pub(super) fn handle_stall(&mut self, streams: bool) {
        if !streams || self.target < PUBLISHED_FOR_STREAMS_MAX {
            self.stalls += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_waits_the_less_is_taken_in() {
        let provision = Provision { target: 200, ..Provision::new() };
        let wanted = [0, 100, 190, WAITING_MAX - 1, WAITING_MAX, 10_000].map(|count| provision.wanted(count));
        assert_eq!(wanted, [200, 100, 32, 32, 8, 8]);
    }
}

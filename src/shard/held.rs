//! Octets that connections hold outside of receive buffers and of messages: what was received and cannot be parsed yet, ciphertext of a
//! record or a handshake that is not whole. All connections of a shard have one budget for them.
//!
//! When it is nearly used up, whoever holds most is told 421; a connection that finds it used up is told so at once. So clients that
//! send and never read, or that stop in the middle of something large, cost a bounded amount of memory, and those that hold little
//! are not concerned.

use super::Shard;
use super::connection::{Connection, Phase};
use super::context::Context;
use super::table::Key;
use crate::limits::HELD_BYTES_MAX;
use crate::ring::Ring;

/// What the bookkeeping of one run of octets takes.
const ENTRY_BYTES: usize = 64;

/// Past this share of the budget whoever holds most has to go.
const RELIEF_AT: usize = HELD_BYTES_MAX / 4 * 3;

impl Connection {
    /// Counts what it holds now.
    pub(super) fn count_held<R>(&mut self, context: &mut Context<R>) {
        // Most hold nothing, and never did.
        if self.unread.is_empty() && self.is_plain() && self.held == 0 {
            return;
        }
        let unread: usize = self.unread.iter().map(|unread| ENTRY_BYTES + unread.copied_bytes()).sum();
        let held = unread + self.transport.held_bytes();
        context.held = context.held - self.held + held;
        self.held = held;
    }
}

impl<R> Context<R> {
    /// Whether the budget has room for so many octets more.
    pub(super) fn may_hold(&self, count: usize) -> bool {
        self.held + count <= HELD_BYTES_MAX
    }
}

impl<R: Ring> Shard<R> {
    /// Makes room when the budget is nearly used up: at least half as much as anybody holds is too much then.
    pub(super) fn relieve(&mut self) {
        while self.context.held > RELIEF_AT {
            let keys = self.connections.keys();
            let held = |shard: &mut Self, key: Key| {
                let connection = shard.connections.find(key);
                connection.filter(|connection| connection.phase == Phase::Serving).map_or(0, |one| one.held)
            };
            let most = keys.iter().map(|key| held(self, *key)).max().unwrap_or(0);
            if most == 0 {
                break;
            }
            for key in keys {
                if self.context.held > RELIEF_AT && held(self, key) * 2 >= most {
                    self.end_for_others(key);
                }
            }
        }
    }

    fn end_for_others(&mut self, key: Key) {
        if let Some(connection) = self.connections.find(key) {
            self.context.metrics.held_refusals.add(1);
            connection.cut_off(&mut self.context);
            connection.count_held(&mut self.context);
            self.mark(key);
        }
    }
}

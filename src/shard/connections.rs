//! All connections of a shard, with their deadlines, and which of them something happened to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::connection::{Connection, Fate};
use super::context::Context;
use super::serving::Serving;
use super::table::{Key, Table};
use super::timers::Timers;
use crate::limits::REFUSED_CONNECTIONS_MAX;
use crate::ring::Ring;

/// The connections of one shard.
pub(super) struct Connections {
    table: Table<Connection>,
    /// Places that clients may have; some more are for those who are turned away with a reply.
    places: usize,
    timers: Timers,
    /// Those that something happened to in this turn.
    dirty: Vec<Key>,
    /// Those whose receive found no buffer, the longest waiting first.
    stalled: VecDeque<Key>,
}

impl Connections {
    /// None yet, of at most so many; time begins now.
    pub(super) fn new(places: usize, now: Instant) -> Self {
        Self {
            table: Table::new(places + REFUSED_CONNECTIONS_MAX),
            places,
            timers: Timers::new(now),
            dirty: Vec::new(),
            stalled: VecDeque::new(),
        }
    }

    /// From now on so many clients may have a place. Those that are there stay.
    pub(super) fn limit(&mut self, places: usize) {
        if places != self.places {
            self.places = places;
            self.table.limit(places + REFUSED_CONNECTIONS_MAX);
        }
    }

    /// Adds one, to be settled in this turn. False when even those who are turned away have filled their
    /// places.
    pub(super) fn insert(&mut self, make: impl FnOnce(Key) -> Connection) -> bool {
        let key = self.table.insert(make);
        if let Some(key) = key {
            self.mark(key);
        }
        key.is_some()
    }

    /// The one of this key, if it is still there.
    pub(super) fn find(&mut self, key: Key) -> Option<&mut Connection> {
        self.table.find(key)
    }

    /// Something happens to one, which is settled at the end of the turn. None when it is gone.
    pub(super) fn touch<T>(&mut self, key: Key, act: impl FnOnce(&mut Connection) -> T) -> Option<T> {
        let connection = self.table.find(key)?;
        let result = act(connection);
        if connection.mark_dirty() {
            self.dirty.push(key);
        }
        Some(result)
    }

    /// It is settled at the end of the turn.
    pub(super) fn mark(&mut self, key: Key) {
        self.touch(key, |_| ());
    }

    /// Something happens to the sessions of all of them.
    pub(super) fn serve_each<R>(&mut self, act: fn(&mut Serving), context: &mut Context<R>) {
        for key in self.keys() {
            self.touch(key, |connection| connection.serve(context, |serving, _| act(serving)));
        }
    }

    /// The receive of this one found no buffer. A light one is the next to have some.
    pub(super) fn stall(&mut self, key: Key, is_light: bool) {
        if is_light {
            self.stalled.push_front(key);
        } else {
            self.stalled.push_back(key);
        }
    }

    /// Whether the receive of some found no buffer and waits for one.
    pub(super) fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Arms so many receives again that found no buffer.
    pub(super) fn resume_stalled<R: Ring>(&mut self, count: usize, context: &mut Context<R>) {
        for _ in 0..count {
            let Some(key) = self.stalled.pop_front() else { break };
            if let Some(connection) = self.table.find(key) {
                connection.resume(context);
            }
        }
    }

    /// Arms receives of busy connections that stream, as many as the turn has time for.
    pub(super) fn resume_streams<R: Ring>(&mut self, published: usize, context: &mut Context<R>) {
        for _ in 0..context.turn.shares.streams_due(published) {
            let Some(key) = context.turn.shares.next_stream() else { break };
            if let Some(connection) = self.table.find(key) {
                connection.resume(context);
            }
        }
    }

    /// Tells those whose deadline has passed.
    pub(super) fn expire<R: Ring>(&mut self, context: &mut Context<R>) {
        while let Some(index) = self.timers.next_expired(context.turn.now) {
            if let Some(key) = self.table.key_at(index) {
                self.touch(key, |connection| connection.expire(context));
            }
        }
    }

    /// How long until the next deadline.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        self.timers.idle_for(now)
    }

    /// Settles every connection that something happened to. Those that are over are logged and removed.
    pub(super) fn settle<R: Ring>(&mut self, context: &mut Context<R>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(connection) = self.table.find(key) else { continue };
            match connection.settle(context) {
                Fate::Open => self.timers.set(key.index(), connection.deadline()),
                Fate::Gone => {
                    connection.log(context);
                    self.timers.remove(key.index());
                    self.table.remove(key);
                }
            }
        }
        self.dirty = dirty;
    }

    /// Whether every connection is settled.
    pub(super) fn are_settled(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Connections now.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether a client more has to be turned away.
    pub(super) fn are_full(&self) -> bool {
        self.len() >= self.places
    }

    /// Places in use, in per cent.
    pub(super) fn used_percent(&self) -> usize {
        self.len() * 100 / self.places.max(1)
    }

    /// All keys now. Takes time for each place that was ever used.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.table.keys()
    }
}

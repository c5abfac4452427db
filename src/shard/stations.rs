//! A shard's ways to its stations: what complete messages pass before they go to the sink, one after the
//! other. A station belongs to another thread, so the shard never waits for one.

use std::time::{Duration, Instant};

use crate::handoff::channel::{MustRing, Sender};
use crate::handoff::message::Message;
use crate::handoff::station::{Passage, Rules, Visit};
use crate::limits::STATION_MESSAGES_MAX;

/// Past the time that a station has for a message its thread is taken to hang.
const SLACK: Duration = Duration::from_secs(5);

/// The way to a station, and which messages it sees.
#[derive(Debug, Clone)]
pub struct ToStation {
    /// The way to its thread.
    pub sender: Sender<Visit>,
    /// Which messages it sees.
    pub rules: Rules,
}

/// A shard's ways to its stations.
#[derive(Debug, Default)]
pub struct Stations {
    /// In the order in which messages pass them.
    ways: Vec<ToStation>,
    /// Messages that are at one of them. `<= STATION_MESSAGES_MAX`, the room of those that come back.
    away: usize,
}

/// What happened to a message that goes on its way.
#[derive(Debug)]
pub(super) enum Sent {
    /// It is at a station, which may have to be rung, and comes back until then.
    Away(MustRing, Instant),
    /// It has passed all of them: the sink is next.
    Through(Box<Message>),
    /// The next one takes no more, and that is what becomes of it.
    Turned(Box<Message>, Passage),
}

impl Stations {
    /// Those that these ways lead to.
    pub fn new(ways: Vec<ToStation>) -> Self {
        Self { ways, away: 0 }
    }

    /// Sends a message to the next station that has to see it.
    pub(super) fn send(&mut self, mut message: Box<Message>, now: Instant) -> Sent {
        while let Some(ToStation { sender, rules }) =
            self.ways.get(usize::from(message.progress.stations_passed))
        {
            message.progress.stations_passed += 1;
            if !rules.see(&message) {
                continue;
            }
            if self.away == STATION_MESSAGES_MAX {
                return Sent::Turned(message, rules.otherwise.clone());
            }
            return match sender.try_send(Visit { message, since: now }) {
                Ok(must_ring) => {
                    self.away += 1;
                    Sent::Away(must_ring, now + rules.timeout + SLACK)
                }
                Err(Visit { message, .. }) => Sent::Turned(message, rules.otherwise.clone()),
            };
        }
        Sent::Through(message)
    }

    /// A message came back.
    pub(super) fn handle_back(&mut self) {
        assert!(self.away > 0, "a message comes back once");
        self.away -= 1;
    }

    /// Messages that are at stations.
    pub(super) fn away(&self) -> usize {
        self.away
    }
}

//! What operators do with deliveries and hosts.

use std::time::Instant;

use super::delivery::{Answer, Delivery, DestinationId, POISON_ALONE, Place};
use super::index::State;
use super::schedule::Schedule;

/// Seconds for which what was released is tried at least: it may have been held for longer than mail waits.
pub const RELEASED_SECONDS_LEAST: u32 = 3600;

/// What an operator means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One delivery.
    One(Delivery),
    /// All of a destination.
    Destination(DestinationId),
    /// All.
    All,
}

impl Schedule {
    /// Deferred mail is tried now, as far as its hosts take it; suspended hosts are probed now.
    pub fn retry(&mut self, target: Target, now: Instant) -> Answer {
        let destination = match target {
            Target::One(delivery) => return self.retry_one(delivery, now),
            Target::Destination(id) => Some(id),
            Target::All => None,
        };
        if !self.walks.begin(destination) {
            return Answer::Busy;
        }
        let all = (0..).zip(&self.destinations).map(|(number, _)| DestinationId(number));
        let ids: Vec<_> = all.filter(|id| destination.is_none_or(|one| one == *id)).collect();
        for id in ids {
            self.hasten(id, now);
        }
        Answer::Done
    }

    /// Nobody tries it until it is released; meanwhile it does not expire.
    pub fn hold_one(&mut self, delivery: Delivery) -> Answer {
        let Some(slot) = self.index.find(delivery) else { return Answer::Unknown };
        let entry = self.index[slot];
        if entry.state == State::Held {
            return Answer::Done;
        }
        if !entry.state.is_listed() {
            return Answer::Busy;
        }
        self.unlist(slot);
        self.hold(slot, entry.is_in_log);
        if entry.is_in_log { Answer::Moving } else { Answer::Done }
    }

    /// What was held is tried now, and does not expire within the next hour. If it was held because it loses
    /// connections, it goes alone.
    pub fn release(&mut self, delivery: Delivery, now: Instant) -> Answer {
        let Some(slot) = self.index.find(delivery) else { return Answer::Unknown };
        let state = self.index[slot].state;
        if state != State::Held {
            return if state == State::MovingHeld { Answer::Busy } else { Answer::Unknown };
        }
        let second = self.second(now);
        let entry = &mut self.index[slot];
        entry.poison = entry.poison.min(POISON_ALONE);
        entry.due = second;
        entry.expires = entry.expires.max(second.saturating_add(RELEASED_SECONDS_LEAST));
        self.destination(delivery.destination).held -= 1;
        self.list(slot, now);
        Answer::Done
    }

    /// The schedule has it no more, held or not.
    pub fn remove(&mut self, delivery: Delivery) -> Answer {
        let Some(slot) = self.index.find(delivery) else { return Answer::Unknown };
        let state = self.index[slot].state;
        if state == State::Held {
            self.destination(delivery.destination).held -= 1;
        } else if !state.is_listed() {
            return Answer::Busy;
        }
        self.unlist(slot);
        self.forget(slot);
        self.activate(delivery.destination);
        Answer::Done
    }

    /// A message of `later/` lies somewhere else in it now. False, and nothing is changed, while one of its
    /// deliveries is on a connection: it has its old name until it ends.
    pub fn relocate(&mut self, from: u64, to: u64) -> bool {
        let slots: Vec<u32> = self.deliveries_at(from).filter_map(|name| self.index.find(name)).collect();
        if slots.iter().any(|slot| self.index[*slot].state == State::Busy) {
            return false;
        }
        for slot in slots {
            // One that is known there already is the same delivery.
            if !self.index.rename(slot, to) {
                let _ = self.remove(self.index[slot].delivery());
            }
        }
        true
    }

    /// The deliveries of a message of `later/`, whatever they wait for.
    pub fn deliveries_at(&self, cursor: u64) -> impl Iterator<Item = Delivery> + '_ {
        let all = (0..).zip(&self.destinations);
        let names = all.map(move |(number, _)| Delivery {
            place: Place::Later(cursor),
            destination: DestinationId(number),
        });
        names.filter(|name| self.index.find(*name).is_some())
    }

    /// No mail and no probe goes to this host of a destination, or to all of its hosts, until it is resumed.
    /// What is on a connection ends as it does.
    pub fn suspend(&mut self, destination: DestinationId, host: Option<usize>, now: Instant) {
        self.stop(destination, host, true, now);
    }

    /// Mail goes there again; a host that does not answer is probed at once.
    pub fn resume(&mut self, destination: DestinationId, host: Option<usize>, now: Instant) {
        self.stop(destination, host, false, now);
    }

    fn stop(&mut self, id: DestinationId, host: Option<usize>, is_stopped: bool, now: Instant) {
        for (number, one) in self.destination(id).hosts.iter_mut().enumerate() {
            if host.is_none_or(|host| host == number) {
                one.stop(is_stopped, now);
            }
        }
        self.activate(id);
    }

    fn hasten(&mut self, id: DestinationId, now: Instant) {
        self.destination(id).hosts.iter_mut().for_each(|host| host.hasten(now));
        self.activate(id);
    }

    fn retry_one(&mut self, delivery: Delivery, now: Instant) -> Answer {
        let Some(slot) = self.index.find(delivery) else { return Answer::Unknown };
        match self.index[slot].state {
            State::Waiting => {
                self.unlist(slot);
                self.make_due(slot);
            }
            State::Fresh | State::Due | State::Alone => {}
            State::Free | State::Busy | State::Moving | State::MovingHeld | State::Held => {
                return Answer::Busy;
            }
        }
        self.hasten(delivery.destination, now);
        Answer::Done
    }

    /// A slice of the walk that is under way.
    pub(super) fn walk(&mut self) {
        let Some((slots, destination)) = self.walks.next_slice(self.index.slots()) else { return };
        for slot in slots {
            let entry = &self.index[slot];
            if entry.state == State::Waiting && destination.is_none_or(|id| id == entry.destination) {
                self.unlist(slot);
                self.make_due(slot);
            }
        }
    }
}

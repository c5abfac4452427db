//! What happens to a schedule: mail comes, connections open and end, attempts end.

use std::time::{Duration, Instant};

use super::back_off::back_off;
use super::connections::{CONNECTION_MESSAGES_MAX, CONNECTION_TURN_MESSAGES, Connection, Purpose, Use};
use super::delivery::{
    Admission, ConnectionId, Deferred, Delivery, DestinationId, Ended, Fate, Fresh, POISON_HELD, Place,
};
use super::destination::AloneConnection;
use super::index::{Entry, State};
use super::schedule::Schedule;
use super::window::{self, MOVE_PAUSE};

impl Schedule {
    /// Whether anything more may be read from the log.
    pub fn has_room(&self) -> bool {
        self.window.has_room() && self.index.count() < self.settings.deliveries_max
    }

    /// A delivery was read from the log.
    pub fn admit(&mut self, fresh: Fresh, now: Instant) -> Admission {
        let delivery = Delivery { place: Place::Log(fresh.cursor), destination: fresh.destination };
        let pages = window::pages(fresh.bytes);
        self.see_waiting(fresh.destination, now);
        let share = self.destination(fresh.destination).share;
        if self.index.count() >= self.settings.deliveries_max || !self.window.fits(share, pages) {
            self.block(now);
            return Admission::Full;
        }
        let expires = self.second_in(fresh.expires_in, now);
        let entry = Entry { pages, expires, state: State::Fresh, ..Entry::named(delivery) };
        let Some(slot) = self.index.add(entry) else { return Admission::Known };
        let destination = &mut self.destinations[usize::from(fresh.destination.0)];
        self.window.enter(&mut destination.share, pages);
        destination.fresh.push_back(&mut self.index, slot);
        self.activate(fresh.destination);
        Admission::Taken
    }

    /// Mail for this destination is known to wait in the log, further on than what was read: that of a
    /// destination which is down or slow has to make room for it.
    pub fn see_waiting(&mut self, destination: DestinationId, now: Instant) {
        if self.destination(destination).down_since().is_none() {
            self.window.see(destination, now);
        }
    }

    /// A delivery was found in `later/` at the start. False if the schedule has it, or has no slot for it.
    pub fn restore(&mut self, deferred: Deferred, now: Instant) -> bool {
        let delivery = Delivery { place: Place::Later(deferred.cursor), destination: deferred.destination };
        let entry = Entry {
            due: self.second_in(deferred.due_in, now),
            expires: self.second_in(deferred.expires_in, now),
            attempts: deferred.attempts,
            poison: deferred.poison,
            state: State::Held,
            ..Entry::named(delivery)
        };
        let Some(slot) = self.index.add(entry) else { return false };
        if deferred.is_held {
            self.destination(deferred.destination).held += 1;
        } else {
            self.list(slot, now);
        }
        true
    }

    /// A connection is open, and the last reply before MAIL came.
    pub fn connected(&mut self, id: ConnectionId, now: Instant) {
        let connection = *self.connections.find(id);
        assert!(connection.used_for == Use::Connecting, "{id:?} was open");
        let destination = self.destination(connection.destination);
        let host = &mut destination.hosts[connection.host];
        host.connecting -= 1;
        host.handle_connected(now);
        if connection.purpose == Purpose::Alone {
            destination.alone_connection = AloneConnection::Ready(id);
            self.connections.find(id).used_for = Use::Idle;
        } else {
            self.rest(id, now);
        }
        self.activate(connection.destination);
    }

    /// A connection did not get as far: it was refused or timed out, or the greeting, EHLO or STARTTLS was
    /// answered by 4yz or 5yz. It is closed.
    pub fn connect_failed(&mut self, id: ConnectionId, why: &str, now: Instant) {
        let connection = *self.connections.find(id);
        assert!(connection.used_for == Use::Connecting, "{id:?} was open");
        let destination = self.destination(connection.destination);
        destination.hosts[connection.host].connecting -= 1;
        self.fail(connection, why, now);
        self.drop_connection(id, connection);
    }

    /// A connection without a delivery is closed: as was ordered, or by the other end.
    pub fn closed(&mut self, id: ConnectionId) {
        let connection = *self.connections.find(id);
        match connection.used_for {
            Use::Closing => self.ending -= 1,
            Use::Idle => {
                let host = &mut self.destination(connection.destination).hosts[connection.host];
                host.idle.retain(|(_, idle)| *idle != id);
            }
            Use::Connecting | Use::Busy { .. } => panic!("{id:?} is {:?}", connection.used_for),
        }
        self.drop_connection(id, connection);
    }

    /// A connection takes no message after the one that it has: once that is [`finished`](Self::finished) it
    /// is to be closed, and counts until it is.
    pub fn use_up(&mut self, id: ConnectionId) {
        self.connections.find(id).is_used_up = true;
    }

    /// An attempt ended. What becomes of the delivery is for the journal.
    pub fn finished(&mut self, id: ConnectionId, ended: Ended<'_>, now: Instant) -> Fate {
        let connection = *self.connections.find(id);
        let Use::Busy { slot, is_retry } = connection.used_for else { panic!("{id:?} has no delivery") };
        let destination = self.destination(connection.destination);
        destination.busy -= 1;
        destination.busy_retries -= u32::from(is_retry);
        destination.hosts[connection.host].busy -= 1;
        match ended {
            Ended::Done | Ended::Deferred | Ended::Part => {
                destination.hosts[connection.host].handle_success();
                self.go_on(id, now);
            }
            Ended::Untouched(why) | Ended::Lost(why) => {
                // A server may close what was used before. A message that goes alone is to blame itself.
                let is_hosts = match ended {
                    Ended::Lost(_) => connection.purpose != Purpose::Alone,
                    Ended::Untouched(_) | Ended::Done | Ended::Deferred | Ended::Part => {
                        connection.messages == 0
                    }
                };
                if is_hosts {
                    self.fail(connection, why, now);
                }
                self.drop_connection(id, connection);
            }
        }
        self.activate(connection.destination);
        self.settle(slot, ended, connection.messages == 0, now)
    }

    /// A delivery was copied into `later/`, where it has this cursor. False if it was not moving, or another
    /// one has this cursor; then nothing is changed.
    pub fn moved(&mut self, delivery: Delivery, cursor: u64, now: Instant) -> bool {
        let Some((slot, is_held)) = self.find_moving(delivery) else { return false };
        if !self.index.rename(slot, cursor) {
            return false;
        }
        let pages = std::mem::take(&mut self.index[slot].pages);
        let destination = &mut self.destinations[usize::from(delivery.destination.0)];
        self.window.leave(&mut destination.share, pages);
        self.end_moving(slot, is_held, now);
        true
    }

    /// A delivery could not be copied: it stays in the log, and in the window. False if it was not moving.
    pub fn not_moved(&mut self, delivery: Delivery, now: Instant) -> bool {
        let Some((slot, is_held)) = self.find_moving(delivery) else { return false };
        self.destination(delivery.destination).move_pause = Some(now + MOVE_PAUSE);
        self.end_moving(slot, is_held, now);
        true
    }

    fn find_moving(&self, delivery: Delivery) -> Option<(u32, bool)> {
        let slot = self.index.find(delivery)?;
        let state = self.index[slot].state;
        matches!(state, State::Moving | State::MovingHeld).then_some((slot, state == State::MovingHeld))
    }

    fn end_moving(&mut self, slot: u32, is_held: bool, now: Instant) {
        let id = self.index[slot].destination;
        self.destination(id).moving -= 1;
        if is_held {
            self.index[slot].state = State::Held;
            self.destination(id).held += 1;
        } else if self.index[slot].is_untried() {
            self.put_back(slot, true);
        } else {
            self.list(slot, now);
        }
        self.activate(id);
    }

    /// What becomes of a connection after an answered message.
    fn go_on(&mut self, id: ConnectionId, now: Instant) {
        let connection = self.connections.find(id);
        connection.messages += 1;
        let (destination, purpose) = (connection.destination, connection.purpose);
        let is_full = connection.is_used_up || connection.messages >= CONNECTION_MESSAGES_MAX;
        let is_used_up = is_full || purpose == Purpose::Alone;
        let has_had_turn = connection.messages >= CONNECTION_TURN_MESSAGES;
        if purpose == Purpose::Alone {
            self.destination(destination).alone_connection = AloneConnection::None;
        }
        let gives_way = self.is_starved() && (has_had_turn || self.destination(destination).ready() == 0);
        if is_used_up || gives_way {
            self.end(id);
        } else {
            self.rest(id, now);
        }
    }

    /// What becomes of a delivery after an attempt.
    fn settle(&mut self, slot: u32, ended: Ended<'_>, was_new: bool, now: Instant) -> Fate {
        let second = self.second(now);
        let entry = &mut self.index[slot];
        match ended {
            Ended::Done => {
                self.forget(slot);
                return Fate::Over;
            }
            Ended::Untouched(_) | Ended::Part => {}
            Ended::Deferred => entry.attempts = entry.attempts.saturating_add(1),
            Ended::Lost(_) => {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.poison = entry.poison.saturating_add(1);
            }
        }
        if entry.expires <= second {
            self.forget(slot);
            return Fate::Expired;
        }
        match ended {
            // What a new connection does not take may be this one alone: others are tried before it comes
            // again.
            Ended::Untouched(_) => self.put_back(slot, !was_new),
            Ended::Part => self.put_back(slot, true),
            Ended::Done | Ended::Deferred | Ended::Lost(_) => return self.put_off(slot, now),
        }
        Fate::Again
    }

    /// One that was tried waits, or is held.
    fn put_off(&mut self, slot: u32, now: Instant) -> Fate {
        let Entry { attempts, poison, is_in_log, .. } = self.index[slot];
        if poison >= POISON_HELD {
            self.hold(slot, is_in_log);
            return Fate::Held { attempts, poison };
        }
        let due_in = back_off(attempts, &mut self.jitter);
        self.index[slot].due = self.second_in(due_in, now);
        if is_in_log {
            self.index[slot].state = State::Moving;
            let id = self.index[slot].destination;
            self.destination(id).moving += 1;
        } else {
            self.list(slot, now);
        }
        Fate::Later { due_in, attempts, poison }
    }

    /// Holds one that is in no list.
    pub(super) fn hold(&mut self, slot: u32, is_in_log: bool) {
        self.index[slot].state = if is_in_log { State::MovingHeld } else { State::Held };
        let id = self.index[slot].destination;
        let destination = self.destination(id);
        *(if is_in_log { &mut destination.moving } else { &mut destination.held }) += 1;
    }

    /// Puts one that is in no list where it waits for its time.
    pub(super) fn list(&mut self, slot: u32, now: Instant) {
        let second = self.second(now);
        let (id, due) = (self.index[slot].destination, self.index[slot].due);
        if due <= second {
            self.make_due(slot);
        } else {
            self.index[slot].state = State::Waiting;
            self.wheel.insert(&mut self.index, slot, second);
            self.destination(id).waiting += 1;
        }
    }

    /// Puts one that was not touched in front of those that wait with it, or behind them.
    fn put_back(&mut self, slot: u32, in_front: bool) {
        let entry = &self.index[slot];
        let (id, is_untried, is_alone) =
            (entry.destination, entry.is_untried(), entry.poison >= super::POISON_ALONE);
        let destination = &mut self.destinations[usize::from(id.0)];
        let (state, list) = match (is_untried, is_alone) {
            (true, _) => (State::Fresh, &mut destination.fresh),
            (false, false) => (State::Due, &mut destination.due),
            (false, true) => (State::Alone, &mut destination.alone),
        };
        if in_front {
            list.push_front(&mut self.index, slot);
        } else {
            list.push_back(&mut self.index, slot);
        }
        self.index[slot].state = state;
        self.activate(id);
    }

    /// Takes one out of the list that it is in.
    pub(super) fn unlist(&mut self, slot: u32) {
        let (id, state) = (self.index[slot].destination, self.index[slot].state);
        let destination = &mut self.destinations[usize::from(id.0)];
        match state {
            State::Fresh => destination.fresh.remove(&mut self.index, slot),
            State::Due => destination.due.remove(&mut self.index, slot),
            State::Alone => destination.alone.remove(&mut self.index, slot),
            State::Waiting => {
                destination.waiting -= 1;
                self.wheel.remove(&mut self.index, slot);
            }
            State::Free | State::Busy | State::Moving | State::MovingHeld | State::Held => {}
        }
    }

    /// The schedule has it no more; it is in no list.
    pub(super) fn forget(&mut self, slot: u32) {
        let entry = self.index[slot];
        if entry.is_in_log {
            let destination = &mut self.destinations[usize::from(entry.destination.0)];
            self.window.leave(&mut destination.share, entry.pages);
        }
        self.index.remove(slot);
    }

    fn fail(&mut self, connection: Connection, why: &str, now: Instant) {
        let is_probe = connection.purpose == Purpose::Probe && connection.used_for == Use::Connecting;
        let host = &mut self.destinations[usize::from(connection.destination.0)].hosts[connection.host];
        host.handle_failure(is_probe, why, now, &mut self.jitter);
        if let Some(at) = host.probe_at() {
            self.arm(connection.destination, connection.host, at);
        }
    }

    fn drop_connection(&mut self, id: ConnectionId, connection: Connection) {
        self.connections.remove(id);
        let destination = self.destination(connection.destination);
        destination.hosts[connection.host].open -= 1;
        if connection.purpose == Purpose::Alone {
            // One that was closed after its message has given way to the next already.
            let is_its = match destination.alone_connection {
                AloneConnection::None => false,
                AloneConnection::Taken => connection.used_for != Use::Closing,
                AloneConnection::Ready(ready) => ready == id,
            };
            if is_its {
                destination.alone_connection = AloneConnection::None;
            }
        }
        self.activate(connection.destination);
    }

    /// The second of the schedule's time after so long, in full.
    fn second_in(&self, time: Duration, now: Instant) -> u32 {
        let after = now.saturating_duration_since(self.start).saturating_add(time);
        u32::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

//! What the reader and the office say, and what the office is told.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::Engine;
use super::hand::{Arrived, Fetch, InHand, Kind, Mail, Pending, Refused, key_of, seconds};
use super::notices::Ended;
use crate::forward::keep::{self, Change, Fetched, Place, Recipients, Wait, Why};
use crate::forward::notice::WAITED_TOO_LONG;
use crate::forward::office::{Answer, CHANGES_MAX, Letter};
use crate::forward::reading::Read;
use crate::forward::schedule::{self, Admission, Deferred, Delivery, DestinationId, Fresh};
use crate::ring::Ring;
use crate::sink::Site;
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope::StoredEnvelope;
use crate::sink::spool::follow::Followed;
use crate::timestamp;

/// Messages of `later/` that are being read at a time.
const FETCHES_MAX: usize = 16;

/// With so many octets of them on connections no other one is read.
const FETCHED_BYTES_MAX: usize = 64 << 20;

/// A message that has expired and cannot be read is looked at again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// What a disk could not do is asked for again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What could not be read is read again after this time.
const READ_AGAIN_AFTER: Duration = Duration::from_mins(1);

impl<R: Ring> Engine<R> {
    /// Takes mail of the log, as far as the schedule has room.
    pub(super) fn read_on(&mut self) {
        if let Some(Refused { key, destinations }) = self.refused.take()
            && !self.admit(key, destinations)
        {
            return;
        }
        while self.has_room()
            && let Some(found) = self.ends.read.next()
        {
            self.ends.ahead.take(&found);
            match found {
                Read::Message(found) => {
                    if !self.take_mail(*found) {
                        return;
                    }
                }
                Read::Unreadable(found) => self.pass_over(found),
            }
        }
    }

    /// Whether anything more of the log is taken.
    pub(super) fn has_room(&self) -> bool {
        let is_kept = self.is_ending || self.is_paused();
        !is_kept && self.refused.is_none() && self.unsent.is_empty() && self.schedule.has_room()
    }

    /// False where there is no room for all of it.
    fn take_mail(&mut self, found: Followed) -> bool {
        let Followed { cursor, envelope, content } = found;
        let count = u32::try_from(envelope.envelope.recipients().count()).unwrap_or(u32::MAX);
        let settled = self.settled.remove(&cursor).unwrap_or_else(Recipients::none);
        self.tell(Pending { kind: Kind::Settle, change: Change::Read { at: cursor, recipients: count } });
        let parts = self.routes.parts(&envelope.envelope, |index| !settled.contains(index));
        let place = Place::Log(cursor);
        if !parts.unrouted.is_empty() {
            self.tell_unrouted(&envelope, parts.unrouted.count());
            let wait = unrouted(&envelope);
            let change = Change::Later { place, recipients: parts.unrouted, wait };
            self.tell(Pending { kind: Kind::Settle, change });
        }
        if parts.destined.is_empty() {
            return true;
        }
        let key = key_of(cursor);
        let message = Rc::new(InHand { place, envelope, content });
        let destinations = parts.destined.iter().map(|(destination, _)| *destination).collect();
        self.mail.insert(key, Mail { message, parts: parts.destined });
        self.admit(key, destinations)
    }

    /// Gives a message to the schedule, for these destinations.
    fn admit(&mut self, key: u64, mut destinations: VecDeque<DestinationId>) -> bool {
        let Some(mail) = self.mail.get(&key) else { return true };
        let age = self.wall_clock.duration_since(mail.message.envelope.received_at).unwrap_or_default();
        let (expires_in, bytes) = (self.expire.saturating_sub(age), mail.message.content.len() as u64);
        while let Some(destination) = destinations.front().copied() {
            let fresh = Fresh { cursor: key, destination, bytes, expires_in };
            if self.schedule.admit(fresh, self.now) == Admission::Full {
                self.refused = Some(Refused { key, destinations });
                return false;
            }
            destinations.pop_front();
        }
        true
    }

    /// Tells the office.
    pub(super) fn tell(&mut self, pending: Pending) {
        let number = self.number();
        self.unsent.push_back(Letter::Change(number, pending.change.clone()));
        if !matches!(pending.change, Change::Read { .. }) {
            self.pending.insert(number, pending);
        }
    }

    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A message that waits is to be read, as soon as there is room for it.
    pub(super) fn fetch(&mut self, kind: Kind, place: Place) -> u64 {
        let number = self.number();
        self.fetches.push_back(Fetch { number, kind, place });
        number
    }

    /// Has messages read. They are in memory whole, so that only so many are at a time.
    pub(super) fn fetch_on(&mut self) {
        while self.fetching.len() < FETCHES_MAX
            && !self.fetches.is_empty()
            && self.fetched_bytes() < FETCHED_BYTES_MAX
            && let Some(fetch) = self.fetches.pop_front()
        {
            self.unsent.push_back(Letter::Fetch(fetch.number, fetch.place));
            self.fetching.insert(fetch.number, fetch);
        }
    }

    /// Those of a message who have no answer yet. The office, which says who waits for it, goes by what is
    /// durable, and has been told more.
    pub(super) fn without_answered(&self, place: Place, mut recipients: Recipients) -> Recipients {
        let waiting = self.again.iter().chain(&self.unread).map(|(_, pending)| pending);
        for pending in self.pending.values().chain(waiting) {
            if pending.change.place() == place {
                recipients = recipients.without(&pending.change.settled());
            }
        }
        recipients
    }

    /// Octets of messages that were read from `later/` and are on connections.
    fn fetched_bytes(&self) -> usize {
        let all = self.connections.iter().flatten().filter_map(|one| one.current.as_ref());
        let fetched = all.filter(|current| matches!(current.message.place, Place::Later(_)));
        fetched.map(|current| current.message.content.len()).sum()
    }

    /// A message that is in `later/` from now on is delivered to this destination.
    pub(super) fn enlist(&mut self, at: Cursor, destination: &str) {
        let Some(destination) = self.routes.named(destination) else { return };
        let deferred = Deferred {
            cursor: key_of(at),
            destination,
            due_in: Duration::ZERO,
            expires_in: self.expire,
            attempts: 0,
            poison: 0,
            is_held: false,
        };
        if !self.schedule.restore(deferred, self.now) {
            let place = Place::Later(at);
            self.report.note(&format!("{place}: the schedule has no room for it until the next start"));
        }
    }

    /// Hands over what the office has room for. It is woken where it sleeps; while it gathers changes only
    /// for what somebody waits for, or when it can gather no more.
    pub(super) fn tell_office(&mut self) {
        let mut rings = false;
        while let Some(letter) = self.unsent.pop_front() {
            let is_urgent = letter.is_urgent();
            match self.ends.letters.try_send(letter) {
                Ok(must_ring) => rings |= is_urgent || must_ring.is_some(),
                Err(letter) => {
                    self.unsent.push_front(letter);
                    rings = true;
                    break;
                }
            }
        }
        if rings || self.ends.letters.len() >= CHANGES_MAX {
            self.ends.letters.ring();
        }
    }

    /// Takes what the office says.
    pub(super) fn take_answers(&mut self) {
        while let Some(answer) = self.ends.answers.next() {
            match answer {
                Answer::Kept(number, result) => self.handle_kept(number, result),
                Answer::Fetched(number, result) => {
                    self.handle_fetched(number, result.map(|fetched| *fetched));
                }
                Answer::Known(step, known) => self.handle_known(step, *known),
                Answer::Moved(moved) => self.handle_moved(moved),
            }
        }
    }

    fn handle_kept(&mut self, number: u64, result: Result<Option<Place>, keep::Refused>) {
        let Some(pending) = self.pending.remove(&number) else {
            return self.handle_suspended(number, result);
        };
        if pending.kind == Kind::Settle {
            self.is_unnoted = match &result {
                Ok(_) => false,
                // It is not asked for again, or only in a while: nothing may stay unnoted for it alone.
                Err(keep::Refused::Unknown | keep::Refused::Damaged(_) | keep::Refused::Unread(..)) => {
                    let settles = |pending: &Pending| pending.kind == Kind::Settle;
                    self.is_unnoted && (!self.again.is_empty() || self.pending.values().any(settles))
                }
                Err(keep::Refused::Disk(..)) => self.is_unnoted,
            };
        }
        match (pending.kind, result) {
            (Kind::Move(delivery), Ok(Some(Place::Later(cursor)))) => {
                if let schedule::Place::Log(key) = delivery.place {
                    self.drop_part(key, delivery.destination);
                }
                self.schedule.moved(delivery, key_of(cursor), self.now);
            }
            (Kind::Move(delivery), Ok(_)) => _ = self.schedule.not_moved(delivery, self.now),
            (Kind::Move(delivery), Err(why)) => {
                self.complain(&why);
                if matches!(why, keep::Refused::Disk(..)) {
                    self.paused_until = Some(self.now + AGAIN_AFTER);
                }
                self.schedule.not_moved(delivery, self.now);
            }
            (Kind::Settle, Err(why)) => {
                self.complain(&why);
                if let (keep::Refused::Damaged(what), Place::Log(at)) = (&why, pending.change.place()) {
                    self.list_unreadable(at, what.clone());
                }
                match pending.change {
                    Change::Noticed { changes, notice } => self.tell_apart(changes, notice, &why),
                    change => self.settle_again(Pending { kind: Kind::Settle, change }, &why),
                }
            }
            (Kind::Operation(step), kept) => self.handle_step(step, pending.change, kept),
            (Kind::Settle, Ok(Some(Place::Later(at))))
                if matches!(pending.change, Change::Noticed { .. }) =>
            {
                self.take_notice(at);
            }
            (_, Err(why)) => self.complain(&why),
            (_, Ok(_)) => {}
        }
    }

    /// What became of a message was not noted: it is told once more, if that can help.
    pub(super) fn settle_again(&mut self, pending: Pending, why: &keep::Refused) {
        match why {
            keep::Refused::Disk(..) => {
                self.is_unnoted = true;
                self.again.push_back((self.now + AGAIN_AFTER, pending));
            }
            // One record on a bad place of a disk: nothing else waits for it.
            keep::Refused::Unread(..) => self.unread.push_back((self.now + READ_AGAIN_AFTER, pending)),
            keep::Refused::Unknown | keep::Refused::Damaged(_) => {}
        }
    }

    fn complain(&self, why: &keep::Refused) {
        let kind = match why {
            keep::Refused::Disk(kind, _) | keep::Refused::Unread(kind, _) => *kind,
            keep::Refused::Unknown | keep::Refused::Damaged(_) => std::io::ErrorKind::InvalidData,
        };
        let error = std::io::Error::new(kind, why.to_string());
        self.report.machine_error("note what became of a message", Site::Named("forward"), &error);
    }

    fn handle_fetched(&mut self, number: u64, fetched: Arrived) {
        let Some(fetch) = self.fetching.remove(&number) else { return };
        let Fetch { kind, place, .. } = fetch;
        match kind {
            Kind::Fetch(slot) => self.begin_fetched(slot, (number, place), fetched),
            Kind::Expire(delivery) => match fetched {
                Ok(fetched) => self.bury_expired(delivery, place, &fetched),
                Err(why) => {
                    self.report.note(&format!("{place}: it waited too long, and cannot be read now: {why}"));
                    self.look_again(delivery);
                }
            },
            Kind::Settle | Kind::Move(_) | Kind::Operation(_) => {}
        }
    }

    /// One that has expired and cannot be given up: it comes back after a while.
    fn look_again(&mut self, delivery: Delivery) {
        let schedule::Place::Later(cursor) = delivery.place else { return };
        let destination = delivery.destination;
        let (due_in, expires_in) = (LOOK_AGAIN_AFTER, LOOK_AGAIN_AFTER);
        let (attempts, poison, is_held) = (0, 0, false);
        let again = Deferred { cursor, destination, due_in, expires_in, attempts, poison, is_held };
        self.schedule.restore(again, self.now);
    }

    fn bury_expired(&mut self, delivery: Delivery, place: Place, fetched: &Fetched) {
        let envelope = &fetched.envelope.envelope;
        let recipients = self.routes.waiting_for(delivery.destination, envelope, &fetched.waits);
        let recipients = self.without_answered(place, recipients);
        if recipients.is_empty() {
            return;
        }
        self.tell_expired(&fetched.envelope, delivery.destination, recipients.count());
        let change = Change::Dead {
            place,
            recipients,
            died_at: seconds(timestamp::seconds(self.wall_clock)),
            why: Why::Expired,
            reply: WAITED_TOO_LONG.to_owned(),
        };
        let (stored, content) = (&fetched.envelope, &*fetched.content);
        self.tell_ended(&Ended { stored, content, tried: None, accepted_by: "" }, vec![change]);
    }
}

/// What is known of those whom no route takes.
pub(super) fn unrouted(stored: &StoredEnvelope) -> Wait {
    Wait {
        received_at: seconds(timestamp::seconds(stored.received_at)),
        reply: "no route takes its domain: name it in a [[forward]], and reload".to_owned(),
        held: true,
        ..Wait::default()
    }
}

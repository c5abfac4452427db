//! Mail for maildirs and streams, which have threads of their own: a connection to one is a place in its
//! queue.

use super::Engine;
use super::connection::{Current, Failed, Use};
use super::hand::Down;
use crate::config::forward::HopPlace;
use crate::forward::keep::Why;
use crate::forward::schedule::Ended;
use crate::forward::stores::{Together, together};
use crate::mail::outcome::{Outcome, Refused, TryAgain};
use crate::metrics::Attempt;
use crate::ring::Ring;

impl<R: Ring> Engine<R> {
    /// There is nothing to connect to.
    pub(super) fn open_store(&mut self, slot: usize, place: &HopPlace) {
        if let Some(why) = self.ends.stores.why_not(place) {
            return self.fail_to_connect(slot, why);
        }
        let Some(one) = &mut self.connections[slot] else { return };
        one.is_store = true;
        one.used_for = Use::Idle;
        self.schedule.connected(one.id, self.now);
    }

    /// Hands the message of a connection over, for those who are next.
    pub(super) fn store(&mut self, slot: usize) {
        let number = self.number();
        let Some(place) = self.store_of(slot) else { return };
        let Some(current) = self.connections[slot].as_mut().and_then(|one| one.current.as_mut()) else {
            return;
        };
        take_group(current, together(&place));
        let (message, asked) = ((&current.message.envelope, &*current.message.content), &current.asked);
        let is_meant = |index| asked.contains(&index);
        match self.ends.stores.store(&place, (number, self.wall_clock), message, is_meant) {
            Ok(()) => _ = self.storing.insert(number, slot),
            Err(why) => self.fail_to_store(slot, why),
        }
    }

    fn store_of(&self, slot: usize) -> Option<HopPlace> {
        let one = self.connections[slot].as_ref()?;
        let place = &self.routes.all()[usize::from(one.destination.0)].to[one.host].place;
        matches!(place, HopPlace::Maildir(_) | HopPlace::Stream(..)).then(|| place.clone())
    }

    /// Messages are in their maildirs or streams, or could not be written.
    pub(super) fn take_receipts(&mut self) {
        while let Some(receipt) = self.ends.stores.next_receipt() {
            let Some(slot) = self.storing.remove(&receipt.message.origin.connection) else { continue };
            let place = self.store_of(slot);
            let is_stream = matches!(place, Some(HopPlace::Stream(..)));
            let has_own = place.is_some_and(|place| together(&place) != Together::All);
            let Some(one) = &mut self.connections[slot] else { continue };
            let (destination, host) = (one.destination, one.host);
            let Some(current) = &mut one.current else { continue };
            let asked = std::mem::take(&mut current.asked);
            match receipt.outcome {
                Outcome::Stored => {
                    current.sent.extend(asked);
                    current.accepted_by = receipt.message.place;
                    self.tell_up(destination, host, Down::NoSession);
                }
                Outcome::Refused(why) => {
                    let said = match why {
                        Refused::Recipient => "5.1.3 no maildir can have such a name",
                        Refused::TooLarge => "5.3.4 it is larger than the stream takes, which the log tells",
                    };
                    let failed = |index| Failed { index, why: Why::Undeliverable, said: said.to_owned() };
                    current.failed.extend(asked.into_iter().map(failed));
                }
                // That of somebody may well be broken, or full, while others are not.
                Outcome::TryAgain(why @ (TryAgain::Local | TryAgain::NoSpace)) if has_own => {
                    current.deferred.extend(asked);
                    why_not(why).clone_into(&mut current.deferred_by);
                }
                // Something is in the way of this message alone.
                Outcome::TryAgain(TryAgain::Overload) if is_stream => {
                    current.deferred.extend(asked);
                    "it cannot be published now, which the log tells".clone_into(&mut current.deferred_by);
                }
                Outcome::TryAgain(why) => {
                    current.asked = asked;
                    self.fail_to_store(slot, why_not(why));
                    continue;
                }
            }
            let is_done = |current: &Current| current.untried.is_empty();
            let one = self.connections[slot].as_ref();
            if one.and_then(|one| one.current.as_ref()).is_some_and(is_done) {
                self.conclude(slot, None);
            } else {
                self.store(slot);
            }
        }
    }

    /// The place is at fault, and not the message: it is as a next hop that is down.
    fn fail_to_store(&mut self, slot: usize, why: &str) {
        let Some(one) = &mut self.connections[slot] else { return };
        let Some(mut current) = one.current.take() else { return };
        let (id, destination, host) = (one.id, one.destination, one.host);
        current.deferred.append(&mut current.asked);
        current.deferred.append(&mut current.untried);
        why.clone_into(&mut current.deferred_by);
        self.forget(slot);
        let fate = self.schedule.finished(id, Ended::Untouched(why), self.now);
        self.count_attempt(destination, Attempt::NoSession);
        self.tell_down(destination, host, Down::NoSession, why);
        current.accepted_by.clear();
        self.settle(current, fate, None);
    }
}

/// Those who are next: of the untried, as many as go together.
fn take_group(current: &mut Current, together: Together) {
    let untried = std::mem::take(&mut current.untried);
    let recipients: Vec<_> = current.message.envelope.envelope.recipients().collect();
    let domain_of = |index: u32| recipients.get(index as usize).map(|mailbox| mailbox.domain);
    let first = untried.first().copied();
    let is_next = |index: &u32| match together {
        Together::All => true,
        Together::OfDomain => first.and_then(domain_of) == domain_of(*index),
        Together::Nobody => Some(*index) == first,
    };
    (current.asked, current.untried) = untried.into_iter().partition(is_next);
}

fn why_not(why: TryAgain) -> &'static str {
    match why {
        TryAgain::NoSpace => "there is no space, or a quota is used up",
        TryAgain::Local => "it cannot be written, which the log tells",
        TryAgain::Overload => "it cannot be opened, which the log tells",
    }
}

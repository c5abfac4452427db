//! Mail for maildirs, which threads of their own write: a connection to one is a place in its queue.

use super::Engine;
use super::connection::{Failed, Use};
use super::hand::Down;
use crate::config::forward::HopPlace;
use crate::forward::keep::Why;
use crate::forward::schedule::Ended;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::metrics::Attempt;
use crate::ring::Ring;

impl<R: Ring> Engine<R> {
    /// There is nothing to connect to.
    pub(super) fn open_maildir(&mut self, slot: usize) {
        let Some(one) = &mut self.connections[slot] else { return };
        one.is_maildir = true;
        one.used_for = Use::Idle;
        self.schedule.connected(one.id, self.now);
    }

    /// Hands the message of a connection over.
    pub(super) fn store(&mut self, slot: usize) {
        let number = self.number();
        let Some(one) = &mut self.connections[slot] else { return };
        let place = &self.routes.all()[usize::from(one.destination.0)].to[one.host].place;
        let (HopPlace::Maildir(path), Some(current)) = (place, &mut one.current) else { return };
        current.asked = std::mem::take(&mut current.untried);
        let (message, asked) = ((&current.message.envelope, &*current.message.content), &current.asked);
        match self.ends.stores.store(path, number, message, |index| asked.contains(&index)) {
            Ok(()) => _ = self.storing.insert(number, slot),
            Err(why) => self.fail_to_store(slot, why),
        }
    }

    /// Messages are in their maildirs, or could not be written.
    pub(super) fn take_receipts(&mut self) {
        while let Some(receipt) = self.ends.stores.next_receipt() {
            let Some(slot) = self.storing.remove(&receipt.message.origin.connection) else { continue };
            let Some(one) = &mut self.connections[slot] else { continue };
            let (destination, host) = (one.destination, one.host);
            let Some(current) = &mut one.current else { continue };
            let asked = std::mem::take(&mut current.asked);
            match receipt.outcome {
                Outcome::Stored => {
                    current.sent = asked;
                    current.accepted_by = receipt.message.place;
                    self.tell_up(destination, host, Down::NoSession);
                    self.conclude(slot, None);
                }
                Outcome::Refused(_) => {
                    let said = "5.1.3 no maildir can have such a name";
                    let failed = |index| Failed { index, why: Why::Undeliverable, said: said.to_owned() };
                    current.failed.extend(asked.into_iter().map(failed));
                    self.conclude(slot, None);
                }
                Outcome::TryAgain(why) => {
                    current.asked = asked;
                    let why = match why {
                        TryAgain::NoSpace => "there is no space, or a quota is used up",
                        TryAgain::Overload | TryAgain::Local => "it cannot be written, which the log tells",
                    };
                    self.fail_to_store(slot, why);
                }
            }
        }
    }

    /// The place is at fault, and not the message: it is as a next hop that is down.
    fn fail_to_store(&mut self, slot: usize, why: &str) {
        let Some(one) = &mut self.connections[slot] else { return };
        let Some(mut current) = one.current.take() else { return };
        let (id, destination, host) = (one.id, one.destination, one.host);
        current.deferred.append(&mut current.asked);
        why.clone_into(&mut current.deferred_by);
        self.forget(slot);
        let fate = self.schedule.finished(id, Ended::Untouched(why), self.now);
        self.count_attempt(destination, Attempt::NoSession);
        self.tell_down(destination, host, Down::NoSession, why);
        self.settle(current, fate, None);
    }
}

//! What became of each recipient of a message: told to the schedule, which says what comes next, and to the
//! journal.

use std::fmt::Write;

use super::Engine;
use super::connection::{Current, Failed, Use};
use super::hand::{Kind, Pending, packed, seconds};
use super::notices::{DELAYED_AT_ATTEMPT, Ended as EndedMessage, Tried};
use crate::client::{End, Phase, RecipientResult};
use crate::config::forward::Dsn;
use crate::forward::keep::{Change, Place, Recipients, Wait, Why};
use crate::forward::schedule::{self, Ended, Fate};
use crate::metrics::ForwardResult;
use crate::ring::Ring;
use crate::timestamp;

/// Different permanent answers of a message that are kept: each is an entry of the journal with a set of
/// recipients, and a next hop may say something else to each of thousands.
const GROUPS_MAX: usize = 256;

/// Octets of their entries, which are one commit where a notice tells of them: half of what a commit has room
/// for beside others.
const GROUPS_BYTES_MAX: usize = 512 * 1024;

/// Octets of an entry beside its set of recipients.
const ENTRY_BYTES_MAX: usize = 256;

impl<R: Ring> Engine<R> {
    /// A transaction is over: takes down what was said of each of its recipients.
    pub(super) fn note_results(&mut self, slot: usize) {
        // The log and notices name the reply of those who have it, and nobody else does.
        let names_acceptance = self.tells_messages || self.notices.dsn != Dsn::Off;
        let Some(one) = &mut self.connections[slot] else { return };
        one.outflow = None;
        let Some(current) = &mut one.current else { return };
        let asked = std::mem::take(&mut current.asked);
        for (index, result) in asked.into_iter().zip(one.client.results()) {
            match result {
                RecipientResult::Accepted(reply) => {
                    current.sent.push(index);
                    if names_acceptance && current.accepted_by.is_empty() {
                        current.accepted_by = reply.to_string();
                    }
                }
                RecipientResult::Permanent(reply) => {
                    current.failed.push(Failed { index, why: Why::Refused, said: reply.to_string() });
                }
                RecipientResult::Temporary(reply) => {
                    current.deferred.push(index);
                    // Its room is used again for the next one.
                    current.deferred_by.clear();
                    let _ = write!(current.deferred_by, "{reply}");
                }
                RecipientResult::Untried => current.untried.push(index),
                // Nothing is only asked of it here.
                RecipientResult::Lost | RecipientResult::Unknown | RecipientResult::Welcome => {
                    current.lost.push(index);
                }
            }
        }
        if let Some(why) = current.unsendable.take() {
            let lost = std::mem::take(&mut current.lost);
            let failed = |index| Failed { index, why: Why::Undeliverable, said: format!("5.6.1 {why}") };
            current.failed.extend(lost.into_iter().map(failed));
        }
    }

    /// An attempt is over: with its connection, if that has ended.
    pub(super) fn conclude(&mut self, slot: usize, end: Option<End>) {
        let tried = self.tried(slot);
        let Some(one) = &mut self.connections[slot] else { return };
        let Some(mut current) = one.current.take() else { return };
        let id = one.id;
        let (host, is_store) = ((one.destination, one.host), one.is_store);
        let exchanger = one.exchanger.as_ref().map(|exchanger| exchanger.address);
        one.used_for = Use::Idle;
        // A server may close what was used before, and nobody has to tell of it in time.
        let was_used = one.was_used;
        let is_unheard = was_used && one.client.replies() == current.replies_before;
        one.was_used = true;
        let is_untouched = current.transactions == 0 || is_unheard || end.is_some_and(is_before_mail);
        let why = match end {
            Some(end) => end.to_string(),
            None => String::new(),
        };
        let has_nothing = current.sent.is_empty() && current.failed.is_empty();
        let ended = if !current.lost.is_empty() {
            if is_untouched && has_nothing { Ended::Untouched(&why) } else { Ended::Lost(&why) }
        } else if is_untouched && end.is_some() && has_nothing {
            // 421 to MAIL: it was said to the session.
            Ended::Untouched(&why)
        } else if !current.deferred.is_empty() {
            Ended::Deferred
        } else if current.untried.is_empty() {
            Ended::Done
        } else if has_nothing {
            Ended::Deferred
        } else {
            Ended::Part
        };
        let is_open_for_others = !one.is_spent && !one.client.is_for_one_client();
        if end.is_some() {
            self.forget(slot);
        } else if !is_open_for_others {
            self.schedule.use_up(id);
        }
        let has_untried_only = ended == Ended::Part;
        let fate = self.schedule.finished(id, ended, self.now);
        self.count_ended(&current, ended);
        self.tell_host(host, ended);
        self.note_exchanger(exchanger, ended, was_used);
        if end.is_some() && matches!(ended, Ended::Done | Ended::Deferred | Ended::Part) {
            self.schedule.closed(id);
        }
        if !why.is_empty() && current.deferred_by.is_empty() {
            current.deferred_by = why;
        }
        // Where others wait, those who were not tried wait with them.
        if !has_untried_only {
            current.deferred.append(&mut current.untried);
        }
        self.tell_delivered(&current, fate);
        // Where a message lies here is nobody's business elsewhere.
        if is_store {
            current.accepted_by.clear();
        }
        current.deferred.append(&mut current.untried);
        self.settle(current, fate, tried.as_ref());
    }

    /// Tells the journal.
    pub(super) fn settle(&mut self, mut current: Current, fate: Fate, tried: Option<&Tried>) {
        let place = current.message.place;
        let delivery = current.delivery;
        let sent: Recipients = current.sent.iter().copied().collect();
        let mut changes = Vec::new();
        if !sent.is_empty() {
            changes.push(Change::Sent { place, recipients: sent });
        }
        let failed = std::mem::take(&mut current.failed);
        for (recipients, why, reply) in grouped(&failed) {
            changes.push(self.dead(place, recipients, why, reply));
        }
        let remaining: Recipients = current.deferred.iter().chain(&current.lost).copied().collect();
        let is_in_log = match delivery.place {
            schedule::Place::Log(key) => Some(key),
            schedule::Place::Later(_) => None,
        };
        let (due_in, tries, held) = match fate {
            Fate::Over | Fate::Expired => {
                if let Some(key) = is_in_log {
                    self.drop_part(key, delivery.destination);
                }
                if fate == Fate::Expired && !remaining.is_empty() {
                    let stored = &current.message.envelope;
                    self.tell_expired(stored, delivery.destination, remaining.count());
                    let reply = std::mem::take(&mut current.deferred_by);
                    changes.push(self.dead(place, remaining, Why::Expired, reply));
                }
                return self.tell_of(&current, tried, changes);
            }
            // Of the others nothing has to be written.
            Fate::Again => {
                if let Some(key) = is_in_log {
                    self.keep_part(key, delivery.destination, remaining);
                }
                return self.tell_of(&current, tried, changes);
            }
            Fate::Later { due_in, attempts, poison } => (due_in, packed(attempts, poison), false),
            Fate::Held { attempts, poison } => (std::time::Duration::ZERO, packed(attempts, poison), true),
        };
        let result = if held { ForwardResult::Held } else { ForwardResult::Deferred };
        self.count(delivery.destination, result, remaining.count() as usize);
        if let Some(key) = is_in_log {
            self.keep_part(key, delivery.destination, remaining.clone());
        }
        let now = timestamp::seconds(self.wall_clock);
        let wait = Wait {
            destination: self.routes.name(delivery.destination).to_owned(),
            attempts: tries,
            next_at: seconds(now.saturating_add(due_in.as_secs())),
            received_at: seconds(timestamp::seconds(current.message.envelope.received_at)),
            reply: std::mem::take(&mut current.deferred_by),
            held,
        };
        let later = Change::Later { place, recipients: remaining, wait };
        if is_in_log.is_none() && matches!(fate, Fate::Later { attempts: DELAYED_AT_ATTEMPT, .. }) {
            changes.push(later);
            return self.tell_of(&current, tried, changes);
        }
        self.tell_of(&current, tried, changes);
        let kind = if is_in_log.is_some() { Kind::Move(delivery) } else { Kind::Settle };
        self.tell(Pending { kind, change: later });
    }

    fn tell_of(&mut self, current: &Current, tried: Option<&Tried>, changes: Vec<Change>) {
        let (stored, content) = (&current.message.envelope, &*current.message.content);
        self.tell_ended(&EndedMessage { stored, content, tried, accepted_by: &current.accepted_by }, changes);
    }

    /// They do not get it.
    fn dead(&self, place: Place, recipients: Recipients, why: Why, reply: String) -> Change {
        let died_at = seconds(timestamp::seconds(self.wall_clock));
        Change::Dead { place, recipients, died_at, why, reply }
    }

    /// Who of a destination of a message in the window is left.
    fn keep_part(&mut self, key: u64, destination: schedule::DestinationId, left: Recipients) {
        let Some(mail) = self.mail.get_mut(&key) else { return };
        if let Some((_, recipients)) = mail.parts.iter_mut().find(|(one, _)| *one == destination) {
            *recipients = left;
        }
    }
}

/// Whether the session ended before anything was said of the message.
fn is_before_mail(end: End) -> bool {
    match end {
        End::Closing(phase) | End::Lost(_, phase) | End::Refused(phase) | End::Violation(_, phase) => {
            matches!(phase, Phase::Ready | Phase::Reset | Phase::Xclient)
                || matches!(end, End::Closing(Phase::Mail))
        }
        End::Quit | End::TlsNotOffered | End::OurName => true,
    }
}

/// Those who were told the same. From [`GROUPS_MAX`] on, or fewer where sets of recipients are large, others
/// are with the last ones.
fn grouped(failed: &[Failed]) -> Vec<(Recipients, Why, String)> {
    let mut groups: Vec<(Vec<u32>, Why, &str)> = Vec::new();
    let last = failed.iter().map(|failed| failed.index as usize).max().unwrap_or_default();
    let groups_max = (GROUPS_BYTES_MAX / (last / 8 + ENTRY_BYTES_MAX)).clamp(1, GROUPS_MAX);
    for Failed { index, why, said } in failed {
        let is_full = groups.len() >= groups_max;
        // From the end: the last ones are those that all others join.
        match groups.iter_mut().rev().find(|(_, of, reply)| of == why && (is_full || reply == said)) {
            Some((indices, ..)) => indices.push(*index),
            None => groups.push((vec![*index], *why, said)),
        }
    }
    groups
        .into_iter()
        .map(|(indices, why, said)| (indices.into_iter().collect(), why, said.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_the_same_is_told_of_together() {
        let failed_of = |index, said: &str| Failed { index, why: Why::Refused, said: said.to_owned() };
        let failed = [failed_of(3, "550 no"), failed_of(70, "551 no"), failed_of(1, "550 no")];
        let groups: Vec<(Vec<u32>, String)> =
            grouped(&failed).into_iter().map(|(who, _, said)| (who.iter().collect(), said)).collect();
        assert_eq!(groups, [(vec![1, 3], "550 no".to_owned()), (vec![70], "551 no".to_owned())]);
        let failed: Vec<Failed> =
            (0..1000).map(|index| failed_of(index, &format!("550 no {index}"))).collect();
        let groups = grouped(&failed);
        assert_eq!(groups.len(), GROUPS_MAX);
        assert_eq!(groups.iter().map(|(who, ..)| who.count()).sum::<u32>(), 1000);
    }
}

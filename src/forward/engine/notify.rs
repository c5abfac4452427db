//! Who is told what became of a message. A notice becomes durable together with what it tells of, then it is
//! mail that waits as any other (`docs/forward.md`).

use std::sync::Arc;

use super::Engine;
use super::hand::{Kind, Pending, seconds};
use super::notices::{Ended, Tried};
use crate::config::forward::{Dsn, HopPlace, HopProtocol};
use crate::forward::keep::{Change, NOTICES, Notice, Recipients, Wait, Why};
use crate::forward::notice::{About, Action, Recipient, Room, is_owed, may_have, report};
use crate::log::events;
use crate::mail::envelope::{BodyType, Envelope, Mailbox};

use crate::ring::Ring;
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope::encode_own;
use crate::timestamp;

impl<R: Ring> Engine<R> {
    /// The session of a slot, for notices of what was tried in it.
    pub(super) fn tried(&self, slot: usize) -> Option<Tried> {
        let one = self.connections[slot].as_ref()?;
        let offers_dsn = one.client.offers().dsn;
        Some(Tried { destination: one.destination, host: one.host, offers_dsn })
    }

    /// Tells the office what became of recipients of a message: together with a notice, where the sender is
    /// to be told of it.
    pub(super) fn tell_ended(&mut self, ended: &Ended<'_>, mut changes: Vec<Change>) {
        let dsn = self.notices.dsn;
        let mut owed = if dsn == Dsn::Off { Vec::new() } else { self.owed(ended, &changes) };
        let envelope = &ended.stored.envelope;
        if !owed.is_empty() && may_have(dsn, envelope, &ended.stored.authentication) {
            while !owed.is_empty() && self.has_room_for_notice(envelope) {
                let (notice, told) = self.notice(ended, &changes, &owed);
                let of: Recipients = owed.drain(..told).map(|(index, _)| index).collect();
                let (with, rest) = parted(changes, &of);
                changes = rest;
                // Those that wait went with the first notice of them, which has room for no more.
                owed.retain(|(index, _)| {
                    let is_about =
                        |change| recipients_of(change).is_some_and(|recipients| recipients.contains(*index));
                    changes.iter().any(is_about)
                });
                let change = Change::Noticed { changes: with, notice: Arc::new(notice) };
                self.tell(Pending { kind: Kind::Settle, change });
            }
        }
        for change in changes {
            self.tell(Pending { kind: Kind::Settle, change });
        }
    }

    /// Those that the sender wants to hear of, and what became of them.
    fn owed(&self, ended: &Ended<'_>, changes: &[Change]) -> Vec<(u32, Action)> {
        let parameters: Vec<_> =
            ended.stored.envelope.recipients_with_parameters().map(|(_, parameters)| parameters).collect();
        let mut owed = Vec::new();
        for change in changes {
            let (Some(action), Some(recipients)) = (self.action(ended, change), recipients_of(change)) else {
                continue;
            };
            let is_told = |index: &u32| {
                parameters.get(*index as usize).is_some_and(|parameters| is_owed(action, parameters.notify))
            };
            owed.extend(recipients.iter().filter(is_told).map(|index| (index, action)));
        }
        owed
    }

    /// What is told of a change. Nothing where the next hop tells it (RFC 3461 §5.2.1).
    fn action(&self, ended: &Ended<'_>, change: &Change) -> Option<Action> {
        match change {
            Change::Sent { .. } => {
                let tried = ended.tried.filter(|tried| !tried.offers_dsn)?;
                let hop = &self.routes.all()[usize::from(tried.destination.0)].to[tried.host];
                Some(match hop.protocol {
                    HopProtocol::Lmtp => Action::Delivered,
                    HopProtocol::Smtp => Action::Relayed,
                })
            }
            Change::Dead { .. } => Some(Action::Failed),
            Change::Later { .. } => Some(Action::Delayed),
            Change::Read { .. }
            | Change::Hold { .. }
            | Change::Release { .. }
            | Change::Remove { .. }
            | Change::Noticed { .. } => None,
        }
    }

    /// Whether a notice may go to the sender now. The first one that may not is told.
    fn has_room_for_notice(&mut self, envelope: &Envelope) -> bool {
        let domain = Mailbox::of_whole(envelope.reverse_path()).domain;
        match self.notices.bounds.take(domain, self.now) {
            Room::Yes => true,
            Room::FirstWithheld => {
                let record = self.log.record(&events::NOTICES_WITHHELD, self.wall_clock);
                record.number("notices", 1).end();
                false
            }
            Room::No => false,
        }
    }

    /// The notice for as many of these as it has room for, and how many these are.
    fn notice(&mut self, ended: &Ended<'_>, changes: &[Change], owed: &[(u32, Action)]) -> (Notice, usize) {
        let Ended { stored, content, tried, accepted_by } = *ended;
        let all: Vec<_> = stored.envelope.recipients_with_parameters().collect();
        let remote = tried.and_then(|tried| {
            match &self.routes.all()[usize::from(tried.destination.0)].to[tried.host].place {
                HopPlace::Host(name, _) => Some(name.as_str()),
                HopPlace::Unix(_) => None,
            }
        });
        let recipients: Vec<Recipient<'_>> = owed
            .iter()
            .filter_map(|(index, action)| {
                let (mailbox, parameters) = all.get(*index as usize)?;
                let change = changes.iter().find(|change| {
                    recipients_of(change).is_some_and(|recipients| recipients.contains(*index))
                })?;
                let (said, is_expired) = match change {
                    Change::Dead { why, reply, .. } => (reply.as_str(), *why == Why::Expired),
                    Change::Later { wait, .. } => (wait.reply.as_str(), false),
                    Change::Sent { .. }
                    | Change::Read { .. }
                    | Change::Hold { .. }
                    | Change::Release { .. }
                    | Change::Remove { .. }
                    | Change::Noticed { .. } => (accepted_by, false),
                };
                let (mailbox, orcpt, action) = (mailbox.whole, parameters.orcpt, *action);
                Some(Recipient { mailbox, orcpt, action, is_expired, said, remote })
            })
            .collect();
        let now = self.wall_clock;
        let id = self.notices.ids.next(timestamp::seconds(now));
        let about = About {
            hostname: &self.notices.hostname,
            id,
            at: now,
            message_id: stored.id,
            received_at: stored.received_at,
            retried_until: stored.received_at.checked_add(self.expire).unwrap_or(now),
            envelope: &stored.envelope,
            content,
        };
        let made = report(&about, &recipients);
        let mut envelope = Envelope::default();
        envelope.push_whole_recipient(stored.envelope.reverse_path());
        envelope.smtputf8 = made.is_utf8;
        if made.is_utf8 {
            envelope.body = BodyType::EightBitMime;
        }
        let mut octets = Vec::new();
        encode_own(id, now, &envelope, &mut octets);
        let record = self.log.record(&events::NOTIFIED, now).plain("id", stored.id).plain("notice", id);
        record.number("recipients", made.told as u64).end();
        let moment = seconds(timestamp::seconds(now));
        let wait =
            Wait { destination: NOTICES.to_owned(), next_at: moment, received_at: moment, ..Wait::default() };
        (Notice { envelope: octets, content: made.content, wait }, made.told.max(1))
    }

    /// A notice is durable, and is to be delivered.
    pub(super) fn take_notice(&mut self, at: Cursor) {
        self.enlist(at, NOTICES);
    }

    /// Tells how many notices were withheld, when an hour is over or the engine ends.
    pub(super) fn tell_withheld(&mut self) {
        let is_over = self.is_ending;
        if let Some(count) = self.notices.bounds.turn_hour(self.now, is_over) {
            let record = self.log.record(&events::NOTICES_WITHHELD, self.wall_clock);
            record.number("notices", count).end();
        }
    }
}

/// Who a change is about, of those that notices tell of.
fn recipients_of(change: &Change) -> Option<&Recipients> {
    match change {
        Change::Sent { recipients, .. }
        | Change::Dead { recipients, .. }
        | Change::Later { recipients, .. } => Some(recipients),
        Change::Read { .. }
        | Change::Hold { .. }
        | Change::Release { .. }
        | Change::Remove { .. }
        | Change::Noticed { .. } => None,
    }
}

/// Changes as far as they are about these recipients, and the rest of them. Those that wait are not parted:
/// they go on together.
fn parted(changes: Vec<Change>, of: &Recipients) -> (Vec<Change>, Vec<Change>) {
    let (mut with, mut rest) = (Vec::new(), Vec::new());
    for change in changes {
        let Some(recipients) = recipients_of(&change).cloned() else {
            rest.push(change);
            continue;
        };
        let (ours, others) = (recipients.both(of), recipients.without(of));
        if ours.is_empty() {
            rest.push(change);
        } else if others.is_empty() || matches!(change, Change::Later { .. }) {
            with.push(change);
        } else {
            with.push(with_recipients(change.clone(), ours));
            rest.push(with_recipients(change, others));
        }
    }
    (with, rest)
}

fn with_recipients(mut change: Change, of: Recipients) -> Change {
    if let Change::Sent { recipients, .. }
    | Change::Dead { recipients, .. }
    | Change::Later { recipients, .. } = &mut change
    {
        *recipients = of;
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::keep::Place;

    #[test]
    fn changes_are_parted_by_recipients() {
        let place = Place::Later(Cursor { sequence: 1, offset: 4096 });
        let of = |indices: &[u32]| indices.iter().copied().collect::<Recipients>();
        let sent = |indices: &[u32]| Change::Sent { place, recipients: of(indices) };
        let dead = |indices: &[u32]| {
            let reply = "550 no".to_owned();
            Change::Dead { place, recipients: of(indices), died_at: 7, why: Why::Refused, reply }
        };
        let later = Change::Later { place, recipients: of(&[8, 9]), wait: Wait::default() };
        let changes = vec![sent(&[0, 1]), dead(&[2, 3]), dead(&[4]), dead(&[5]), later.clone()];
        let (with, rest) = parted(changes, &of(&[1, 3, 4, 8]));
        assert_eq!(with, [sent(&[1]), dead(&[3]), dead(&[4]), later]);
        assert_eq!(rest, [sent(&[0]), dead(&[2]), dead(&[5])]);
    }
}

//! Who is told what became of a message. A notice becomes durable together with what it tells of, then it is
//! mail that waits as any other (`docs/forward.md`).

use std::sync::Arc;

use super::Engine;
use super::hand::{Kind, Pending, seconds};
use super::notices::{Ended, Tried};
use crate::config::forward::{Dsn, HopPlace, HopProtocol};
use crate::forward::keep::{Change, NOTICES, Notice, Place, Recipients, Refused, Wait, Why};
use crate::forward::notice::{About, Action, Recipient, Room, is_owed, may_have, report};
use crate::forward::routes::Routes;
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
        let exchanger = one.exchanger.as_ref().map(|exchanger| Arc::clone(&exchanger.name));
        Some(Tried { destination: one.destination, host: one.host, exchanger, offers_dsn })
    }

    /// Tells the office what became of recipients of a message: together with a notice, where the sender is
    /// to be told of it.
    pub(super) fn tell_ended(&mut self, ended: &Ended<'_>, mut changes: Vec<Change>) {
        let all = if self.may_be_owed(ended, &changes) { changes.clone() } else { Vec::new() };
        let routes = Arc::clone(&self.routes);
        let (indices, recipients) = self.owed(ended, &all, &routes);
        let mut told = 0;
        while told < indices.len() && self.has_room_for_notice(&ended.stored.envelope, &recipients[told..]) {
            let (notice, count) = self.notice(ended, &recipients[told..]);
            let of: Recipients = indices[told..].iter().take(count).copied().collect();
            told += count;
            let (with, rest) = parted(changes, &of);
            changes = rest;
            let change = Change::Noticed { changes: with, notice: Arc::new(notice) };
            self.tell(Pending { kind: Kind::Settle, change });
        }
        for change in changes {
            self.tell(Pending { kind: Kind::Settle, change });
        }
    }

    /// Whether anything of these has to be looked at: of most messages nobody wants to hear that they
    /// arrived.
    fn may_be_owed(&self, ended: &Ended<'_>, changes: &[Change]) -> bool {
        let envelope = &ended.stored.envelope;
        if self.notices.dsn == Dsn::Off || envelope.reverse_path().is_empty() {
            return false;
        }
        let is_sent = |change: &Change| matches!(change, Change::Sent { .. });
        let mut recipients = envelope.recipients_with_parameters();
        !changes.iter().all(is_sent)
            || recipients.any(|(_, parameters)| is_owed(Action::Relayed, parameters.notify))
    }

    /// Those that the sender wants to hear of and may, with their indices, and what became of them; who
    /// failed comes first.
    fn owed<'a>(
        &self,
        ended: &Ended<'a>,
        changes: &'a [Change],
        routes: &'a Routes,
    ) -> (Vec<u32>, Vec<Recipient<'a>>) {
        let Ended { stored, tried, accepted_by, .. } = *ended;
        let (dsn, envelope) = (self.notices.dsn, &stored.envelope);
        let mut owed: Vec<(u32, Recipient<'_>)> = Vec::new();
        if changes.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let all: Vec<_> = envelope.recipients_with_parameters().collect();
        let remote = tried.and_then(|tried| {
            match &routes.all()[usize::from(tried.destination.0)].to[tried.host].place {
                HopPlace::Host(name, _) => Some(name.as_str()),
                HopPlace::Unix(_) | HopPlace::Maildir(_) | HopPlace::Stream(..) => None,
                HopPlace::Mx(..) => tried.exchanger.as_deref(),
            }
        });
        for change in changes {
            let Some(action) = self.action(ended, change) else { continue };
            let (recipients, said, is_expired) = match change {
                Change::Dead { recipients, why, reply, .. } => {
                    (recipients, reply.as_str(), *why == Why::Expired)
                }
                Change::Later { recipients, wait, .. } => (recipients, wait.reply.as_str(), false),
                Change::Sent { recipients, .. } => (recipients, accepted_by, false),
                Change::Read { .. }
                | Change::Hold { .. }
                | Change::Release { .. }
                | Change::Remove { .. }
                | Change::Noticed { .. } => continue,
            };
            for index in recipients.iter() {
                let Some((mailbox, parameters)) = all.get(index as usize) else { continue };
                if is_owed(action, parameters.notify) {
                    let (mailbox, orcpt, is_tried) = (mailbox.whole, parameters.orcpt, tried.is_some());
                    let recipient = Recipient { mailbox, orcpt, action, is_expired, is_tried, said, remote };
                    owed.push((index, recipient));
                }
            }
        }
        if !owed.is_empty() && !may_have(dsn, envelope, &stored.authentication) {
            return (Vec::new(), Vec::new());
        }
        owed.sort_by_key(|(_, recipient)| recipient.action != Action::Failed);
        owed.into_iter().unzip()
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

    /// Whether a notice of these may go to the sender now. The first one that may not is told.
    fn has_room_for_notice(&mut self, envelope: &Envelope, of: &[Recipient<'_>]) -> bool {
        let domain = Mailbox::of_whole(envelope.reverse_path()).domain;
        // They come first.
        let is_failure = of.first().is_some_and(|recipient| recipient.action == Action::Failed);
        match self.notices.bounds.take(domain, is_failure, self.now) {
            Room::Yes => true,
            Room::FirstWithheld => {
                let record = self.log.record(&events::NOTICES_WITHHELD, self.wall_clock);
                record.number("notices", 1).end();
                false
            }
            Room::No => false,
        }
    }

    /// The notice for as many of these as it has room for, and how many these are: one at least.
    fn notice(&mut self, ended: &Ended<'_>, recipients: &[Recipient<'_>]) -> (Notice, usize) {
        let Ended { stored, content, .. } = *ended;
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
        let made = report(&about, recipients);
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

    /// What happened with a notice is not durable: what does not need the notice goes without it.
    pub(super) fn tell_apart(&mut self, changes: Vec<Change>, notice: Arc<Notice>, why: &Refused) {
        let (alone, with) = apart(changes, why);
        for change in alone {
            self.tell(Pending { kind: Kind::Settle, change });
        }
        let Some(changes) = with else {
            return self.report.note(&format!("a notice to a sender is not made: {why}"));
        };
        let pending = Pending { kind: Kind::Settle, change: Change::Noticed { changes, notice } };
        self.settle_again(pending, why);
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

/// Those that are told alone now that they were refused with a notice, and those that go with it once more;
/// none if it is given up.
///
/// What was refused for good is true of one of them perhaps, and nobody knows of which. A disk that has no
/// room for a notice may well note what went out, which else would go out twice.
fn apart(changes: Vec<Change>, why: &Refused) -> (Vec<Change>, Option<Vec<Change>>) {
    match why {
        Refused::Unknown | Refused::Damaged(_) => (changes, None),
        Refused::Disk(..) | Refused::Unread(..) => {
            let needs_no_copy = |change: &Change| {
                matches!(change, Change::Sent { .. } | Change::Later { place: Place::Later(_), .. })
            };
            let (alone, with) = changes.into_iter().partition(needs_no_copy);
            (alone, Some(with))
        }
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

    #[test]
    fn what_was_refused_with_a_notice_is_told_without_it() {
        let at = Cursor { sequence: 1, offset: 4096 };
        let of = |index: u32| Recipients::first(index + 1).without(&Recipients::first(index));
        let later = |place| Change::Later { place, recipients: of(2), wait: Wait::default() };
        let sent = Change::Sent { place: Place::Log(at), recipients: of(0) };
        let reply = "550 no".to_owned();
        let (place, why) = (Place::Log(at), Why::Refused);
        let dead = Change::Dead { place, recipients: of(1), died_at: 7, why, reply };
        let (waits, copied) = (later(Place::Later(at)), later(Place::Log(at)));
        let changes = vec![sent.clone(), dead.clone(), waits.clone(), copied.clone()];
        let full = Refused::Disk(std::io::ErrorKind::StorageFull, "full".to_owned());
        assert_eq!(apart(changes.clone(), &full), (vec![sent, waits], Some(vec![dead, copied])));
        assert_eq!(apart(changes.clone(), &Refused::Unknown), (changes, None));
    }
}

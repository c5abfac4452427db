//! A shard's way to ask the store about a recipient before the 250 to RCPT.
//!
//! A thread of its own looks, because a disk may be slow or hang. Mailboxes that were found ready lately are
//! not asked about again, so the usual RCPT is answered in its turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::Key;
use crate::handoff::channel::{MustRing, Sender};
use crate::handoff::mailbox::{Inquiry, MailboxAnswer, MailboxPath, Standing};
use crate::handoff::message::Origin;
use crate::limits::{INQUIRIES_AWAY_MAX, MAILBOXES_READY_MAX};
use crate::mail::envelope::Mailbox;
use crate::sink::mailbox::Naming;
use crate::smtp::policy::{Policy, Verdict};

/// A mailbox is asked about again after this time, so that one that was removed is noticed.
const READY_AGE_MAX: Duration = Duration::from_secs(10);

/// Who knows whether the store has a place for a recipient.
#[derive(Clone)]
pub enum Lookup {
    /// Nobody needs to be asked: all recipients have one place.
    Everybody,
    /// A thread, about the places that the sink names.
    Keeper(Arc<dyn Naming>, Sender<Inquiry>),
}

/// One shard's questions.
pub struct Mailboxes {
    lookup: Lookup,
    shard: u16,
    /// Places found ready, and when. `ready.len() <= MAILBOXES_READY_MAX`
    ready: HashMap<Box<str>, Instant>,
    /// Places asked about that were not answered yet. `<= INQUIRIES_AWAY_MAX`
    away: usize,
}

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Answered {
    /// It is answered already.
    Now(Verdict),
    /// Its answer will come; somebody may have to be rung.
    Later(MustRing),
}

impl Mailboxes {
    /// Those of this shard, looked up so.
    pub fn new(shard: u16, lookup: Lookup) -> Self {
        Self { lookup, shard, ready: HashMap::new(), away: 0 }
    }

    /// Asks whether the store has a place for this recipient, or for all that it stands for. `number`: which
    /// of the connection's questions it is; `by_domain`: a map has only its domain; `policy`: that of its
    /// session.
    pub(super) fn ask(
        &mut self,
        connection: u64,
        number: u32,
        recipient: Mailbox<'_>,
        by_domain: bool,
        policy: &dyn Policy,
        now: Instant,
    ) -> Answered {
        let Lookup::Keeper(naming, to_keeper) = &self.lookup else {
            return Answered::Now(Verdict::Accept);
        };
        let is_fresh = |since: &Instant| now.saturating_duration_since(*since) <= READY_AGE_MAX;
        let Places { mut places, of_alias } = match places_of(&**naming, recipient, by_domain, policy) {
            Ok(places) => places,
            Err(verdict) => return Answered::Now(verdict),
        };
        places.retain(|place| !self.ready.get(&place.name).is_some_and(is_fresh));
        if places.is_empty() {
            return Answered::Now(Verdict::Accept);
        }
        let count = places.len();
        let origin = Origin { shard: self.shard, connection };
        let inquiry = Inquiry { origin, number, places, of_alias };
        if self.away + count > INQUIRIES_AWAY_MAX {
            return Answered::Now(Verdict::TryAgain);
        }
        match to_keeper.try_send(inquiry) {
            Ok(must_ring) => {
                self.away += count;
                Answered::Later(must_ring)
            }
            Err(_) => Answered::Now(Verdict::TryAgain),
        }
    }

    /// An answer came: to which connection, to which of its questions, and what the recipient is told.
    pub(super) fn handle_found(&mut self, found: MailboxAnswer, now: Instant) -> (Key, u32, Verdict) {
        let MailboxAnswer { inquiry, standing } = found;
        assert!(self.away >= inquiry.places.len(), "one answer a question");
        self.away -= inquiry.places.len();
        if standing == Standing::Ready {
            if self.ready.len() + inquiry.places.len() > MAILBOXES_READY_MAX {
                self.ready.clear();
            }
            self.ready.extend(inquiry.places.into_iter().map(|place| (place.name, now)));
        }
        let verdict = verdict_of(standing, inquiry.of_alias);
        (Key::from_word(inquiry.origin.connection), inquiry.number, verdict)
    }

    /// Mail could not be stored: what was found ready before is believed no more.
    pub(super) fn doubt(&mut self) {
        self.ready.clear();
    }
}

/// The places of a recipient in the store.
#[derive(Debug)]
pub struct Places {
    /// One, or those of an alias.
    pub places: Vec<MailboxPath>,
    /// Whether they are those of an alias.
    pub of_alias: bool,
}

/// Names the places of a recipient, or of all that it stands for. `by_domain`: a map has only its domain.
///
/// # Errors
/// What it is told, because there can be no such place.
pub fn places_of(
    naming: &dyn Naming,
    recipient: Mailbox<'_>,
    by_domain: bool,
    policy: &dyn Policy,
) -> Result<Places, Verdict> {
    let (aliased, own) = match policy.aliased(recipient) {
        Some(targets) => (Some(targets), None),
        None => (None, Some(recipient)),
    };
    let of_alias = aliased.is_some();
    let is_named = |mailbox: Mailbox<'_>| {
        if by_domain { policy.is_named_without_map(mailbox) } else { policy.is_named(mailbox) }
    };
    let all = aliased.into_iter().flatten().chain(own);
    let places: Option<Vec<_>> = all.map(|mailbox| naming.place(mailbox, &is_named)).collect();
    let places = places.ok_or(if of_alias { Verdict::TryAgain } else { Verdict::Unstorable })?;
    Ok(Places { places, of_alias })
}

/// What a recipient is told whose mailbox was found so, or of an alias the worst of them.
pub fn verdict_of(standing: Standing, of_alias: bool) -> Verdict {
    match standing {
        Standing::Ready => Verdict::Accept,
        // Its operator names somebody who is not there: others need not lose their mail over that.
        Standing::Unknown if of_alias => Verdict::TryAgain,
        Standing::Unknown => Verdict::UnknownRecipient,
        Standing::Full => Verdict::MailboxFull,
        Standing::Trouble => Verdict::TryAgain,
    }
}

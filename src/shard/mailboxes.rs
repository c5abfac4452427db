//! A shard's way to ask the store about a recipient before the 250 to RCPT.
//!
//! A thread of its own looks, because a disk may be slow or hang. Mailboxes that were found ready lately are not asked about
//! again, so the usual RCPT is answered in its turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::connection::Connection;
use super::context::Context;
use super::table::Key;
use crate::handoff::channel::MustRing;
use crate::handoff::mailbox::{Found, Inquiry, Standing, ToKeeper};
use crate::handoff::message::Origin;
use crate::limits::{INQUIRIES_AWAY_MAX, MAILBOXES_READY_MAX};
use crate::mail::envelope::Mailbox;
use crate::ring::Ring;
use crate::sink::mailbox::Naming;
use crate::smtp::policy::Verdict;
use crate::smtp::question::{Asked, Recipient};

/// A mailbox is asked about again after this time, so that one that was removed is noticed.
const READY_AGE_MAX: Duration = Duration::from_secs(10);

/// Who knows whether the store has a place for a recipient.
pub enum Route {
    /// Nobody needs to be asked: all recipients have one place.
    Everybody,
    /// A thread, about the places that the sink names.
    Keeper(Arc<dyn Naming>, ToKeeper, Receiver<Found>),
}

/// One shard's questions.
pub struct Mailboxes {
    route: Route,
    shard: u16,
    /// Places found ready, and when. `ready.len() <= MAILBOXES_READY_MAX`
    ready: HashMap<Box<str>, Instant>,
    /// Questions that were not answered yet. `<= INQUIRIES_AWAY_MAX`
    away: usize,
}

/// What becomes of a question.
#[derive(Debug)]
enum Answered {
    /// It is answered already.
    Now(Verdict),
    /// Its answer will come; somebody may have to be rung.
    Later(MustRing),
}

impl Mailboxes {
    /// Those of this shard, on this route.
    pub fn new(shard: u16, route: Route) -> Self {
        Self { route, shard, ready: HashMap::new(), away: 0 }
    }

    fn ask(&mut self, connection: u64, number: u32, recipient: Mailbox<'_>, now: Instant) -> Answered {
        let Route::Keeper(naming, to_keeper, _) = &self.route else {
            return Answered::Now(Verdict::Accept);
        };
        let Some(place) = naming.place(recipient) else { return Answered::Now(Verdict::Unstorable) };
        let is_fresh = |since: &Instant| now.saturating_duration_since(*since) <= READY_AGE_MAX;
        if self.ready.get(&place.name).is_some_and(is_fresh) {
            return Answered::Now(Verdict::Accept);
        }
        let origin = Origin { shard: self.shard, connection };
        let inquiry = Inquiry { origin, number, place };
        if self.away == INQUIRIES_AWAY_MAX {
            return Answered::Now(Verdict::TryAgain);
        }
        match to_keeper.try_send(inquiry) {
            Ok(must_ring) => {
                self.away += 1;
                Answered::Later(must_ring)
            }
            Err(_) => Answered::Now(Verdict::TryAgain),
        }
    }

    /// The next answer that came.
    pub(super) fn next_found(&mut self, now: Instant) -> Option<(Key, u32, Verdict)> {
        let Route::Keeper(_, _, found) = &self.route else { return None };
        let Found { inquiry, standing } = found.try_recv().ok()?;
        assert!(self.away > 0, "one answer a question");
        self.away -= 1;
        if standing == Standing::Ready {
            if self.ready.len() >= MAILBOXES_READY_MAX {
                self.ready.clear();
            }
            self.ready.insert(inquiry.place.name, now);
        }
        Some((Key::from_word(inquiry.origin.connection), inquiry.number, verdict_of(standing)))
    }

    /// Mail could not be stored: what was found ready before is believed no more.
    pub(super) fn doubt(&mut self) {
        self.ready.clear();
    }

    /// Whether an answer is there already, so that the shard must not sleep. Looked at behind the parked bell.
    pub(super) fn is_home(&self) -> bool {
        matches!(&self.route, Route::Keeper(_, _, found) if !found.is_empty())
    }
}

/// What a recipient is told whose mailbox was found so.
pub fn verdict_of(standing: Standing) -> Verdict {
    match standing {
        Standing::Ready => Verdict::Accept,
        Standing::Unknown => Verdict::UnknownRecipient,
        Standing::Full => Verdict::MailboxFull,
        Standing::Trouble => Verdict::TryAgain,
    }
}

impl Connection {
    /// Asks whether the store has a place for the recipient that the session proposes.
    pub(super) fn ask_about_recipient<R: Ring>(&mut self, asked: Asked<Recipient>, context: &mut Context<R>) {
        let (connection, number) = (self.key.word(), asked.number());
        let answered = match self.session.proposed_recipient() {
            Some(recipient) => context.mailboxes.ask(connection, number, recipient, context.now),
            None => Answered::Now(Verdict::TryAgain),
        };
        match answered {
            Answered::Now(verdict) => self.resolve(asked, verdict, context),
            Answered::Later(must_ring) => context.ring_if(must_ring),
        }
    }

    /// The store's answer came. It tells nothing when it is to a question that timed out.
    pub(super) fn handle_found<R: Ring>(&mut self, number: u32, verdict: Verdict, context: &mut Context<R>) {
        let asked = self.session.asked::<Recipient>().filter(|asked| asked.number() == number);
        if let Some(asked) = asked {
            self.resolve(asked, verdict, context);
            self.advance(context);
        }
    }
}

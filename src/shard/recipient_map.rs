//! A shard's way to ask a map of recipients that another program serves.
//!
//! Threads of their own ask it, because it may be slow, or gone. What it said is remembered for a while, so
//! the usual RCPT is answered in its turn.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::mailboxes::Answered;
use super::table::Key;
use crate::handoff::channel::Sender;
use crate::handoff::message::Origin;
use crate::handoff::recipient_map::{Found, MapAnswer, MapInquiry};
use crate::limits::{MAP_INQUIRIES_AWAY_MAX, MAP_LISTED_MAX, MAP_UNLISTED_MAX};
use crate::mail::envelope::Mailbox;
use crate::smtp::policy::{Policy, Verdict};

/// A recipient of whom the map said yes is not asked about again for this time.
const LISTED_AGE_MAX: Duration = Duration::from_hours(1);

/// The same for no: somebody new gets mail after it at the latest.
const UNLISTED_AGE_MAX: Duration = Duration::from_mins(5);

/// One shard's questions to the map.
#[derive(Default)]
pub struct RecipientMap {
    shard: u16,
    /// To the threads that ask, each in turn; none where there is no map.
    to_threads: Vec<Sender<MapInquiry>>,
    next_thread: usize,
    /// `len <= MAP_LISTED_MAX`
    listed: HashMap<Box<[u8]>, Instant>,
    /// `len <= MAP_UNLISTED_MAX`: who tries many names drives out no names of others.
    unlisted: HashMap<Box<[u8]>, Instant>,
    /// Questions that were not answered yet. `<= MAP_INQUIRIES_AWAY_MAX`
    away: usize,
}

impl RecipientMap {
    /// That of this shard, which asks these threads.
    pub fn new(shard: u16, to_threads: Vec<Sender<MapInquiry>>) -> Self {
        Self { shard, to_threads, ..Self::default() }
    }

    /// Asks whether the map has a recipient, where the policy of the session says that it is to be asked.
    pub(super) fn ask(
        &mut self,
        connection: u64,
        number: u32,
        recipient: Mailbox<'_>,
        policy: &dyn Policy,
        now: Instant,
    ) -> Answered {
        let mut known = None;
        let mut is_first = true;
        let is_asked = policy.map_keys(recipient, &mut |key| {
            // What was said of a recipient stands by its whole name.
            if std::mem::take(&mut is_first) {
                known = self.known(key, now);
            }
        });
        match known {
            _ if !is_asked => return Answered::Now(Verdict::Accept),
            Some(verdict) => return Answered::Now(verdict),
            None if self.away >= MAP_INQUIRIES_AWAY_MAX => return Answered::Now(Verdict::TryAgain),
            None => {}
        }
        let mut keys = Vec::new();
        policy.map_keys(recipient, &mut |key| keys.push(key.into()));
        self.next_thread = self.next_thread.wrapping_add(1);
        let count = self.to_threads.len().max(1);
        let Some(to_thread) = self.to_threads.get(self.next_thread % count) else {
            return Answered::Now(Verdict::TryAgain);
        };
        let origin = Origin { shard: self.shard, connection };
        match to_thread.try_send(MapInquiry { origin, number, keys, asked_at: now }) {
            Ok(must_ring) => {
                self.away += 1;
                Answered::Later(must_ring)
            }
            Err(_) => Answered::Now(Verdict::TryAgain),
        }
    }

    /// An answer came: to which connection, to which of its questions, and what the map says.
    pub(super) fn handle_answer(&mut self, answer: MapAnswer, now: Instant) -> (Key, u32, Verdict) {
        let MapAnswer { inquiry, found } = answer;
        assert!(self.away > 0, "one answer a question");
        self.away -= 1;
        let whole = inquiry.keys.into_iter().next();
        let verdict = match found {
            Found::Listed => {
                remember(&mut self.listed, MAP_LISTED_MAX, whole, now);
                Verdict::Accept
            }
            Found::Unlisted => {
                remember(&mut self.unlisted, MAP_UNLISTED_MAX, whole, now);
                Verdict::UnknownRecipient
            }
            Found::Unknown => Verdict::TryAgain,
        };
        (Key::from_word(inquiry.origin.connection), inquiry.number, verdict)
    }

    fn known(&self, key: &[u8], now: Instant) -> Option<Verdict> {
        let is_fresh = |since: Option<&Instant>, age_max| {
            since.is_some_and(|since| now.saturating_duration_since(*since) <= age_max)
        };
        if is_fresh(self.listed.get(key), LISTED_AGE_MAX) {
            return Some(Verdict::Accept);
        }
        is_fresh(self.unlisted.get(key), UNLISTED_AGE_MAX).then_some(Verdict::UnknownRecipient)
    }
}

fn remember(known: &mut HashMap<Box<[u8]>, Instant>, count_max: usize, key: Option<Box<[u8]>>, now: Instant) {
    let Some(key) = key else { return };
    if known.len() >= count_max {
        known.clear();
    }
    known.insert(key, now);
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::channel::{Consumer, Receiver};

    /// Whose recipients a map knows.
    struct Mapped;

    impl Policy for Mapped {
        fn recipient(&self, _mailbox: Mailbox<'_>) -> Verdict {
            Verdict::Accept
        }

        fn postmaster(&self) -> (&[u8], &[u8]) {
            (b"postmaster", b"x.test")
        }

        fn map_keys(&self, mailbox: Mailbox<'_>, each: &mut dyn FnMut(&[u8])) -> bool {
            each(mailbox.whole);
            each(b"@x.test");
            mailbox.local_part != b"postmaster"
        }
    }

    fn map() -> (RecipientMap, Receiver<MapInquiry>) {
        let (to_thread, inquiries) = Consumer::new().expect("a bell").channel(MAP_INQUIRIES_AWAY_MAX);
        (RecipientMap::new(0, vec![to_thread]), inquiries)
    }

    /// What is known at once of a recipient; none when the map was asked.
    fn ask(map: &mut RecipientMap, whole: &str, now: Instant) -> Option<Verdict> {
        match map.ask(7, 1, Mailbox::of_whole(whole.as_bytes()), &Mapped, now) {
            Answered::Now(verdict) => Some(verdict),
            Answered::Later(_) => None,
        }
    }

    fn answer(
        map: &mut RecipientMap,
        inquiries: &Receiver<MapInquiry>,
        found: Found,
        now: Instant,
    ) -> Verdict {
        let inquiry = inquiries.next().expect("a question");
        assert_eq!((inquiry.number, inquiry.keys.len()), (1, 2));
        map.handle_answer(MapAnswer { inquiry, found }, now).2
    }

    #[test]
    fn yes_holds_for_an_hour_no_for_five_minutes_and_trouble_not_at_all() {
        let start = Instant::now();
        let (mut map, inquiries) = map();
        for (name, found, verdict, age_max) in [
            ("a@x.test", Found::Listed, Verdict::Accept, Some(LISTED_AGE_MAX)),
            ("b@x.test", Found::Unlisted, Verdict::UnknownRecipient, Some(UNLISTED_AGE_MAX)),
            ("c@x.test", Found::Unknown, Verdict::TryAgain, None),
        ] {
            assert_eq!(ask(&mut map, name, start), None);
            assert_eq!(answer(&mut map, &inquiries, found, start), verdict);
            let until = age_max.map(|age| (age, age + Duration::from_secs(1)));
            assert_eq!(ask(&mut map, name, start + until.unwrap_or_default().0), age_max.map(|_| verdict));
            if let Some((_, after)) = until {
                assert_eq!(ask(&mut map, name, start + after), None, "it is asked again");
            }
            answer(&mut map, &inquiries, Found::Unknown, start);
        }
        assert_eq!(ask(&mut map, "postmaster@x.test", start), Some(Verdict::Accept));
    }

    #[test]
    fn questions_and_what_is_remembered_are_bounded() {
        let now = Instant::now();
        let (mut map, inquiries) = map();
        for number in 0..MAP_INQUIRIES_AWAY_MAX {
            assert_eq!(ask(&mut map, &format!("{number}@x.test"), now), None);
        }
        assert_eq!(ask(&mut map, "one more@x.test", now), Some(Verdict::TryAgain));
        for _ in 0..MAP_INQUIRIES_AWAY_MAX {
            answer(&mut map, &inquiries, Found::Listed, now);
        }
        // Who tries many names drives out nobody whom the map has.
        for number in 0..MAP_UNLISTED_MAX + 10 {
            assert_eq!(ask(&mut map, &format!("no{number}@x.test"), now), None);
            answer(&mut map, &inquiries, Found::Unlisted, now);
        }
        assert!(map.unlisted.len() <= MAP_UNLISTED_MAX);
        assert_eq!(ask(&mut map, "0@x.test", now), Some(Verdict::Accept));
        assert_eq!(
            ask(&mut RecipientMap::default(), "0@x.test", now),
            Some(Verdict::TryAgain),
            "nobody asks"
        );
    }
}

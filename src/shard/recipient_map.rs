//! A shard's way to ask somebody else about recipients: a map that another program serves, or next hops.
//!
//! Threads of their own ask it, because it may be slow, or gone. What it said is remembered for a while, so
//! the usual RCPT is answered in its turn.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::Key;
use crate::handoff::channel::{MustRing, Sender};
use crate::handoff::message::Origin;
use crate::handoff::recipient_map::{Found, MapAnswer, MapInquiry};
use crate::limits::{MAP_INQUIRIES_AWAY_MAX, MAP_LATE_MAX, MAP_LISTED_MAX, MAP_UNLISTED_MAX, MAP_WAIT_MAX};
use crate::mail::envelope::Mailbox;
use crate::smtp::policy::{Policy, Verdict};

/// A recipient of whom the map said yes is not asked about again for this time.
const LISTED_AGE_MAX: Duration = Duration::from_hours(1);

/// The same for no: somebody new gets mail after it at the latest.
const UNLISTED_AGE_MAX: Duration = Duration::from_mins(5);

/// The same for a question that had no answer in time: a client that tries again at once holds no thread up.
const LATE_AGE_MAX: Duration = Duration::from_secs(3);

/// What is known of a recipient whom the policy accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapped {
    /// The map has it, or is not to be asked.
    Taken,
    /// The map has its domain only.
    ByDomain,
    /// It is refused so.
    Refused(Verdict),
}

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is answered already.
    Now(Mapped),
    /// Its answer will come; somebody may have to be rung.
    Later(MustRing),
}

/// The ways to the threads that ask; none where nobody is asked.
#[derive(Debug, Clone, Default)]
pub struct ToThreads {
    /// One a thread, those of a group side by side.
    pub senders: Vec<Sender<MapInquiry>>,
    /// Who of them asks about whom.
    pub groups: Groups,
    /// Each spelling of a recipient is another one for those who are asked, as for next hops.
    pub is_asked_as_it_came: bool,
}

/// Gives the group that asks about the recipients of a domain, which is in lower case as A-labels.
pub type GroupOf = dyn Fn(&[u8]) -> usize + Send + Sync;

/// Groups of threads, as many in each. What those who are asked by one do to it is no trouble of another.
#[derive(Clone)]
pub struct Groups {
    /// How many there are, at least one.
    pub count: usize,
    /// Which one asks about whom; less than `count`.
    pub of_domain: Arc<GroupOf>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { count: 1, of_domain: Arc::new(|_| 0) }
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("count", &self.count).finish_non_exhaustive()
    }
}

/// A thread that asks.
struct Thread {
    sender: Sender<MapInquiry>,
    /// Questions of this shard that it has not answered yet.
    away: usize,
}

/// One shard's questions to the map.
#[derive(Default)]
pub struct RecipientMap {
    shard: u16,
    /// Next hops are asked: what they say is about this spelling alone.
    is_asked_as_it_came: bool,
    /// None where there is no map.
    threads: Vec<Thread>,
    groups: Groups,
    /// `len <= MAP_LISTED_MAX`
    listed: HashMap<Box<[u8]>, (Mapped, Instant)>,
    /// `len <= MAP_UNLISTED_MAX`: who tries many names drives out no names of others.
    unlisted: HashMap<Box<[u8]>, (Mapped, Instant)>,
    /// `len <= MAP_LATE_MAX`
    late: HashMap<Box<[u8]>, (Mapped, Instant)>,
    /// Questions that were not answered yet. `<= MAP_INQUIRIES_AWAY_MAX`
    away: usize,
}

const TRY_AGAIN: Mapped = Mapped::Refused(Verdict::TryAgain);

impl RecipientMap {
    /// That of this shard, which asks these threads.
    pub fn new(shard: u16, to: ToThreads) -> Self {
        let ToThreads { senders, groups, is_asked_as_it_came } = to;
        let threads = senders.into_iter().map(|sender| Thread { sender, away: 0 }).collect();
        Self { shard, is_asked_as_it_came, threads, groups, ..Self::default() }
    }

    /// Asks whether the map has a recipient, where the policy of the session says that it is to be asked.
    pub(super) fn ask(
        &mut self,
        connection: u64,
        number: u32,
        recipient: Mailbox<'_>,
        policy: &dyn Policy,
        now: Instant,
    ) -> Asked {
        let mut known = None;
        let mut is_first = true;
        let is_asked = policy.map_keys(recipient, &mut |key| {
            // What was said of a recipient stands by its whole name.
            if std::mem::take(&mut is_first) {
                known = self.known(if self.is_asked_as_it_came { recipient.whole } else { key }, now);
            }
        });
        match known {
            _ if !is_asked => return Asked::Now(Mapped::Taken),
            Some(mapped) => return Asked::Now(mapped),
            None => {}
        }
        let each = self.threads.len() / self.groups.count;
        let group = (self.groups.of_domain)(recipient.domain);
        let threads = self.threads.iter_mut().enumerate().skip(group * each).take(each);
        let away: usize = threads.map(|(_, thread)| thread.away).sum();
        if away >= MAP_INQUIRIES_AWAY_MAX / self.groups.count {
            return Asked::Now(TRY_AGAIN);
        }
        let mut keys = Vec::new();
        policy.map_keys(recipient, &mut |key| keys.push(key.into()));
        // What a thread has taken is in no queue, and may take it five seconds.
        let waiting = |thread: &Thread| thread.away + thread.sender.len();
        let threads = self.threads.iter_mut().enumerate().skip(group * each).take(each);
        let shortest = threads.min_by_key(|(_, thread)| waiting(thread));
        let Some((number_of_thread, thread)) = shortest else { return Asked::Now(TRY_AGAIN) };
        let origin = Origin { shard: self.shard, connection };
        let whole = recipient.whole.into();
        let inquiry =
            MapInquiry { origin, number, thread: number_of_thread, recipient: whole, keys, asked_at: now };
        match thread.sender.try_send(inquiry) {
            Ok(must_ring) => {
                thread.away += 1;
                self.away += 1;
                Asked::Later(must_ring)
            }
            Err(_) => Asked::Now(TRY_AGAIN),
        }
    }

    /// An answer came: to which connection, to which of its questions, and what the map says.
    pub(super) fn handle_answer(&mut self, answer: MapAnswer, now: Instant) -> (Key, u32, Mapped) {
        let MapAnswer { inquiry, found } = answer;
        assert!(self.away > 0, "one answer a question");
        self.away -= 1;
        if let Some(thread) = self.threads.get_mut(inquiry.thread) {
            thread.away -= 1;
        }
        let is_late = now.saturating_duration_since(inquiry.asked_at) >= MAP_WAIT_MAX;
        let (mapped, remembered) = match found {
            Found::Listed => (Mapped::Taken, Some((&mut self.listed, MAP_LISTED_MAX))),
            Found::ByDomain => (Mapped::ByDomain, Some((&mut self.listed, MAP_LISTED_MAX))),
            Found::Unlisted => {
                let refused = Mapped::Refused(Verdict::UnknownRecipient);
                (refused, Some((&mut self.unlisted, MAP_UNLISTED_MAX)))
            }
            Found::Unknown => (TRY_AGAIN, is_late.then_some((&mut self.late, MAP_LATE_MAX))),
            // Nobody has named it.
            Found::Supposed => (Mapped::ByDomain, is_late.then_some((&mut self.late, MAP_LATE_MAX))),
        };
        let of_map = inquiry.keys.into_iter().next();
        let whole = if self.is_asked_as_it_came { Some(inquiry.recipient) } else { of_map };
        if let Some(((known, count_max), whole)) = remembered.zip(whole) {
            if known.len() >= count_max {
                known.clear();
            }
            known.insert(whole, (mapped, now));
        }
        (Key::from_word(inquiry.origin.connection), inquiry.number, mapped)
    }

    fn known(&self, key: &[u8], now: Instant) -> Option<Mapped> {
        let tables =
            [(&self.listed, LISTED_AGE_MAX), (&self.unlisted, UNLISTED_AGE_MAX), (&self.late, LATE_AGE_MAX)];
        tables.into_iter().find_map(|(known, age_max)| {
            let (mapped, since) = known.get(key)?;
            (now.saturating_duration_since(*since) <= age_max).then_some(*mapped)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::channel::{Consumer, Receiver};

    const UNKNOWN: Mapped = Mapped::Refused(Verdict::UnknownRecipient);

    /// Whose recipients a map knows.
    struct ByMap;

    impl Policy for ByMap {
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

    fn to(senders: Vec<Sender<MapInquiry>>) -> ToThreads {
        ToThreads { senders, groups: Groups::default(), is_asked_as_it_came: false }
    }

    fn map() -> (RecipientMap, Receiver<MapInquiry>) {
        let (to_thread, inquiries) = Consumer::new().expect("a bell").channel(MAP_INQUIRIES_AWAY_MAX);
        (RecipientMap::new(0, to(vec![to_thread])), inquiries)
    }

    /// What is known at once of a recipient; none when the map was asked.
    fn ask(map: &mut RecipientMap, whole: &str, now: Instant) -> Option<Mapped> {
        match map.ask(7, 1, Mailbox::of_whole(whole.as_bytes()), &ByMap, now) {
            Asked::Now(mapped) => Some(mapped),
            Asked::Later(_) => None,
        }
    }

    fn answer(
        map: &mut RecipientMap,
        inquiries: &Receiver<MapInquiry>,
        found: Found,
        now: Instant,
    ) -> Mapped {
        let inquiry = inquiries.next().expect("a question");
        assert_eq!((inquiry.number, inquiry.keys.len()), (1, 2));
        map.handle_answer(MapAnswer { inquiry, found }, now).2
    }

    #[test]
    fn yes_holds_for_an_hour_no_for_five_minutes_and_trouble_not_at_all() {
        let start = Instant::now();
        let (mut map, inquiries) = map();
        for (name, found, verdict, age_max) in [
            ("a@x.test", Found::Listed, Mapped::Taken, Some(LISTED_AGE_MAX)),
            ("d@x.test", Found::ByDomain, Mapped::ByDomain, Some(LISTED_AGE_MAX)),
            ("b@x.test", Found::Unlisted, UNKNOWN, Some(UNLISTED_AGE_MAX)),
            ("c@x.test", Found::Unknown, TRY_AGAIN, None),
            ("e@x.test", Found::Supposed, Mapped::ByDomain, None),
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
        assert_eq!(ask(&mut map, "postmaster@x.test", start), Some(Mapped::Taken));
    }

    #[test]
    fn what_a_next_hop_says_is_about_one_spelling() {
        let (now, (mut map, inquiries)) = (Instant::now(), map());
        map.is_asked_as_it_came = true;
        assert_eq!(ask(&mut map, "ANNA@x.test", now), None);
        assert_eq!(answer(&mut map, &inquiries, Found::Unlisted, now), UNKNOWN);
        assert_eq!(ask(&mut map, "ANNA@x.test", now), Some(UNKNOWN));
        assert_eq!(ask(&mut map, "anna@x.test", now), None, "it may be somebody else");
    }

    #[test]
    fn a_question_that_had_no_answer_in_time_is_not_asked_again_at_once() {
        let start = Instant::now();
        let (mut map, inquiries) = map();
        let late = start + MAP_WAIT_MAX;
        for number in 0..MAP_LATE_MAX + 10 {
            let name = format!("{number}@x.test");
            assert_eq!(ask(&mut map, &name, start), None);
            assert_eq!(answer(&mut map, &inquiries, Found::Unknown, late), TRY_AGAIN);
            assert_eq!(ask(&mut map, &name, late + LATE_AGE_MAX), Some(TRY_AGAIN));
        }
        assert!(map.late.len() <= MAP_LATE_MAX);
        let after = late + LATE_AGE_MAX + Duration::from_secs(1);
        assert_eq!(ask(&mut map, &format!("{MAP_LATE_MAX}@x.test"), after), None, "it is asked again");
    }

    #[test]
    fn a_thread_that_waits_gets_no_more_while_others_are_free() {
        let consumer = || Consumer::new().expect("a bell").channel(MAP_INQUIRIES_AWAY_MAX);
        let (senders, inquiries): (Vec<_>, Vec<_>) = [consumer(), consumer()].into_iter().unzip();
        let (mut map, now) = (RecipientMap::new(0, to(senders)), Instant::now());
        assert_eq!(ask(&mut map, "a@x.test", now), None);
        let waits = inquiries[0].next().expect("the first one is asked");
        for number in 0..5 {
            assert_eq!(ask(&mut map, &format!("{number}@x.test"), now), None);
            answer(&mut map, &inquiries[1], Found::Listed, now);
        }
        map.handle_answer(MapAnswer { inquiry: waits, found: Found::Listed }, now);
        assert_eq!(ask(&mut map, "b@x.test", now), None);
        answer(&mut map, &inquiries[0], Found::Listed, now);
    }

    #[test]
    fn what_one_group_waits_for_keeps_no_other_waiting() {
        let consumer = || Consumer::new().expect("a bell").channel(MAP_INQUIRIES_AWAY_MAX);
        let (senders, inquiries): (Vec<_>, Vec<_>) = (0..4).map(|_| consumer()).unzip();
        let of_domain = Arc::new(|domain: &[u8]| usize::from(domain == b"y.test"));
        let groups = Groups { count: 2, of_domain };
        let now = Instant::now();
        let mut map = RecipientMap::new(0, ToThreads { senders, groups, is_asked_as_it_came: false });
        let count_max = MAP_INQUIRIES_AWAY_MAX / 2;
        for number in 0..count_max {
            assert_eq!(ask(&mut map, &format!("{number}@x.test"), now), None);
        }
        assert_eq!(ask(&mut map, "more@x.test", now), Some(TRY_AGAIN));
        assert_eq!(ask(&mut map, "a@y.test", now), None);
        let waiting = inquiries.iter().map(|thread| std::iter::from_fn(|| thread.next()).count());
        assert_eq!(waiting.collect::<Vec<_>>(), [count_max / 2, count_max / 2, 1, 0]);
    }

    #[test]
    fn questions_and_what_is_remembered_are_bounded() {
        let now = Instant::now();
        let (mut map, inquiries) = map();
        for number in 0..MAP_INQUIRIES_AWAY_MAX {
            assert_eq!(ask(&mut map, &format!("{number}@x.test"), now), None);
        }
        assert_eq!(ask(&mut map, "one more@x.test", now), Some(TRY_AGAIN));
        for _ in 0..MAP_INQUIRIES_AWAY_MAX {
            answer(&mut map, &inquiries, Found::Listed, now);
        }
        // Who tries many names drives out nobody whom the map has.
        for number in 0..MAP_UNLISTED_MAX + 10 {
            assert_eq!(ask(&mut map, &format!("no{number}@x.test"), now), None);
            answer(&mut map, &inquiries, Found::Unlisted, now);
        }
        assert!(map.unlisted.len() <= MAP_UNLISTED_MAX);
        assert_eq!(ask(&mut map, "0@x.test", now), Some(Mapped::Taken));
        assert_eq!(ask(&mut RecipientMap::default(), "0@x.test", now), Some(TRY_AGAIN), "nobody asks");
    }
}

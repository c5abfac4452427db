//! A list in the DNS with what is known of it: whether it works. It is asked for its test entries when it is
//! used first and once an hour (RFC 5782 §5), by whoever needs it then; one that fails is not used until its
//! test entries are right.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::dns::{Answer, Asking, Failure};
use crate::front::dnsbl::{List, ListFault, Listing};

/// A list that works is examined again after this.
const EXAMINED_EVERY: Duration = Duration::from_hours(1);

/// A list that does not is examined again after this.
const OFF_FOR: Duration = Duration::from_mins(1);

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The list's public name.
    pub list: Box<str>,
    /// What is wrong with it; none where it works again.
    pub fault: Option<ListFault>,
}

/// A list, and what is known of it. All shards share it.
#[derive(Debug)]
pub(super) struct WatchedList {
    list: List,
    /// The place of the text that is told to who is listed.
    words: usize,
    made: Instant,
    /// `seconds after made that this holds until | state`, changed whole.
    standing: AtomicU64,
}

/// How a list was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not yet.
    Unknown = 0,
    /// It works.
    On = 1,
    /// It does not.
    Off = 2,
}

const STATE_BITS: u32 = 2;

impl WatchedList {
    pub(super) fn new(list: List, words: usize, made: Instant) -> Self {
        Self { list, words, made, standing: AtomicU64::new(0) }
    }

    pub(super) fn list(&self) -> &List {
        &self.list
    }

    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Whether it was found not to work.
    pub(super) fn is_off(&self) -> bool {
        self.standing().0 == State::Off
    }

    /// Whether it lists this client; none as long as an answer is missing.
    pub(super) fn look(
        &self,
        client: IpAddr,
        asking: &mut Asking<'_>,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<bool> {
        // Both are asked at once.
        let usable = self.is_usable(asking, now, news);
        if usable == Some(false) {
            return Some(false);
        }
        let listing = self.list.look(client, asking);
        usable?;
        Some(match listing? {
            Listing::Listed => true,
            Listing::NotListed | Listing::Failed(_) => false,
            Listing::Broken(answer) => {
                self.note(Err(ListFault::Odd(answer)), now, news);
                false
            }
        })
    }

    /// Whether it is to be used; none as long as an answer about its test entries is missing.
    pub(super) fn is_usable(
        &self,
        asking: &mut Asking<'_>,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<bool> {
        let (state, until) = self.standing();
        match state {
            State::On if now < until => return Some(true),
            State::Off if now < until => return Some(false),
            State::On | State::Off | State::Unknown => {}
        }
        // A zone whose entries have no names lists nobody.
        let Some([listed, unlisted]) = self.list.test_questions() else { return Some(false) };
        let (listed, unlisted) = (asking.ask(&listed), asking.ask(&unlisted));
        let (listed, unlisted) = (listed?, unlisted?);
        let is_overload = |answer: &Answer| *answer == Answer::Failed(Failure::Overload);
        if is_overload(&listed) || is_overload(&unlisted) {
            // It was not asked.
            return Some(false);
        }
        let examined = List::examine(&listed, &unlisted);
        self.note(examined, now, news);
        Some(examined.is_ok())
    }

    fn standing(&self) -> (State, Instant) {
        let word = self.standing.load(Ordering::Relaxed);
        let state = match word & ((1 << STATE_BITS) - 1) {
            1 => State::On,
            2 => State::Off,
            _ => State::Unknown,
        };
        (state, self.made + Duration::from_secs(word >> STATE_BITS))
    }

    /// How it was found. Whoever finds it changed tells of it, once.
    fn note(&self, found: Result<(), ListFault>, now: Instant, news: &mut Vec<News>) {
        let (state, time) = match found {
            Ok(()) => (State::On, EXAMINED_EVERY),
            Err(_) => (State::Off, OFF_FOR),
        };
        let until = now.saturating_duration_since(self.made) + time;
        let word = until.as_secs() << STATE_BITS | state as u64;
        let before = self.standing.swap(word, Ordering::Relaxed) & ((1 << STATE_BITS) - 1);
        let is_new = before != state as u64 && !(before == State::Unknown as u64 && state == State::On);
        if is_new {
            news.push(News { list: self.list.name.clone(), fault: found.err() });
        }
    }
}

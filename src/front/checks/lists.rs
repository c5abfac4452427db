//! A list in the DNS with what is known of it: whether it works. It is asked for its test entries when it is
//! used first and once an hour (RFC 5782 §5), by whoever needs it then; one that fails is not used until its
//! test entries are right.
//!
//! The test entries may be right and what is said of clients is not, as where only those have a quota. Such a
//! list is left alone for longer each time, and the log says that it works again only when it said something
//! of a client that it may say.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::dns::{Answer, Asking, Failure};
use crate::front::dnsbl::{List, ListFault, Listing};

/// A list that works is examined again after this.
const EXAMINED_EVERY: Duration = Duration::from_hours(1);

/// A list that does not is examined again after this, and after twice as long each time that it is wrong
/// about a client, up to `EXAMINED_EVERY`.
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
    /// A [`Standing`] as one word, changed whole.
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

/// What is known of a list.
#[derive(Debug, Clone, Copy)]
struct Standing {
    state: State,
    /// The log says that it does not work.
    is_told: bool,
    /// How often it was wrong about a client, in a row but for less than an hour. `<= STRIKES_MAX`
    strikes: u8,
    /// Seconds after `made` that this holds until.
    until: u64,
}

const STRIKES_MAX: u8 = 7;

impl Standing {
    fn from_word(word: u64) -> Self {
        let state = match word & 3 {
            1 => State::On,
            2 => State::Off,
            _ => State::Unknown,
        };
        let strikes = u8::try_from(word >> 3 & 7).unwrap_or_default();
        Self { state, is_told: word & 4 != 0, strikes, until: word >> 6 }
    }

    fn word(self) -> u64 {
        self.until << 6 | u64::from(self.strikes) << 3 | u64::from(self.is_told) << 2 | self.state as u64
    }
}

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

    /// Whether it was found not to work, as the log says.
    pub(super) fn is_off(&self) -> bool {
        self.standing().is_told
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
        let is_listed = match listing? {
            Listing::Listed => true,
            Listing::NotListed => false,
            Listing::Failed(_) => return Some(false),
            Listing::Broken(answer) => {
                self.note_wrong(ListFault::Odd(answer), now, news);
                return Some(false);
            }
        };
        self.note_right(news);
        Some(is_listed)
    }

    /// Whether it is to be used; none as long as an answer about its test entries is missing.
    pub(super) fn is_usable(
        &self,
        asking: &mut Asking<'_>,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<bool> {
        let Standing { state, until, .. } = self.standing();
        match state {
            State::On if self.seconds(now) < until => return Some(true),
            State::Off if self.seconds(now) < until => return Some(false),
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
        self.note_examined(examined, now, news);
        Some(examined.is_ok())
    }

    /// Its test entries were found so.
    fn note_examined(&self, found: Result<(), ListFault>, now: Instant, news: &mut Vec<News>) {
        let now = self.seconds(now);
        let change = |before: Standing| match found {
            Ok(()) => {
                let strikes = if before.state == State::On { 0 } else { before.strikes };
                Standing { state: State::On, strikes, until: now + EXAMINED_EVERY.as_secs(), ..before }
            }
            Err(_) => Standing { state: State::Off, is_told: true, until: now + OFF_FOR.as_secs(), ..before },
        };
        self.change(change, found.err(), news);
    }

    /// It says something of a client that no list may say.
    fn note_wrong(&self, fault: ListFault, now: Instant, news: &mut Vec<News>) {
        let now = self.seconds(now);
        let change = |before: Standing| {
            if before.state == State::Off {
                // Others that asked meanwhile do not make it worse.
                return before;
            }
            let time = (OFF_FOR.as_secs() << before.strikes).min(EXAMINED_EVERY.as_secs());
            let strikes = (before.strikes + 1).min(STRIKES_MAX);
            Standing { state: State::Off, is_told: true, strikes, until: now + time }
        };
        self.change(change, Some(fault), news);
    }

    /// It says something of a client that it may say.
    fn note_right(&self, news: &mut Vec<News>) {
        if self.is_off() {
            self.change(|before| Standing { is_told: false, ..before }, None, news);
        }
    }

    /// Changes what is known of it. Whoever changes what the log says tells of it, once.
    fn change(&self, change: impl Fn(Standing) -> Standing, fault: Option<ListFault>, news: &mut Vec<News>) {
        let mut word = self.standing.load(Ordering::Relaxed);
        loop {
            let before = Standing::from_word(word);
            let after = change(before);
            match self.standing.compare_exchange_weak(
                word,
                after.word(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) if after.is_told != before.is_told => {
                    return news.push(News { list: self.list.name.clone(), fault });
                }
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    fn standing(&self) -> Standing {
        Standing::from_word(self.standing.load(Ordering::Relaxed))
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.made).as_secs()
    }
}

//! One network's place in the table: 32 octets in four words, each read and changed whole.
//!
//! ```text
//!             63                          32 31           16 15            0
//!   identity  │ key, 48 bits ··············· ··············│ since 13 │ n 3│
//!   arrivals  │ connections paid until       │ messages paid until         │
//!   asks      │ recipients paid until        │ errors paid until           │
//!   presence  │ unknown recipients paid until │ open          │ seen        │
//! ```
//!
//! `n` messages were accepted since then (both of the record); `open` connections hold the place, and while
//! there is one the place belongs to its key. Who replaces a key takes the place by `open = CLAIMED`, writes
//! the other words and lets it in. Who opens a connection looks at the key once more afterwards.

use super::super::atomic::{AtomicU64, Ordering};
use super::super::moment::{Hour, Moment, Ticks};
use super::super::rate::Rate;

/// `open` of a place that is being given to another key.
const CLAIMED: u16 = u16::MAX;

/// Connections that are counted; a network with as many has too many whatever its share.
pub(super) const OPEN_MAX: u16 = CLAIMED - 1;

/// A client that was not seen for so many hours owes nothing: all that it had is over.
const OWES_HOURS_MAX: u16 = 2;

/// A record is kept for 30 days.
const RECORD_HOURS_MAX: u16 = 30 * 24;

/// Hours of a unit of `since`, which has 13 bits: seven years.
const SINCE_HOURS: u16 = 8;
const SINCE_MASK: u16 = (1 << 13) - 1;

/// Messages after which a client has proved good, where they came over this long.
const PROVEN_MESSAGES: u8 = 5;
const PROVEN_SPAN: u16 = 2 * 24 / SINCE_HOURS;

/// Messages that a record counts.
const MESSAGES_MAX: u8 = 7;

/// One place.
#[derive(Debug, Default)]
#[repr(align(32))]
pub(super) struct Slot {
    identity: AtomicU64,
    arrivals: AtomicU64,
    asks: AtomicU64,
    presence: AtomicU64,
}

/// A network as the table knows it: 48 bits of a keyed hash; 0 is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotKey(u64);

impl SlotKey {
    /// Made of the upper bits of a hash.
    pub(super) fn new(hash: u64) -> Self {
        Self((hash >> 16).max(1))
    }

    pub(super) fn raw(self) -> u64 {
        self.0
    }

    pub(super) fn from_raw(raw: u64) -> Option<Self> {
        (1..1 << 48).contains(&raw).then_some(Self(raw))
    }
}

/// How good a client was so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// `<= MESSAGES_MAX`.
    messages: u8,
    /// `< 2^SINCE_BITS`, in units of `SINCE_HOURS`.
    since: u16,
}

impl Record {
    const NONE: Self = Self { messages: 0, since: 0 };

    fn from_word(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation)]
        let low = word as u16;
        Self { messages: (low & 7) as u8, since: low >> 3 }
    }

    pub(super) fn raw(self) -> u16 {
        self.since << 3 | u16::from(self.messages)
    }

    pub(super) fn from_raw(raw: u16) -> Self {
        Self::from_word(u64::from(raw))
    }

    fn is_empty(self) -> bool {
        self.messages == 0
    }

    /// Whether it has proved good by this hour.
    fn is_proven(self, hour: Hour) -> bool {
        self.messages >= PROVEN_MESSAGES && span(self.since, hour) >= PROVEN_SPAN
    }

    /// With one message more. Who has proved good needs no older beginning, so that none gets so old that it
    /// seems to lie ahead.
    fn with_message(self, hour: Hour) -> Self {
        let since = if self.is_empty() {
            unit(hour)
        } else if self.is_proven(hour) {
            unit(hour).wrapping_sub(PROVEN_SPAN) & SINCE_MASK
        } else {
            self.since
        };
        Self { messages: (self.messages + 1).min(MESSAGES_MAX), since }
    }
}

/// The unit of `since` that an hour is in.
fn unit(hour: Hour) -> u16 {
    (hour.raw() / SINCE_HOURS) & SINCE_MASK
}

/// Units from then to this hour; 0 where the clock went back.
fn span(since: u16, hour: Hour) -> u16 {
    let span = unit(hour).wrapping_sub(since) & SINCE_MASK;
    if span <= SINCE_MASK / 2 { span } else { 0 }
}

/// What is counted in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A connection.
    Connection,
    /// A transaction that begins.
    Message,
    /// A recipient that is named.
    Recipient,
    /// A recipient that nobody knows.
    UnknownRecipient,
    /// A command that is refused for another reason.
    Error,
}

/// What came of opening a connection in a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// It counts one more.
    Opened,
    /// The network has all that it may have.
    TooMany,
    /// The place belongs to another key now.
    Moved,
}

// The upper and the lower half of a word are taken apart here.
#[expect(clippy::cast_possible_truncation)]
fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

fn word(upper: u32, lower: u32) -> u64 {
    u64::from(upper) << 32 | u64::from(lower)
}

fn presence(unknown: u32, open: u16, seen: Hour) -> u64 {
    word(unknown, u32::from(open) << 16 | u32::from(seen.raw()))
}

#[expect(clippy::cast_possible_truncation)]
fn open_of(presence: u64) -> u16 {
    (presence >> 16) as u16
}

#[expect(clippy::cast_possible_truncation)]
fn seen_of(presence: u64) -> Hour {
    Hour::from_raw(presence as u16)
}

/// A moment until which is paid, or now where that has passed.
fn freshened(paid_until: u32, now: Moment) -> u32 {
    if Ticks::from_raw(paid_until).ahead_of(now.ticks) > 0 { paid_until } else { now.ticks.raw() }
}

impl Slot {
    /// Whose place it is; none of one that was never used.
    pub(super) fn key(&self) -> Option<SlotKey> {
        SlotKey::from_raw(self.identity.load(Ordering::Relaxed) >> 16)
    }

    /// Opens a connection of this key, of which there may be `open_max`.
    pub(super) fn open(&self, key: SlotKey, open_max: u16, now: Moment) -> Open {
        let mut before = self.presence.load(Ordering::Acquire);
        loop {
            if self.key() != Some(key) || open_of(before) == CLAIMED {
                return Open::Moved;
            }
            if open_of(before) >= open_max.min(OPEN_MAX) {
                return Open::TooMany;
            }
            let away = now.hour.since(seen_of(before));
            let unknown =
                if away >= OWES_HOURS_MAX { now.ticks.raw() } else { freshened(halves(before)[0], now) };
            let after = presence(unknown, open_of(before) + 1, now.hour);
            match self.presence.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {}
                Err(changed) => {
                    before = changed;
                    continue;
                }
            }
            if self.key() != Some(key) {
                // It was replaced between the look and the count.
                self.leave();
                return Open::Moved;
            }
            self.forget_after(away, now);
            return Open::Opened;
        }
    }

    /// What is over after so many hours.
    fn forget_after(&self, away: u16, now: Moment) {
        if away >= OWES_HOURS_MAX {
            self.owe_nothing(now);
        } else if away > 0 {
            self.freshen(now);
        }
        if away >= RECORD_HOURS_MAX {
            self.change_record(|_| Record::NONE);
        }
    }

    /// Brings what is paid for long ago up to the present: the clock begins anew every three days, and a
    /// moment from nearly as long ago would be one to come.
    fn freshen(&self, now: Moment) {
        for word_of in [&self.arrivals, &self.asks] {
            let fresh = |before: u64| {
                Some(word(freshened(halves(before)[0], now), freshened(halves(before)[1], now)))
            };
            // It always gives a word.
            let _ = word_of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fresh);
        }
    }

    /// The same for a network that holds a connection for hours, once an hour.
    fn freshen_hourly(&self, now: Moment) {
        let before = self.presence.load(Ordering::Relaxed);
        if now.hour.since(seen_of(before)) == 0 || open_of(before) == CLAIMED {
            return;
        }
        let after = presence(freshened(halves(before)[0], now), open_of(before), now.hour);
        // Where somebody else changes it at this moment, the next event does this.
        if self.presence.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.freshen(now);
        }
    }

    fn owe_nothing(&self, now: Moment) {
        let nothing = word(now.ticks.raw(), now.ticks.raw());
        self.arrivals.store(nothing, Ordering::Relaxed);
        self.asks.store(nothing, Ordering::Relaxed);
    }

    /// A connection has ended.
    pub(super) fn leave(&self) {
        let before = self.presence.fetch_sub(1 << 16, Ordering::Release);
        debug_assert!((1..=OPEN_MAX).contains(&open_of(before)), "left twice");
    }

    /// Whether another shard is just giving the place to a key.
    pub(super) fn is_claimed(&self) -> bool {
        open_of(self.presence.load(Ordering::Acquire)) == CLAIMED
    }

    /// How much it would be missed: none where a connection is open. The least of a bucket is replaced.
    pub(super) fn worth(&self, now: Moment) -> Option<(bool, u16)> {
        let presence = self.presence.load(Ordering::Relaxed);
        if open_of(presence) > 0 {
            return None;
        }
        if self.key().is_none() {
            return Some((false, 0));
        }
        let recent = u16::MAX - now.hour.since(seen_of(presence));
        Some((self.is_proven(now), recent))
    }

    /// Gives the place to another key with one open connection; false when somebody was quicker.
    pub(super) fn replace(&self, key: SlotKey, now: Moment) -> bool {
        let before = self.presence.load(Ordering::Relaxed);
        let claimed = before | u64::from(CLAIMED) << 16;
        if open_of(before) > 0
            || self.presence.compare_exchange(before, claimed, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return false;
        }
        self.identity.store(key.0 << 16, Ordering::Relaxed);
        self.owe_nothing(now);
        self.presence.store(presence(now.ticks.raw(), 1, now.hour), Ordering::Release);
        true
    }

    /// Counts events; false, and nothing is counted, when they are more than the rate allows.
    pub(super) fn pay(&self, event: Event, rate: Rate, count: u32, share: u32, now: Moment) -> bool {
        self.freshen_hourly(now);
        let (word_of, is_upper) = self.word_of(event);
        let pay = |before: u64| {
            let [upper, lower] = halves(before);
            let paid_until = Ticks::from_raw(if is_upper { upper } else { lower });
            let paid = rate.pay(paid_until, now.ticks, count, share)?.raw();
            Some(if is_upper { word(paid, lower) } else { word(upper, paid) })
        };
        word_of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    /// Whether one event more would be counted.
    pub(super) fn may_pay(&self, event: Event, rate: Rate, share: u32, now: Moment) -> bool {
        self.freshen_hourly(now);
        let (word_of, is_upper) = self.word_of(event);
        let [upper, lower] = halves(word_of.load(Ordering::Relaxed));
        let paid_until = Ticks::from_raw(if is_upper { upper } else { lower });
        rate.pay(paid_until, now.ticks, 1, share).is_some()
    }

    /// Where an event is counted, and whether it is in the upper half of the word.
    fn word_of(&self, event: Event) -> (&AtomicU64, bool) {
        match event {
            Event::Connection => (&self.arrivals, true),
            Event::Message => (&self.arrivals, false),
            Event::Recipient => (&self.asks, true),
            Event::Error => (&self.asks, false),
            Event::UnknownRecipient => (&self.presence, true),
        }
    }

    /// A message of the client was accepted.
    pub(super) fn note_message(&self, now: Moment) {
        self.change_record(|record| record.with_message(now.hour));
    }

    /// What it has proved counts no more.
    pub(super) fn disgrace(&self) {
        self.change_record(|_| Record::NONE);
    }

    fn change_record(&self, change: impl Fn(Record) -> Record) {
        let change = |before: u64| {
            let after = change(Record::from_word(before)).raw();
            let after = before & !0xffff | u64::from(after);
            (after != before).then_some(after)
        };
        // Nothing to change is no error.
        let _ = self.identity.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Whether the client has proved good.
    pub(super) fn is_proven(&self, now: Moment) -> bool {
        Record::from_word(self.identity.load(Ordering::Relaxed)).is_proven(now.hour)
    }

    /// What is remembered across restarts; none of a client without a record.
    pub(super) fn remembered(&self) -> Option<(SlotKey, Record, Hour)> {
        let identity = self.identity.load(Ordering::Relaxed);
        let record = Record::from_word(identity);
        let key = SlotKey::from_raw(identity >> 16).filter(|_| !record.is_empty())?;
        Some((key, record, seen_of(self.presence.load(Ordering::Relaxed))))
    }

    /// Takes a remembered client in, before anybody else uses the table; false when the place is taken.
    pub(super) fn restore(&self, key: SlotKey, record: Record, seen: Hour) -> bool {
        let is_free = self.key().is_none();
        if is_free {
            self.identity.store(key.0 << 16 | u64::from(record.raw()), Ordering::Relaxed);
            self.presence.store(presence(0, 0, seen), Ordering::Relaxed);
        }
        is_free
    }
}

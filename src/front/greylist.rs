//! Greylisting: who is suspicious is asked to come back later, once.
//!
//! The table remembers who came with which envelope: of the origin (the domain for which SPF passes, or else
//! the client's network), the reverse-path and the forward-path only a keyed hash is kept. One table of fixed
//! size for all shards, without locks: a place is one word, a bucket is one cache line of eight, and the one
//! that was seen longest ago makes room.
//!
//! Pools of a large sender retry from other addresses; so the network that counts is a wide one, and a domain
//! that vouches for its addresses counts instead of them. The null reverse-path is greylisted at the end of
//! the mail data, not at RCPT: others verify our addresses with it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use siphasher::sip::SipHasher13;

use super::clients::Secret;
use super::prefix;

/// Whoever comes back after this is taken.
pub const RETRY_AFTER: Duration = Duration::from_mins(5);

/// Whoever comes back after more than this begins anew: queues of senders try for days.
pub const RETRY_WITHIN: Duration = Duration::from_hours(48);

/// Whoever was taken is taken for so long, from each time that it came.
pub const KEPT_FOR: Duration = Duration::from_hours(36 * 24);

/// Places of a bucket: a cache line.
const WAYS: usize = 8;

/// Bits of a hash that a place keeps; those below are the time and the state.
const TAG_BITS: u32 = 36;

/// A unit of time in a place: the table's clock has 27 bits, 8 years in units of two seconds.
const UNIT_SECONDS: u64 = 2;
const TIME_BITS: u32 = 27;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; WAYS]);

/// The table.
#[derive(Debug)]
pub struct Greylist {
    buckets: Box<[Bucket]>,
    hasher: SipHasher13,
}

/// Where mail comes from, as far as it can come again from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A domain for which SPF passes, in lower case.
    Domain(&'a [u8]),
    /// A client's address, of which its network counts.
    Client(IpAddr),
}

/// What is to be done with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// It came back in its time: take it.
    Known,
    /// `451 4.7.1`: it came for the first time, or too early.
    ComeBack,
}

/// Octets of what is remembered of an envelope across restarts.
pub const REMEMBERED_BYTES: usize = 12;

/// What is remembered of an envelope across restarts.
pub type Remembered = [u8; REMEMBERED_BYTES];

/// A place: `tag | time of the first or last coming | taken`.
#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u64,
    time: u64,
    taken: bool,
}

impl Place {
    fn from_word(word: u64) -> Self {
        Self {
            tag: word >> (TIME_BITS + 1),
            time: (word >> 1) & ((1 << TIME_BITS) - 1),
            taken: word & 1 == 1,
        }
    }

    fn word(self) -> u64 {
        self.tag << (TIME_BITS + 1) | self.time << 1 | u64::from(self.taken)
    }

    /// How long ago its time is.
    fn age(self, now: u64) -> Duration {
        Duration::from_secs((now.wrapping_sub(self.time) & ((1 << TIME_BITS) - 1)) * UNIT_SECONDS)
    }

    /// Whether it tells nothing any more.
    fn is_over(self, now: u64) -> bool {
        self.age(now) > if self.taken { KEPT_FOR } else { RETRY_WITHIN }
    }
}

impl Greylist {
    /// A table with places for at least so many envelopes.
    pub fn new(places: usize, secret: &Secret) -> Self {
        let buckets = places.div_ceil(WAYS).next_power_of_two();
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            hasher: SipHasher13::new_with_key(secret),
        }
    }

    /// An envelope comes: whether it came before, in its time. It is remembered.
    pub fn greet(
        &self,
        origin: Origin<'_>,
        reverse_path: &[u8],
        forward_path: &[u8],
        now: SystemTime,
    ) -> Greeting {
        let hash = self.hash(origin, reverse_path, forward_path);
        let now = time(now);
        let tag = (hash >> (64 - TAG_BITS)).max(1);
        let index = usize::try_from(hash & (self.buckets.len() as u64 - 1)).unwrap_or(0);
        let Some(Bucket(places)) = self.buckets.get(index) else { return Greeting::Known };
        let old = places.iter().find(|place| Place::from_word(place.load(Ordering::Relaxed)).tag == tag);
        if let Some(slot) = old {
            let before = Place::from_word(slot.load(Ordering::Relaxed));
            let (place, greeting) = coming_back(before, tag, now);
            // Where another shard changes it at the same moment, the same envelope came there, too.
            slot.store(place.word(), Ordering::Relaxed);
            return greeting;
        }
        let oldest = places.iter().max_by_key(|place| {
            let word = place.load(Ordering::Relaxed);
            let place = Place::from_word(word);
            (word == 0, place.is_over(now), !place.taken, place.age(now))
        });
        if let Some(slot) = oldest {
            slot.store(Place { tag, time: now, taken: false }.word(), Ordering::Relaxed);
        }
        Greeting::ComeBack
    }

    fn hash(&self, origin: Origin<'_>, reverse_path: &[u8], forward_path: &[u8]) -> u64 {
        // No part holds a NUL, so that no two envelopes are put together to the same octets.
        let mut octets = Vec::with_capacity(64 + reverse_path.len() + forward_path.len());
        match origin {
            Origin::Domain(domain) => octets.extend_from_slice(domain),
            Origin::Client(client) => {
                octets.push(0);
                let network = prefix::of(client).map(|networks| networks[1]);
                octets.extend_from_slice(&network.map_or(0, |network| network.bits).to_le_bytes());
                octets.push(network.map_or(0, |network| network.kind));
            }
        }
        for path in [reverse_path, forward_path] {
            octets.push(0);
            octets.extend(path.iter().map(u8::to_ascii_lowercase));
        }
        self.hasher.hash(&octets)
    }

    /// What is remembered, of each envelope, for [`Greylist::restore`] of a table with the same secret and as
    /// many buckets: none of them can be told from it. To go through all takes milliseconds: not for shards.
    pub fn remembered(&self) -> impl Iterator<Item = Remembered> {
        let places = self.buckets.iter().zip(0_u32..).flat_map(|(Bucket(places), number)| {
            places.iter().map(move |place| (number, place.load(Ordering::Relaxed)))
        });
        places.filter(|(_, word)| *word != 0).map(|(number, word)| {
            let mut octets = [0; REMEMBERED_BYTES];
            octets[..4].copy_from_slice(&number.to_le_bytes());
            octets[4..].copy_from_slice(&word.to_le_bytes());
            octets
        })
    }

    /// Takes in what was remembered of an envelope, before anybody else uses the table. False when it is
    /// none, or there is no place for it.
    pub fn restore(&self, octets: Remembered) -> bool {
        let [n0, n1, n2, n3, w0, w1, w2, w3, w4, w5, w6, w7] = octets;
        let number = u32::from_le_bytes([n0, n1, n2, n3]);
        let word = u64::from_le_bytes([w0, w1, w2, w3, w4, w5, w6, w7]);
        let Some(Bucket(places)) = self.buckets.get(number as usize) else { return false };
        let tag = Place::from_word(word).tag;
        let is_known = |place: &AtomicU64| Place::from_word(place.load(Ordering::Relaxed)).tag == tag;
        if tag == 0 || places.iter().any(is_known) {
            return false;
        }
        let free = places.iter().find(|place| place.load(Ordering::Relaxed) == 0);
        free.inspect(|place| place.store(word, Ordering::Relaxed)).is_some()
    }

    /// The size of the table: what was remembered means something only in one of the same size.
    pub fn buckets(&self) -> u64 {
        self.buckets.len() as u64
    }

    /// The secret of the hash.
    pub fn secret(&self) -> Secret {
        self.hasher.key()
    }

    /// Octets that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }
}

/// What becomes of a place when its envelope comes again.
fn coming_back(before: Place, tag: u64, now: u64) -> (Place, Greeting) {
    let anew = Place { tag, time: now, taken: false };
    if before.is_over(now) {
        return (anew, Greeting::ComeBack);
    }
    if before.taken || before.age(now) >= RETRY_AFTER {
        return (Place { taken: true, ..anew }, Greeting::Known);
    }
    // Too early; its time goes on from when it came first.
    (before, Greeting::ComeBack)
}

/// The table's clock.
fn time(now: SystemTime) -> u64 {
    let seconds = crate::timestamp::seconds(now);
    (seconds / UNIT_SECONDS) & ((1 << TIME_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case(Greylist);

    impl Case {
        fn new(places: usize) -> Self {
            Self(Greylist::new(places, &[5; 16]))
        }

        fn greet(&self, client: &str, from: &str, to: &str, after: Duration) -> Greeting {
            let now = SystemTime::UNIX_EPOCH + Duration::from_hours(480_000) + after;
            let origin = match client.parse() {
                Ok(address) => Origin::Client(address),
                Err(_) => Origin::Domain(client.as_bytes()),
            };
            self.0.greet(origin, from.as_bytes(), to.as_bytes(), now)
        }
    }

    const MINUTE: Duration = Duration::from_mins(1);
    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn who_comes_back_in_time_is_taken_and_stays_known() {
        let case = Case::new(64);
        let greet = |after| case.greet("192.0.2.1", "a@x.test", "b@y.test", after);
        assert_eq!(greet(Duration::ZERO), Greeting::ComeBack);
        assert_eq!(greet(4 * MINUTE), Greeting::ComeBack, "too early");
        assert_eq!(greet(6 * MINUTE), Greeting::Known, "counted from the first time");
        assert_eq!(greet(20 * DAY), Greeting::Known);
        assert_eq!(greet(55 * DAY), Greeting::Known, "from each time that it came");
        assert_eq!(greet(92 * DAY), Greeting::ComeBack, "forgotten");
    }

    #[test]
    fn who_comes_back_too_late_begins_anew() {
        let case = Case::new(64);
        let greet = |after| case.greet("192.0.2.1", "a@x.test", "b@y.test", after);
        assert_eq!(greet(Duration::ZERO), Greeting::ComeBack);
        assert_eq!(greet(3 * DAY), Greeting::ComeBack);
        assert_eq!(greet(3 * DAY + 6 * MINUTE), Greeting::Known);
    }

    #[test]
    fn a_retry_from_another_address_of_the_pool_is_the_same_and_another_envelope_is_not() {
        let case = Case::new(1024);
        case.greet("192.0.2.1", "a@x.test", "b@y.test", Duration::ZERO);
        case.greet("pool.test", "a@x.test", "b@y.test", Duration::ZERO);
        let later = 10 * MINUTE;
        assert_eq!(case.greet("192.0.2.99", "A@x.test", "b@y.TEST", later), Greeting::Known);
        assert_eq!(case.greet("pool.test", "a@x.test", "b@y.test", later), Greeting::Known);
        for (client, from, to) in [
            ("192.0.3.1", "a@x.test", "b@y.test"),
            ("192.0.2.1", "c@x.test", "b@y.test"),
            ("192.0.2.1", "a@x.test", "c@y.test"),
            ("other.test", "a@x.test", "b@y.test"),
        ] {
            assert_eq!(case.greet(client, from, to, later), Greeting::ComeBack, "{client} {from} {to}");
        }
    }

    #[test]
    fn what_is_remembered_makes_a_table_that_says_the_same() {
        let case = Case::new(1024);
        let senders: Vec<String> = (0..300).map(|number| format!("{number}@x.test")).collect();
        let greet = |case: &Case, from: &str, after| case.greet("192.0.2.1", from, "b@y.test", after);
        for (number, from) in senders.iter().enumerate() {
            greet(&case, from, Duration::ZERO);
            if number % 2 == 0 {
                assert_eq!(greet(&case, from, 10 * MINUTE), Greeting::Known);
            }
        }
        let again = Case(Greylist::new(1024, &case.0.secret()));
        assert_eq!((again.0.buckets(), again.0.secret()), (case.0.buckets(), [5; 16]));
        for octets in case.0.remembered() {
            assert!(again.0.restore(octets));
            assert!(!again.0.restore(octets), "it is there already");
        }
        let sorted = |greylist: &Greylist| {
            let mut all: Vec<Remembered> = greylist.remembered().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(&again.0), sorted(&case.0));
        assert!(sorted(&again.0).len() <= 300);
        for (number, from) in senders.iter().enumerate() {
            let expected = if number % 2 == 0 { Greeting::Known } else { Greeting::ComeBack };
            // An envelope of which nothing was left by the others of its bucket begins anew in both.
            let told = greet(&case, from, 3 * DAY);
            assert_eq!(greet(&again, from, 3 * DAY), told, "{from}");
            assert!(told == expected || told == Greeting::ComeBack, "{from}");
        }
    }

    #[test]
    fn what_is_no_place_is_not_taken_in_and_a_full_bucket_takes_no_more() {
        let table = Greylist::new(WAYS, &[5; 16]);
        let octets = |bucket: u32, word: u64| {
            let mut octets = [0; REMEMBERED_BYTES];
            octets[..4].copy_from_slice(&bucket.to_le_bytes());
            octets[4..].copy_from_slice(&word.to_le_bytes());
            octets
        };
        let word = |tag| Place { tag, time: 7, taken: true }.word();
        assert!(!table.restore(octets(1, word(1))), "there is one bucket");
        assert!(!table.restore(octets(0, 0)) && !table.restore(octets(0, 3)), "no tag");
        (1..=WAYS as u64).for_each(|tag| assert!(table.restore(octets(0, word(tag)))));
        assert!(!table.restore(octets(0, word(99))));
        assert_eq!(table.remembered().count(), WAYS);
    }

    #[test]
    fn a_flood_of_new_ones_leaves_those_that_were_taken() {
        let case = Case::new(WAYS);
        case.greet("192.0.2.1", "a@x.test", "b@y.test", Duration::ZERO);
        assert_eq!(case.greet("192.0.2.1", "a@x.test", "b@y.test", 6 * MINUTE), Greeting::Known);
        for number in 0..10_000 {
            case.greet("198.51.100.1", &format!("{number}@spam.test"), "b@y.test", 7 * MINUTE);
        }
        assert_eq!(case.greet("192.0.2.1", "a@x.test", "b@y.test", DAY), Greeting::Known);
        assert_eq!(case.0.bytes(), 64);
    }
}

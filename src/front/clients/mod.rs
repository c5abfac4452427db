//! What is counted of each client, over all shards, without locks: its open connections, how often it does
//! what may be done only so often, and whether it has proved good.
//!
//! One table of fixed size, made at the start. A network has one place of four in its bucket (two cache
//! lines); where all are taken the one that would be missed least makes room. A place with open connections
//! is never given away, so a connection finds its places once, when it begins, and goes by their numbers from
//! then on. Where a bucket has no place left the network is not counted: the table fails open.
//!
//! Nothing here is exact between two shards at the same moment, and need not be: each word is changed whole.

mod slot;

use std::net::IpAddr;
use std::num::NonZero;

pub use self::slot::Event;
use self::slot::{OPEN_MAX, Open, Record, Slot, SlotKey};
use super::moment::{Hour, Moment};
use super::prefix::{self, SHARES, TIERS};
use super::rate::Rate;
use siphasher::sip::SipHasher13;

/// While another shard takes a place, so often is looked again: it needs some nanoseconds, or a turn of the
/// scheduler.
const LOOKS_MAX: u32 = 10_000;

/// Places of a bucket.
const WAYS: usize = 4;

/// A bucket on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Bucket([Slot; WAYS]);

/// How often one client may do what; its wider networks a few times as often ([`SHARES`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Connections.
    pub connections: Rate,
    /// Transactions.
    pub messages: Rate,
    /// Recipients named.
    pub recipients: Rate,
    /// Recipients that nobody knows.
    pub unknown_recipients: Rate,
    /// Commands refused for other reasons.
    pub errors: Rate,
}

impl Rates {
    fn of(&self, event: Event) -> Rate {
        match event {
            Event::Connection => self.connections,
            Event::Message => self.messages,
            Event::Recipient => self.recipients,
            Event::UnknownRecipient => self.unknown_recipients,
            Event::Error => self.errors,
        }
    }
}

/// What one client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more than 65,534 are not counted.
    pub connections_max: u32,
    /// How often it may do what. Without rates only the client itself is counted, none of its wider networks,
    /// and only its open connections are bounded.
    pub rates: Option<Rates>,
    /// Rates, and bounds on wider networks, refuse nothing: who asks is told of them and goes on.
    pub only_warn: bool,
}

impl Limits {
    /// The networks that are counted, from the narrowest.
    fn tiers(&self) -> usize {
        if self.rates.is_some() { TIERS } else { 1 }
    }
}

/// The secret of the hash: nobody can choose networks that meet in one bucket.
pub type Secret = [u8; 16];

/// The table.
#[derive(Debug)]
pub struct Clients {
    buckets: Box<[Bucket]>,
    hasher: SipHasher13,
}

/// One counted connection: where its networks are in the table. It is given back to [`Clients::leave`]. The
/// default is one of which nothing is counted.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "a connection that is not left counts for ever"]
pub struct Seat {
    /// From the narrowest network to the widest; none of one that is not counted, or for which there was no
    /// place.
    places: [Option<Place>; TIERS],
}

/// Where a network is in the table: its number from 1, so that a seat is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(NonZero<u32>);

/// Which of a client's networks has had more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// 0 for the client itself, then its wider networks.
    pub tier: usize,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many are open.
    Open(Over),
    /// They come too often.
    Rate(Over),
}

/// Buckets of a table with places for at least so many networks.
fn buckets(places: usize) -> usize {
    places.div_ceil(WAYS).next_power_of_two()
}

/// How many octets a table takes with places for at least so many networks.
pub fn bytes(places: usize) -> usize {
    buckets(places) * size_of::<Bucket>()
}

impl Clients {
    /// A table with places for at least so many networks, and no more than twice as many.
    pub fn new(places: usize, secret: &Secret) -> Self {
        Self {
            buckets: (0..buckets(places)).map(|_| Bucket::default()).collect(),
            hasher: SipHasher13::new_with_key(secret),
        }
    }

    /// A connection begins. None for a loopback client, which is exempt. A client that has proved good
    /// answers for itself only, not for what its neighbours do.
    ///
    /// `would_refuse` is told of what is passed over because limits only warn.
    pub fn enter(
        &self,
        address: IpAddr,
        limits: &Limits,
        now: Moment,
        mut would_refuse: impl FnMut(Refused),
    ) -> Result<Option<Seat>, Refused> {
        let Some(networks) = prefix::of(address) else { return Ok(None) };
        let mut seat = Seat::default();
        for (tier, (network, share)) in networks.into_iter().zip(SHARES).take(limits.tiers()).enumerate() {
            let hash = self.hash(network);
            let open_max = limits.connections_max.saturating_mul(share);
            let open_max = if self.answers_for(&seat, tier, now) { open_max } else { u32::MAX };
            let mut place = self.open(hash, u16::try_from(open_max).unwrap_or(OPEN_MAX), now);
            // What one client may have without rates, it may not have more of with them.
            if place.is_err() && limits.only_warn && tier > 0 {
                would_refuse(Refused::Open(Over { tier }));
                place = self.open(hash, OPEN_MAX, now);
            }
            let Ok(place) = place else {
                self.leave(seat);
                return Err(Refused::Open(Over { tier }));
            };
            seat.places[tier] = place;
        }
        match self.pay(&seat, Event::Connection, 1, limits, now) {
            Ok(()) => {}
            Err(over) if limits.only_warn => would_refuse(Refused::Rate(over)),
            Err(over) => {
                self.leave(seat);
                return Err(Refused::Rate(over));
            }
        }
        Ok(Some(seat))
    }

    /// The connection has ended.
    pub fn leave(&self, seat: Seat) {
        for place in seat.places.into_iter().flatten() {
            if let Some(slot) = self.slot(place) {
                slot.leave();
            }
        }
    }

    /// Counts events of a client; the error says which of its networks has had too many. The narrowest
    /// network is asked first: what it may not have costs its neighbours nothing.
    pub fn pay(
        &self,
        seat: &Seat,
        event: Event,
        count: u32,
        limits: &Limits,
        now: Moment,
    ) -> Result<(), Over> {
        self.each_that_answers(seat, event, limits, now, |slot, rate, share| {
            slot.pay(event, rate, count, share, now)
        })
    }

    /// Whether a client has had as many of an event as it may, in one of its networks: one more would be too
    /// many. Nothing is counted.
    pub fn is_over(&self, seat: &Seat, event: Event, limits: &Limits, now: Moment) -> bool {
        let may_pay = |slot: &Slot, rate, share| slot.may_pay(event, rate, share, now);
        self.each_that_answers(seat, event, limits, now, may_pay).is_err()
    }

    /// Asks each network in which a client is counted, until one says no.
    fn each_that_answers(
        &self,
        seat: &Seat,
        event: Event,
        limits: &Limits,
        now: Moment,
        may: impl Fn(&Slot, Rate, u32) -> bool,
    ) -> Result<(), Over> {
        let Some(rate) = limits.rates.map(|rates| rates.of(event)) else { return Ok(()) };
        for (tier, (place, share)) in seat.places.iter().zip(SHARES).enumerate() {
            let Some(slot) = place.and_then(|place| self.slot(place)) else { continue };
            if self.answers_for(seat, tier, now) && !may(slot, rate, share) {
                return Err(Over { tier });
            }
        }
        Ok(())
    }

    /// A message of the client was accepted.
    pub fn note_message(&self, seat: &Seat, now: Moment) {
        if let Some(slot) = self.own(seat) {
            slot.note_message(now);
        }
    }

    /// What the client has proved counts no more.
    pub fn disgrace(&self, seat: &Seat) {
        if let Some(slot) = self.own(seat) {
            slot.disgrace();
        }
    }

    /// Whether the client has proved good.
    pub fn is_proven(&self, seat: &Seat, now: Moment) -> bool {
        self.own(seat).is_some_and(|slot| slot.is_proven(now))
    }

    /// Whether a client is counted in this network of it.
    fn answers_for(&self, seat: &Seat, tier: usize, now: Moment) -> bool {
        tier == 0 || !self.is_proven(seat, now)
    }

    fn own(&self, seat: &Seat) -> Option<&Slot> {
        seat.places[0].and_then(|place| self.slot(place))
    }

    /// Opens a connection of a network: its place, or none where there was none.
    fn open(&self, hash: u64, open_max: u16, now: Moment) -> Result<Option<Place>, TooMany> {
        let key = SlotKey::new(hash);
        let number = self.bucket_of(hash);
        let Some(Bucket(slots)) = self.buckets.get(number) else { return Ok(None) };
        let mut looks = 0;
        // Another shard may take the place that was found; a few tries are enough, or the table fails open.
        let mut tries = 0;
        while tries < WAYS {
            tries += 1;
            let mine = slots.iter().position(|slot| slot.key() == Some(key));
            let way = if let Some(way) = mine {
                match slots[way].open(key, open_max, now) {
                    Open::Opened => way,
                    Open::TooMany => return Err(TooMany),
                    Open::Moved => {
                        // It is being given to this client just now.
                        if slots[way].is_claimed() && looks < LOOKS_MAX {
                            looks += 1;
                            tries -= 1;
                            std::hint::spin_loop();
                        }
                        continue;
                    }
                }
            } else {
                let worths = slots.iter().enumerate().filter_map(|(way, slot)| Some((slot.worth(now)?, way)));
                let Some((_, way)) = worths.min() else { return Ok(None) };
                // The first connections of a client may come to several shards at once. A place that another
                // one had taken before the worths were looked at is this client's perhaps, or will be; where
                // it was taken after that, it is the same that was found here, unless a third one has left
                // a place in between. Then the client has two, and as many connections again.
                if slots.iter().any(Slot::is_claimed) && looks < LOOKS_MAX {
                    looks += 1;
                    tries -= 1;
                    std::hint::spin_loop();
                    continue;
                }
                if slots.iter().any(|slot| slot.key() == Some(key)) || !slots[way].replace(key, now) {
                    continue;
                }
                way
            };
            return Ok(Place::new(number, way));
        }
        Ok(None)
    }

    fn slot(&self, place: Place) -> Option<&Slot> {
        let (bucket, way) = place.bucket_and_way();
        self.buckets.get(bucket)?.0.get(way)
    }

    /// The lower bits; the key is made of the upper ones.
    fn bucket_of(&self, hash: u64) -> usize {
        usize::try_from(hash & (self.buckets.len() as u64 - 1)).unwrap_or(0)
    }

    fn hash(&self, network: prefix::Prefix) -> u64 {
        let mut octets = [0; 9];
        octets[..8].copy_from_slice(&network.bits.to_le_bytes());
        octets[8] = network.kind;
        self.hasher.hash(&octets)
    }
}

impl Place {
    /// None in a table that is larger than any machine's.
    fn new(bucket: usize, way: usize) -> Option<Self> {
        u32::try_from(bucket * WAYS + way + 1).ok().and_then(NonZero::new).map(Self)
    }

    fn bucket_and_way(self) -> (usize, usize) {
        let place = self.0.get() as usize - 1;
        (place / WAYS, place % WAYS)
    }
}

struct TooMany;

/// Octets of what is remembered of a client across restarts.
pub const REMEMBERED_BYTES: usize = 16;

/// What is remembered of a client across restarts.
pub type Remembered = [u8; REMEMBERED_BYTES];

impl Clients {
    /// What is remembered, of each client with a record; for [`Clients::restore`] of a table with the same
    /// secret and as many buckets. To go through all takes milliseconds: not for shards.
    pub fn remembered(&self) -> impl Iterator<Item = Remembered> {
        let slots = self.buckets.iter().zip(0_u32..).flat_map(|(Bucket(slots), number)| {
            slots.iter().filter_map(Slot::remembered).map(move |slot| (number, slot))
        });
        slots.map(|(number, (key, record, seen))| {
            let mut octets = [0; REMEMBERED_BYTES];
            octets[..4].copy_from_slice(&number.to_le_bytes());
            octets[4..12].copy_from_slice(&key.raw().to_le_bytes());
            octets[12..14].copy_from_slice(&record.raw().to_le_bytes());
            octets[14..].copy_from_slice(&seen.raw().to_le_bytes());
            octets
        })
    }

    /// Takes in what was remembered of a client, before anybody else uses the table. False when it is none,
    /// or there is no place for it.
    pub fn restore(&self, octets: Remembered) -> bool {
        let [n0, n1, n2, n3, k0, k1, k2, k3, k4, k5, k6, k7, r0, r1, s0, s1] = octets;
        let number = u32::from_le_bytes([n0, n1, n2, n3]);
        let key = SlotKey::from_raw(u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]));
        let record = Record::from_raw(u16::from_le_bytes([r0, r1]));
        let seen = Hour::from_raw(u16::from_le_bytes([s0, s1]));
        let (Some(Bucket(slots)), Some(key)) = (self.buckets.get(number as usize), key) else { return false };
        slots.iter().any(|slot| slot.restore(key, record, seen))
    }

    /// The size of the table: what was remembered means something only in one of the same size.
    pub fn buckets(&self) -> u64 {
        self.buckets.len() as u64
    }

    /// Networks in the table, and clients among them that have proved good. To count them takes milliseconds:
    /// not for shards.
    pub fn count(&self, now: Moment) -> Count {
        let slots = self.buckets.iter().flat_map(|Bucket(slots)| slots).filter(|slot| slot.key().is_some());
        slots.fold(Count::default(), |count, slot| Count {
            networks: count.networks + 1,
            proven: count.proven + u64::from(slot.is_proven(now)),
        })
    }
}

/// How many are in the table.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Networks; of most clients there are several.
    pub networks: u64,
    /// Clients that have proved good.
    pub proven: u64,
}

#[cfg(test)]
mod tests;

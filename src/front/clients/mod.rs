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

pub use self::slot::Event;
use self::slot::{OPEN_MAX, Open, Record, Slot, SlotKey};
use super::moment::{Hour, Moment};
use super::prefix::{self, SHARES, TIERS};
use super::rate::Rate;
use siphasher::sip::SipHasher13;

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
    /// Connections at a time.
    pub connections_max: u16,
    /// How often.
    pub rates: Rates,
}

/// The secret of the hash: nobody can choose networks that meet in one bucket.
pub type Secret = [u8; 16];

/// The table.
#[derive(Debug)]
pub struct Clients {
    buckets: Box<[Bucket]>,
    hasher: SipHasher13,
}

/// One counted connection: where its networks are in the table. It is given back to [`Clients::leave`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a connection that is not left counts for ever"]
pub struct Seat {
    /// From the narrowest network to the widest; none of one for which there was no place.
    places: [Option<u32>; TIERS],
}

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

/// How many octets the table takes.
pub const fn bytes(buckets: usize) -> usize {
    buckets * size_of::<Bucket>()
}

impl Clients {
    /// A table with places for at least so many networks, and no more than twice as many.
    pub fn new(places: usize, secret: &Secret) -> Self {
        let buckets = places.div_ceil(WAYS).next_power_of_two();
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            hasher: SipHasher13::new_with_key(secret),
        }
    }

    /// A connection begins. None for a loopback client, which is exempt. A client that has proved good
    /// answers for itself only, not for what its neighbours do.
    pub fn enter(&self, address: IpAddr, limits: &Limits, now: Moment) -> Result<Option<Seat>, Refused> {
        let Some(networks) = prefix::of(address) else { return Ok(None) };
        let mut seat = Seat { places: [None; TIERS] };
        for (tier, (network, share)) in networks.into_iter().zip(SHARES).enumerate() {
            let hash = self.hash(network);
            let open_max = if self.answers_for(&seat, tier, now) {
                u32::from(limits.connections_max).saturating_mul(share).min(u32::from(OPEN_MAX))
            } else {
                u32::from(OPEN_MAX)
            };
            let Ok(place) = self.open(hash, u16::try_from(open_max).unwrap_or(OPEN_MAX), now) else {
                self.leave(seat);
                return Err(Refused::Open(Over { tier }));
            };
            seat.places[tier] = place;
        }
        match self.pay(&seat, Event::Connection, 1, limits, now) {
            Ok(()) => Ok(Some(seat)),
            Err(over) => {
                self.leave(seat);
                Err(Refused::Rate(over))
            }
        }
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
        let rate = limits.rates.of(event);
        for (tier, (place, share)) in seat.places.iter().zip(SHARES).enumerate() {
            let Some(slot) = place.and_then(|place| self.slot(place)) else { continue };
            if self.answers_for(seat, tier, now) && !slot.pay(event, rate, count, share, now) {
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
    fn open(&self, hash: u64, open_max: u16, now: Moment) -> Result<Option<u32>, TooMany> {
        let key = SlotKey::new(hash);
        let number = self.bucket_of(hash);
        let Some(Bucket(slots)) = self.buckets.get(number) else { return Ok(None) };
        // Another shard may take the place that was found; a few tries are enough, or the table fails open.
        for _ in 0..WAYS {
            let mine = slots.iter().position(|slot| slot.key() == Some(key));
            let way = if let Some(way) = mine {
                match slots[way].open(key, open_max, now) {
                    Open::Opened => way,
                    Open::TooMany => return Err(TooMany),
                    Open::Moved => continue,
                }
            } else {
                let worths = slots.iter().enumerate().filter_map(|(way, slot)| Some((slot.worth(now)?, way)));
                let Some((_, way)) = worths.min() else { return Ok(None) };
                if !slots[way].replace(key, now) {
                    continue;
                }
                way
            };
            return Ok(u32::try_from(number * WAYS + way).ok());
        }
        Ok(None)
    }

    fn slot(&self, place: u32) -> Option<&Slot> {
        let place = place as usize;
        self.buckets.get(place / WAYS)?.0.get(place % WAYS)
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

struct TooMany;

/// What of a client is remembered across restarts, 16 octets.
const REMEMBERED_BYTES: usize = 16;

impl Clients {
    /// What is remembered of all clients, for [`Clients::restore`] of a table with the same secret and as
    /// many places. It takes milliseconds: not for shards.
    pub fn remember(&self) -> Vec<u8> {
        let mut octets = (self.buckets.len() as u64).to_le_bytes().to_vec();
        for (number, Bucket(slots)) in self.buckets.iter().enumerate() {
            for (key, record, seen) in slots.iter().filter_map(Slot::remembered) {
                octets.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
                octets.extend_from_slice(&key.raw().to_le_bytes());
                octets.extend_from_slice(&record.raw().to_le_bytes());
                octets.extend_from_slice(&seen.raw().to_le_bytes());
            }
        }
        octets
    }

    /// Takes in what was remembered: how many clients, or none when it is of a table of another size.
    pub fn restore(&self, octets: &[u8]) -> Option<usize> {
        let (size, entries) = octets.split_first_chunk()?;
        if u64::from_le_bytes(*size) != self.buckets.len() as u64 {
            return None;
        }
        let entries = entries.chunks_exact(REMEMBERED_BYTES).filter_map(|entry| {
            let (number, rest) = entry.split_first_chunk()?;
            let (key, rest) = rest.split_first_chunk()?;
            let (record, rest) = rest.split_first_chunk()?;
            let bucket = self.buckets.get(u32::from_le_bytes(*number) as usize)?;
            let key = SlotKey::from_raw(u64::from_le_bytes(*key))?;
            let record = Record::from_raw(u16::from_le_bytes(*record));
            let seen = Hour::from_raw(u16::from_le_bytes(*rest.first_chunk()?));
            bucket.0.iter().any(|slot| slot.restore(key, record, seen)).then_some(())
        });
        Some(entries.count())
    }
}

#[cfg(test)]
mod tests;

//! Finds a delivery in the index by its name: tables of slot numbers with linear probing.
//!
//! A table grows by half when it is four fifths full, so that a delivery costs 5 to 7.5 octets here. There
//! are many small tables, so that growing one of them holds nobody up.

use super::delivery::{Delivery, Place};
use super::jitter::mix;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Tables; a power of two.
const TABLES: usize = 64;

/// Places of a table with its first delivery.
const PLACES_MIN: usize = 8;

#[derive(Debug, Clone, Default)]
struct Table {
    /// Slots, or `NONE`.
    places: Vec<u32>,
    count: usize,
}

/// The tables. What a slot's delivery is called is asked of the caller, who has the entries.
#[derive(Debug)]
pub(super) struct Lookup {
    tables: Vec<Table>,
}

impl Lookup {
    pub(super) fn new() -> Self {
        Self { tables: vec![Table::default(); TABLES] }
    }

    pub(super) fn find(&self, name: Delivery, name_of: impl Fn(u32) -> Delivery) -> Option<u32> {
        let hash = hash(name);
        self.tables[table(hash)].find(hash, |slot| name_of(slot) == name).map(|(_, slot)| slot)
    }

    /// Puts one in whose name is not there.
    pub(super) fn insert(&mut self, slot: u32, name_of: impl Fn(u32) -> Delivery) {
        let hash_of = |slot| hash(name_of(slot));
        let hash = hash_of(slot);
        let table = &mut self.tables[table(hash)];
        if (table.count + 1) * 5 > table.places.len() * 4 {
            table.grow(hash_of);
        }
        table.put(slot, hash);
        table.count += 1;
    }

    /// Takes one out, as long as it still has its name.
    pub(super) fn remove(&mut self, slot: u32, name_of: impl Fn(u32) -> Delivery) {
        let hash_of = |slot| hash(name_of(slot));
        let hash = hash_of(slot);
        let table = &mut self.tables[table(hash)];
        if let Some((place, _)) = table.find(hash, |other| other == slot) {
            table.clear(place, hash_of);
            table.count -= 1;
        }
    }

    /// Octets that it takes.
    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.tables.iter().map(|table| table.places.capacity()).sum();
        self.tables.capacity() * size_of::<Table>() + places * size_of::<u32>()
    }
}

impl Table {
    /// Where a search begins: the lower half of a hash, over all places.
    fn home(&self, hash: u64) -> usize {
        let home = ((hash & u64::from(u32::MAX)) * self.places.len() as u64) >> 32;
        usize::try_from(home).unwrap_or(0)
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.places.len() { 0 } else { place + 1 }
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut place = self.home(hash);
        loop {
            match self.places.get(place).copied()? {
                NONE => return None,
                slot if is_it(slot) => return Some((place, slot)),
                _ => place = self.after(place),
            }
        }
    }

    fn put(&mut self, slot: u32, hash: u64) {
        let mut place = self.home(hash);
        while self.places[place] != NONE {
            place = self.after(place);
        }
        self.places[place] = slot;
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let places = (self.places.len() * 3 / 2).max(PLACES_MIN);
        let old = std::mem::replace(&mut self.places, vec![NONE; places]);
        for slot in old.into_iter().filter(|slot| *slot != NONE) {
            self.put(slot, hash_of(slot));
        }
    }

    /// Empties a place; those after it that would not be found any more move up.
    fn clear(&mut self, mut hole: usize, hash_of: impl Fn(u32) -> u64) {
        let length = self.places.len();
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + length - from };
        let mut place = hole;
        loop {
            place = self.after(place);
            let slot = self.places[place];
            if slot == NONE {
                break;
            }
            let home = self.home(hash_of(slot));
            if distance(home, hole) < distance(home, place) {
                self.places[hole] = slot;
                hole = place;
            }
        }
        self.places[hole] = NONE;
    }
}

fn hash(name: Delivery) -> u64 {
    let (key, store) = match name.place {
        Place::Log(cursor) => (cursor, 0),
        Place::Later(cursor) => (cursor, 1_u64 << 16),
    };
    mix(key ^ mix(u64::from(name.destination.0) | store))
}

/// Which table: the upper bits, which no table uses.
fn table(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or(0) % TABLES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::schedule::delivery::DestinationId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn name(number: u32) -> Delivery {
        // Few enough that tables are crowded and some names come again.
        Delivery { place: Place::Later(u64::from(number)), destination: DestinationId(1) }
    }

    proptest! {
        /// Against a set: found exactly while it is in, whatever was taken out in between.
        #[test]
        fn the_tables_agree_with_a_set(
            steps in prop::collection::vec((any::<bool>(), 0..2000_u32), 1..4000),
        ) {
            let mut lookup = Lookup::new();
            let mut set = BTreeSet::new();
            for (is_in, number) in steps {
                if !is_in && set.remove(&number) {
                    lookup.remove(number, name);
                } else if is_in && set.insert(number) {
                    lookup.insert(number, name);
                }
            }
            for number in 0..2000 {
                prop_assert_eq!(lookup.find(name(number), name).is_some(), set.contains(&number));
            }
        }
    }
}

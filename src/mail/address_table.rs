//! A set of millions of addresses: 8 octets a place, at most three of four places used.
//!
//! Of an address only 56 bits of a keyed hash are kept, with one octet of the operator's. Nobody without the
//! key can make an address that is taken for another one, and of 10^16 that somebody tries one is. Two
//! addresses of the table are never taken for one: [`Builder::finish`] asks for another key then. Where an
//! address stands comes from other bits of the hash; places that are taken are passed by, up to a free one.
//! The same addresses with the same key make the same table, in whatever order they come.
//!
//! The form on disk is the form in memory, little endian:
//!
//! | octets | what |
//! | --- | --- |
//! | 8 | `ringmxAT` |
//! | 4 | version, 1 |
//! | 4 | flags of whoever made it |
//! | 16 | key of the hash |
//! | 8 | places |
//! | 8 | addresses |
//! | 8 a place | 56 bits of the hash, and below them the octet; 0 where it is free |

use std::fmt;

use siphasher::sip128::SipHasher13;

/// How a table in a file begins.
pub const MAGIC: &[u8; 8] = b"ringmxAT";
const VERSION: u32 = 1;

/// Octets before the places.
pub const HEAD_BYTES: usize = 48;

/// The key of the hash. It is secret: it is as hard to guess as it is random.
pub type Key = [u8; 16];

/// The octet that belongs to an address.
pub type Mark = std::num::NonZeroU8;

/// The table. Two are equal that were made with one key of the same addresses.
#[derive(PartialEq, Eq)]
pub struct AddressTable {
    key: Key,
    flags: u32,
    addresses: usize,
    /// At least one is 0, where a search ends.
    places: Box<[u64]>,
}

/// Makes a table.
#[derive(Debug)]
pub struct Builder {
    key: Key,
    /// Hash and mark of each.
    entries: Vec<(u64, u64)>,
}

/// Two addresses have the same hash: another key is to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collision;

/// Why octets are no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTable {
    /// They are something else.
    Foreign,
    /// A table of another version of the program.
    Version(u32),
    /// Cut off, or altered.
    Damaged,
}

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("this is no compiled table"),
            Self::Version(version) => {
                write!(f, "this is a compiled table of version {version}, and {VERSION} is known")
            }
            Self::Damaged => f.write_str("this compiled table is damaged; make it anew"),
        }
    }
}

impl Builder {
    /// With a random key, and room for so many addresses.
    pub fn new(key: Key, capacity: usize) -> Self {
        Self { key, entries: Vec::with_capacity(capacity) }
    }

    /// Adds an address in its one spelling.
    pub fn add(&mut self, address: &[u8], mark: Mark) {
        let (place, hash) = hash(&self.key, address);
        self.entries.push((place, hash << 8 | u64::from(mark.get())));
    }

    /// How many were added.
    pub fn added(&self) -> usize {
        self.entries.len()
    }

    /// The table. An address that was added twice is there once, with the mark that is larger. `flags` say by
    /// which rules the addresses were spelled.
    pub fn finish(mut self, flags: u32) -> Result<AddressTable, Collision> {
        // Sorted, equal ones are neighbours, and places are filled from one end to the other.
        self.entries.sort_unstable();
        // All 120 bits of the hash are the same for one address only.
        self.entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0 && next.1 >> 8 == kept.1 >> 8;
            if same {
                kept.1 = next.1.max(kept.1);
            }
            same
        });
        let addresses = self.entries.len();
        let count = places_for(addresses);
        let mut places = vec![0; count].into_boxed_slice();
        for (place, entry) in self.entries {
            let mut at = scaled(place, count);
            while let Some(taken) = places.get(at).filter(|taken| **taken != 0) {
                if taken >> 8 == entry >> 8 {
                    return Err(Collision);
                }
                at = if at + 1 == count { 0 } else { at + 1 };
            }
            if let Some(free) = places.get_mut(at) {
                *free = entry;
            }
        }
        Ok(AddressTable { key: self.key, flags, addresses, places })
    }
}

impl AddressTable {
    /// The mark of an address in its one spelling; none of one that is not there.
    pub fn find(&self, address: &[u8]) -> Option<Mark> {
        let entry = self.places.get(self.place_of(address)?)?;
        Mark::new(u8::try_from(entry & 0xff).ok()?)
    }

    /// At which of its places an address stands: a number for each address of the table.
    pub fn place_of(&self, address: &[u8]) -> Option<usize> {
        let (place, hash) = hash(&self.key, address);
        let mut at = scaled(place, self.places.len());
        loop {
            match self.places.get(at) {
                Some(0) => return None,
                Some(entry) if entry >> 8 == hash => return Some(at),
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }

    /// Different addresses.
    pub fn addresses(&self) -> usize {
        self.addresses
    }

    /// What whoever made it said.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// What it was made with.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Octets that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    /// What stands in a file before [`AddressTable::places`].
    pub fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&self.flags.to_le_bytes());
        head[16..32].copy_from_slice(&self.key);
        head[32..40].copy_from_slice(&(self.places.len() as u64).to_le_bytes());
        head[40..].copy_from_slice(&(self.addresses as u64).to_le_bytes());
        head
    }

    /// The places, for a file.
    pub fn places(&self) -> &[u64] {
        &self.places
    }

    /// How many places follow this head.
    pub fn places_after(head: &[u8; HEAD_BYTES]) -> Result<usize, NoTable> {
        let number = |range: std::ops::Range<usize>| {
            head.get(range).and_then(|octets| octets.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        if !head.starts_with(MAGIC) {
            return Err(NoTable::Foreign);
        }
        let version = u32::try_from(number(8..16) & 0xffff_ffff).unwrap_or_default();
        if version != VERSION {
            return Err(NoTable::Version(version));
        }
        let (places, addresses) = (number(32..40), number(40..48));
        if addresses >= places {
            return Err(NoTable::Damaged);
        }
        usize::try_from(places).map_err(|_| NoTable::Damaged)
    }

    /// A table of this head and these places, as they stood in a file.
    pub fn from_parts(head: &[u8; HEAD_BYTES], places: Box<[u64]>) -> Result<Self, NoTable> {
        let count = Self::places_after(head)?;
        let used = places.iter().filter(|place| **place != 0).count();
        // A search ends at a free place, so there has to be one whatever stands in the file.
        if places.len() != count || used >= count {
            return Err(NoTable::Damaged);
        }
        let field = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
        let stated = field(40, 48).try_into().map_or(0, u64::from_le_bytes);
        if stated != used as u64 {
            return Err(NoTable::Damaged);
        }
        let flags = field(12, 16).try_into().map_or(0, u32::from_le_bytes);
        let key = field(16, 32).try_into().map_err(|_| NoTable::Damaged)?;
        Ok(Self { key, flags, addresses: used, places })
    }
}

/// Places of a table of so many addresses: at most three of four are used.
pub const fn places_for(addresses: usize) -> usize {
    addresses + addresses / 3 + 2
}

/// Where an address stands, and 56 bits that tell it from others.
fn hash(key: &Key, address: &[u8]) -> (u64, u64) {
    let hash = SipHasher13::new_with_key(key).hash(address);
    (hash.h1, hash.h2 >> 8)
}

/// `place` of 2^64, in a table of so many places.
fn scaled(place: u64, count: usize) -> usize {
    usize::try_from((u128::from(place) * count as u128) >> 64).unwrap_or(0)
}

impl fmt::Debug for AddressTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressTable").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [3; 16];

    fn mark(number: u8) -> Mark {
        Mark::new(number).expect("not 0")
    }

    fn address(number: u32) -> Vec<u8> {
        format!("user{number}@example.org").into_bytes()
    }

    fn table(addresses: u32) -> AddressTable {
        let mut builder = Builder::new(KEY, 0);
        for number in 0..addresses {
            builder.add(&address(number), mark(1 + u8::try_from(number % 3).expect("small")));
        }
        builder.finish(5).expect("no collision")
    }

    #[test]
    fn all_that_was_added_is_found_and_nothing_else() {
        for size in [0, 1, 2, 3, 100, 5_000] {
            let table = table(size);
            assert_eq!(table.addresses(), size as usize);
            for number in 0..size {
                let expected = mark(1 + u8::try_from(number % 3).expect("small"));
                assert_eq!(table.find(&address(number)), Some(expected));
            }
            for number in size..size + 5_000 {
                assert_eq!(table.find(&address(number)), None);
            }
        }
    }

    #[test]
    fn what_is_added_twice_is_there_once() {
        let mut builder = Builder::new(KEY, 0);
        builder.add(b"a@x.test", mark(1));
        builder.add(b"a@x.test", mark(2));
        let table = builder.finish(0).expect("no collision");
        assert_eq!((table.addresses(), table.find(b"a@x.test")), (1, Some(mark(2))));
    }

    #[test]
    fn two_addresses_with_one_hash_are_a_collision() {
        let mut builder = Builder::new(KEY, 0);
        builder.add(b"a@x.test", mark(1));
        let (place, entry) = builder.entries[0];
        builder.entries.push((place ^ 1, entry));
        assert_eq!(builder.finish(0).err(), Some(Collision), "on one way, with another place");
    }

    #[test]
    fn a_table_comes_back_from_its_octets() {
        let before = table(1000);
        let after = AddressTable::from_parts(&before.head(), before.places().into()).expect("a table");
        assert_eq!((after.addresses(), after.flags()), (1000, 5));
        assert!((0..1000).all(|number| after.find(&address(number)) == before.find(&address(number))));
    }

    proptest::proptest! {
        #[test]
        fn a_table_holds_what_a_set_holds(
            addresses in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..4), 0..200),
            others in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..4), 0..200),
            key: Key,
        ) {
            let set: std::collections::HashSet<_> = addresses.iter().cloned().collect();
            let made = |addresses: &mut dyn Iterator<Item = &Vec<u8>>| {
                let mut builder = Builder::new(key, 0);
                addresses.for_each(|address| builder.add(address, mark(1)));
                builder.finish(0).expect("no collision")
            };
            let table = made(&mut addresses.iter());
            proptest::prop_assert_eq!(table.addresses(), set.len());
            for address in addresses.iter().chain(&others) {
                proptest::prop_assert_eq!(table.find(address).is_some(), set.contains(address));
            }
            let places: std::collections::HashSet<_> =
                set.iter().map(|address| table.place_of(address)).collect();
            proptest::prop_assert_eq!(places.len(), set.len(), "each has a place of its own");
            proptest::prop_assert_eq!(made(&mut addresses.iter().rev()), table, "in whatever order");
        }
    }

    #[test]
    fn damaged_octets_are_no_table_and_never_an_endless_search() {
        let good = table(10);
        let parts = |head: &[u8; HEAD_BYTES], places: &[u64]| AddressTable::from_parts(head, places.into());
        let head = good.head();
        for at in 0..HEAD_BYTES {
            let mut bad = head;
            bad[at] ^= 0xff;
            // A key or flags that were altered are still ones.
            let may_be = (12..32).contains(&at);
            assert_eq!(parts(&bad, good.places()).is_ok(), may_be, "octet {at}");
        }
        assert_eq!(parts(&head, &good.places()[1..]).err(), Some(NoTable::Damaged));
        let full = vec![u64::MAX; good.places().len()];
        assert_eq!(parts(&head, &full).err(), Some(NoTable::Damaged), "nowhere a search would end");
        assert_eq!(parts(&[0; HEAD_BYTES], &[]).err(), Some(NoTable::Foreign));
        let mut other = head;
        other[8] = 2;
        assert_eq!(parts(&other, good.places()).err(), Some(NoTable::Version(2)));
    }
}

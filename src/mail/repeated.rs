//! Finds the recipients of an envelope again, however many there are and whatever a client makes of them.
//!
//! A few are looked at one after the other; more have a table of their places. Hashes have a random key, so
//! that no client can choose recipients that share a hash: with a known one it can make as many as it likes,
//! and each would be compared with all others.

use std::hash::{BuildHasher, Hasher, RandomState};

/// So many recipients have no table: to look at all of them costs less than to keep one.
const SCANNED_MAX: usize = 64;

/// Where recipients are found by their hash. It knows their numbers only.
#[derive(Debug, Default, Clone)]
pub(super) struct Repeated {
    key: RandomState,
    /// Numbers of recipients plus one, where their hash says or after that place; 0: nobody. A power of two,
    /// at most half full; empty for few recipients.
    slots: Vec<u32>,
    /// The first so many recipients are in `slots`.
    entered: usize,
}

impl Repeated {
    /// The hash of a text, in lower case (ASCII) unless cases differ.
    pub(super) fn hash(&self, text: &[u8], case_sensitive: bool) -> u32 {
        let mut hasher = self.key.build_hasher();
        for part in text.chunks(64) {
            let mut octets = [0; 64];
            let (octets, _) = octets.split_at_mut(part.len());
            octets.copy_from_slice(part);
            if !case_sensitive {
                octets.make_ascii_lowercase();
            }
            hasher.write(octets);
        }
        // One half is as good as the whole.
        u32::try_from(hasher.finish() >> 32).unwrap_or_default()
    }

    /// Whether one of the first `count` recipients, whose hashes are told by `hash_of`, is the one with this
    /// hash: `is_same` tells of those that have it.
    pub(super) fn holds(
        &mut self,
        count: usize,
        hash: u32,
        hash_of: impl Fn(usize) -> u32,
        is_same: impl Fn(usize) -> bool,
    ) -> bool {
        let is_it = |number: usize| hash_of(number) == hash && is_same(number);
        if count <= SCANNED_MAX {
            return (0..count).any(is_it);
        }
        self.enter(count, &hash_of);
        self.chain(hash).any(is_it)
    }

    /// Only the first `count` recipients are left.
    pub(super) fn truncate(&mut self, count: usize) {
        if count < self.entered {
            self.slots.clear();
            self.entered = 0;
        }
    }

    /// Gives the memory back.
    pub(super) fn free(&mut self) {
        self.slots = Vec::new();
        self.entered = 0;
    }

    /// Octets of memory.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    fn enter(&mut self, count: usize, hash_of: impl Fn(usize) -> u32) {
        if count * 2 > self.slots.len() {
            self.slots.clear();
            self.slots.resize((count * 4).next_power_of_two(), 0);
            self.entered = 0;
        }
        while self.entered < count {
            let mask = self.slots.len() - 1;
            let start = hash_of(self.entered) as usize & mask;
            let free = (0..=mask).map(|step| (start + step) & mask).find(|place| self.slots[*place] == 0);
            self.entered += 1;
            // Half of the places are free.
            if let Some(place) = free {
                self.slots[place] = u32::try_from(self.entered).expect("recipients are bounded");
            }
        }
    }

    /// The recipients that may have this hash.
    fn chain(&self, hash: u32) -> impl Iterator<Item = usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let start = hash as usize & mask;
        (0..self.slots.len())
            .map(move |step| self.slots[(start + step) & mask])
            .take_while(|slot| *slot != 0)
            .map(|slot| slot as usize - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use super::*;

    const COUNT: usize = 20_000;

    /// FNV-1a with 32 bits, which has no key.
    fn fnv(text: &[u8], state: u32) -> u32 {
        text.iter().fold(state, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
    }

    /// Local-parts that share their hash without a key: two blocks that lead from one state to the same next
    /// one, fifteen times over, give 2^15 of them.
    fn crafted() -> Vec<Vec<u8>> {
        let mut state = 0x811c_9dc5;
        let mut pairs = Vec::new();
        for _ in 0..15 {
            let mut led = HashMap::new();
            let (next, one, other) = (0..36_u32.pow(4))
                .find_map(|number| {
                    let digit = |place| {
                        b"abcdefghijklmnopqrstuvwxyz0123456789"[(number / 36_u32.pow(place) % 36) as usize]
                    };
                    let block = [0, 1, 2, 3].map(digit);
                    let next = fnv(&block, state);
                    led.insert(next, block).map(|other| (next, block, other))
                })
                .expect("a pair within 1.6 million blocks");
            state = next;
            pairs.push([one, other]);
        }
        let text = |number: usize| {
            let block = |(place, pair): (usize, &[[u8; 4]; 2])| pair[number >> place & 1];
            [pairs.iter().enumerate().flat_map(block).collect(), b"@x.test".to_vec()].concat()
        };
        let texts: Vec<Vec<u8>> = (0..COUNT).map(text).collect();
        assert!(texts.iter().all(|text| fnv(text, 0x811c_9dc5) == fnv(&texts[0], 0x811c_9dc5)));
        texts
    }

    /// Recipients looked at for each RCPT, on average over the last thousand, and comparisons of texts in
    /// all.
    fn cost(texts: &[Vec<u8>]) -> (usize, usize) {
        let mut repeated = Repeated::default();
        let hashes: Vec<u32> = texts.iter().map(|text| repeated.hash(text, false)).collect();
        let (looked_at, compared) = (Cell::new(0), Cell::new(0));
        for (number, hash) in hashes.iter().enumerate() {
            if number == texts.len() - 1000 {
                looked_at.set(0);
            }
            let found = repeated.holds(
                number,
                *hash,
                |number| {
                    looked_at.set(looked_at.get() + 1);
                    hashes[number]
                },
                |other| {
                    compared.set(compared.get() + 1);
                    texts[other] == texts[number]
                },
            );
            assert!(!found);
        }
        (looked_at.get() / 1000, compared.get())
    }

    #[test]
    fn crafted_recipients_cost_no_more_than_others() {
        let plain: Vec<Vec<u8>> =
            (0..COUNT).map(|number| format!("user{number}@x.test").into_bytes()).collect();
        for texts in [crafted(), plain] {
            let (looked_at, compared) = cost(&texts);
            // One enters the table, and a chain has about one at half load.
            assert!(looked_at <= 4, "{looked_at} recipients looked at");
            // Of 2^28 pairs of hashes with 32 bits one in 16 is expected to be equal.
            assert!(compared <= 100, "{compared} texts compared");
        }
    }

    #[test]
    fn a_recipient_is_found_however_many_there_are() {
        for case_sensitive in [false, true] {
            let mut repeated = Repeated::default();
            let texts: Vec<Vec<u8>> =
                (0..500).map(|number| format!("User{number}@x.test").into_bytes()).collect();
            let hashes: Vec<u32> = texts.iter().map(|text| repeated.hash(text, case_sensitive)).collect();
            for count in (0..texts.len()).chain([3, 80, 499]) {
                repeated.truncate(count);
                for wanted in [0, count / 2, count.saturating_sub(1), count] {
                    let text = texts[wanted].to_ascii_lowercase();
                    let hash = repeated.hash(&text, case_sensitive);
                    let is_same = |number: usize| {
                        if case_sensitive {
                            texts[number] == text
                        } else {
                            texts[number].eq_ignore_ascii_case(&text)
                        }
                    };
                    let found = repeated.holds(count, hash, |number| hashes[number], is_same);
                    assert_eq!(found, wanted < count && !case_sensitive, "{wanted} of {count}");
                    let hash = repeated.hash(&texts[wanted], case_sensitive);
                    let is_same = |number: usize| texts[number] == texts[wanted];
                    assert_eq!(repeated.holds(count, hash, |number| hashes[number], is_same), wanted < count);
                }
            }
        }
    }

    #[test]
    fn no_two_envelopes_share_a_key() {
        let hashes: Vec<u32> = (0..8).map(|_| Repeated::default().hash(b"a@x.test", false)).collect();
        assert!(hashes.iter().any(|hash| *hash != hashes[0]));
    }
}

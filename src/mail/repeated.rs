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

/// A recipient that is in the envelope already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// An RCPT named it.
    Named,
    /// Only an alias did.
    Brought(Brought),
}

/// The place of a recipient that an alias brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brought(pub(super) usize);

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

    /// Which of the first `count` recipients, whose hashes are told by `hash_of`, is the one with this hash:
    /// `is_same` tells of those that have it.
    pub(super) fn find(
        &mut self,
        count: usize,
        hash: u32,
        hash_of: impl Fn(usize) -> u32,
        is_same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let is_it = |number: usize| hash_of(number) == hash && is_same(number);
        if count <= SCANNED_MAX {
            return (0..count).find(|number| is_it(*number));
        }
        self.enter(count, &hash_of);
        self.chain(hash).find(|number| is_it(*number))
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
    use crate::mail::envelope::{Envelope, RecipientParameters};

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
            let found = repeated.find(
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
            assert_eq!(found, None);
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
                    let found = repeated.find(count, hash, |number| hashes[number], is_same);
                    assert_eq!(found.is_some(), wanted < count && !case_sensitive, "{wanted} of {count}");
                    let hash = repeated.hash(&texts[wanted], case_sensitive);
                    let is_same = |number: usize| texts[number] == texts[wanted];
                    let found = repeated.find(count, hash, |number| hashes[number], is_same);
                    assert_eq!(found, (wanted < count).then_some(wanted));
                }
            }
        }
    }

    #[test]
    fn a_repeated_recipient_is_found() {
        let mut envelope = Envelope::default();
        envelope.push_recipient(b"Anna", b"y.test");
        envelope.push_recipient(b"anna", b"y.test");
        assert!(envelope.last_recipient_is_repeated(false));
        assert!(!envelope.last_recipient_is_repeated(true));
        envelope.retract_recipient();
        assert_eq!(envelope.last_recipient().map(|mailbox| mailbox.whole), Some(&b"Anna@y.test"[..]));
        assert!(!envelope.last_recipient_is_repeated(false));
        envelope.push_recipient(b"POSTmaster", b"y.test");
        envelope.push_recipient(b"postmaster", b"x.test");
        assert!(!envelope.last_recipient_is_repeated(true));
        envelope.push_recipient(b"postmaster", b"y.test");
        assert!(envelope.last_recipient_is_repeated(true), "postmaster is one in any case");
    }

    #[test]
    fn a_recipient_repeated_in_another_spelling_is_found() {
        let mut envelope = Envelope::default();
        envelope.push_recipient("jos\u{e9}".as_bytes(), b"y.test");
        envelope.set_recipient_parameters(RecipientParameters { notify: None, orcpt: b"rfc822;x" });
        for spelling in ["JOS\u{c9}", "jose\u{301}", "JOSE\u{301}"] {
            envelope.push_recipient(spelling.as_bytes(), b"Y.test");
            assert!(envelope.last_recipient_is_repeated(false), "{spelling:?}");
            assert!(!envelope.last_recipient_is_repeated(true), "{spelling:?}");
            envelope.retract_recipient();
        }
        // The Kelvin sign is not ASCII, its letter is.
        envelope.push_recipient("\u{212a}".as_bytes(), b"y.test");
        envelope.push_recipient(b"K", b"y.test");
        assert!(envelope.last_recipient_is_repeated(false));
        envelope.push_recipient("jose".as_bytes(), b"y.test");
        assert!(!envelope.last_recipient_is_repeated(false));
        let wholes: Vec<String> = envelope
            .recipients_with_parameters()
            .map(|(mailbox, parameters)| {
                format!("{} {}", mailbox.whole.escape_ascii(), parameters.orcpt.escape_ascii())
            })
            .collect();
        assert_eq!(wholes[0], "jos\\xc3\\xa9@y.test rfc822;x");
    }

    #[test]
    fn no_two_envelopes_share_a_key() {
        let hashes: Vec<u32> = (0..8).map(|_| Repeated::default().hash(b"a@x.test", false)).collect();
        assert!(hashes.iter().any(|hash| *hash != hashes[0]));
    }
}

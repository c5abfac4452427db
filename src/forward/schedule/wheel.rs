//! When a deferred delivery is due: one wheel of seconds, through which the entries of the index are linked.

use super::index::Index;
use super::list::List;

/// Slots of the wheel, a second each: two hours and a quarter, over the longest wait of a back-off. Who is to
/// wait longer is due at the end of it.
const SLOTS: u32 = 8192;

/// The deliveries that wait for their time.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Box<[List]>,
    /// One bit a slot that is not empty.
    occupied: [u64; SLOTS as usize / 64],
    /// Every entry has `turned <= due < turned + SLOTS`, so its slot follows from its time.
    turned: u32,
    count: u32,
    /// The second in which the next one is due: it is asked for far more often than it changes.
    first: Option<u32>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![List::EMPTY; SLOTS as usize].into_boxed_slice(),
            occupied: [0; SLOTS as usize / 64],
            turned: 0,
            count: 0,
            first: None,
        }
    }

    /// Puts one in that is in no list, in this second; its `due` may be brought forward to the end of the
    /// wheel.
    pub(super) fn insert(&mut self, index: &mut Index, slot: u32, second: u32) {
        if self.count == 0 {
            self.turned = self.turned.max(second);
        }
        let due = index[slot].due.clamp(self.turned, self.turned + SLOTS - 1);
        index[slot].due = due;
        let at = (due % SLOTS) as usize;
        self.slots[at].push_back(index, slot);
        self.occupied[at / 64] |= 1 << (at % 64);
        self.count += 1;
        self.first = Some(self.first.map_or(due, |first| first.min(due)));
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, index: &mut Index, slot: u32) {
        let at = (index[slot].due % SLOTS) as usize;
        self.slots[at].remove(index, slot);
        if self.slots[at].is_empty() {
            self.occupied[at / 64] &= !(1 << (at % 64));
        }
        self.count -= 1;
        if self.slots[at].is_empty() {
            self.first = self.find_first();
        }
    }

    /// Takes out the next one that is due in this second or was before.
    pub(super) fn next_due(&mut self, index: &mut Index, second: u32) -> Option<u32> {
        if self.first_second().is_none_or(|first| first > second) {
            self.turned = self.turned.max(second);
            return None;
        }
        self.turned = self.first_second().unwrap_or(second);
        let first = self.slots[(self.turned % SLOTS) as usize].first()?;
        self.remove(index, first);
        Some(first)
    }

    /// The second in which the next one is due.
    pub(super) fn first_second(&self) -> Option<u32> {
        self.first
    }

    fn find_first(&self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let first = (self.turned % SLOTS) as usize;
        if self.occupied[first / 64] >> (first % 64) & 1 == 1 {
            return Some(self.turned);
        }
        let words = self.occupied.len();
        for step in 0..=words {
            let word = (first / 64 + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (first % 64);
            }
            if bits != 0 {
                let slot = u32::try_from(word * 64).unwrap_or(0) + bits.trailing_zeros();
                let ahead = (slot + SLOTS - self.turned % SLOTS) % SLOTS;
                return Some(self.turned + ahead);
            }
        }
        None
    }
}

const _: () = assert!(SLOTS.is_multiple_of(64));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::schedule::delivery::{Delivery, DestinationId, Place};
    use crate::forward::schedule::index::Entry;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a sorted set: in the order of their seconds, never early, never late.
        #[test]
        fn the_wheel_agrees_with_a_set(
            steps in prop::collection::vec((0..9000_u32, 0..3000_u32, any::<bool>()), 1..200),
        ) {
            let (mut wheel, mut index) = (Wheel::new(), Index::new());
            let (mut set, mut now) = (BTreeSet::new(), 0);
            for (number, (wait, passes, is_removed)) in (0_u64..).zip(steps) {
                let name = Delivery { place: Place::Later(number), destination: DestinationId(0) };
                let slot = index.add(Entry { due: now + wait, ..Entry::named(name) }).expect("a slot");
                wheel.insert(&mut index, slot, now);
                prop_assert_eq!(index[slot].due, now + wait.min(SLOTS - 1));
                set.insert((index[slot].due, slot));
                if is_removed && let Some((due, slot)) = set.pop_last() {
                    prop_assert_eq!(index[slot].due, due);
                    wheel.remove(&mut index, slot);
                    index.remove(slot);
                }
                prop_assert_eq!(wheel.first_second(), set.first().map(|(due, _)| *due));
                now += passes;
                while let Some(slot) = wheel.next_due(&mut index, now) {
                    let due = index[slot].due;
                    prop_assert!(due <= now && set.first().is_some_and(|(first, _)| *first == due));
                    prop_assert!(set.remove(&(due, slot)));
                    index.remove(slot);
                }
                prop_assert!(set.first().is_none_or(|(due, _)| *due > now));
            }
        }
    }
}

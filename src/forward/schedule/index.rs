//! All deliveries that the schedule has: 32 octets each, in blocks that never move, with a table that finds
//! one by its name.

use std::ops;

use super::delivery::{Delivery, DestinationId, Place};
use super::lookup::{Lookup, NONE};

/// Entries of a block.
const BLOCK_ENTRIES: u32 = 4096;

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// The entry is free.
    Free,
    /// Read from the log, not tried yet: in `fresh` of its destination.
    Fresh,
    /// Deferred: in the wheel.
    Waiting,
    /// Its time has come: in `due` of its destination.
    Due,
    /// Its time has come, and it needs a connection of its own: in `alone` of its destination.
    Alone,
    /// On a connection.
    Busy,
    /// The engine copies it into `later/`.
    Moving,
    /// The same, and it will be held there.
    MovingHeld,
    /// Nobody tries it.
    Held,
}

impl State {
    /// Whether it is in a list, and so can be taken out of it at any moment.
    pub(super) fn is_listed(self) -> bool {
        matches!(self, Self::Fresh | Self::Waiting | Self::Due | Self::Alone)
    }
}

/// One delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The cursor in the log or in `later/`.
    pub(super) key: u64,
    pub(super) previous: u32,
    /// In a free entry: the next free one.
    pub(super) next: u32,
    /// Second of the schedule's time in which it is tried again.
    pub(super) due: u32,
    /// Second of the schedule's time in which it expires.
    pub(super) expires: u32,
    /// Of the window, while it lies in the log.
    pub(super) pages: u16,
    pub(super) destination: DestinationId,
    pub(super) attempts: u8,
    pub(super) poison: u8,
    pub(super) state: State,
    pub(super) is_in_log: bool,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    const FREE: Self = Self {
        key: 0,
        previous: NONE,
        next: NONE,
        due: 0,
        expires: 0,
        pages: 0,
        destination: DestinationId(0),
        attempts: 0,
        poison: 0,
        state: State::Free,
        is_in_log: false,
    };

    /// One with this name, in no state yet.
    pub(super) fn named(delivery: Delivery) -> Self {
        let (key, is_in_log) = match delivery.place {
            Place::Log(cursor) => (cursor, true),
            Place::Later(cursor) => (cursor, false),
        };
        Self { key, is_in_log, destination: delivery.destination, ..Self::FREE }
    }

    pub(super) fn delivery(&self) -> Delivery {
        let place = if self.is_in_log { Place::Log(self.key) } else { Place::Later(self.key) };
        Delivery { place, destination: self.destination }
    }

    /// Whether it was never tried and lies in the log.
    pub(super) fn is_untried(&self) -> bool {
        self.is_in_log && self.attempts == 0 && self.poison == 0
    }
}

/// The deliveries.
#[derive(Debug)]
pub(super) struct Index {
    blocks: Vec<Box<[Entry]>>,
    free: u32,
    count: u32,
    lookup: Lookup,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), free: NONE, count: 0, lookup: Lookup::new() }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Entries there are, free ones too: slots are below it.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX / BLOCK_ENTRIES) * BLOCK_ENTRIES
    }

    pub(super) fn find(&self, delivery: Delivery) -> Option<u32> {
        self.lookup.find(delivery, |slot| self[slot].delivery())
    }

    /// Puts one in. None if there is one of this name, or no slot is left.
    pub(super) fn add(&mut self, entry: Entry) -> Option<u32> {
        if self.find(entry.delivery()).is_some() {
            return None;
        }
        if self.free == NONE {
            self.grow()?;
        }
        let slot = self.free;
        self.free = self[slot].next;
        self[slot] = entry;
        self.count += 1;
        self.enter(slot);
        Some(slot)
    }

    /// Takes one out that is in no list any more.
    pub(super) fn remove(&mut self, slot: u32) {
        self.leave(slot);
        let free = self.free;
        self[slot] = Entry { next: free, ..Entry::FREE };
        self.free = slot;
        self.count -= 1;
    }

    /// It lies in `later/` from now on. False, and nothing is changed, if there is one of this name.
    pub(super) fn rename(&mut self, slot: u32, cursor: u64) -> bool {
        let name = Delivery { place: Place::Later(cursor), destination: self[slot].destination };
        if self.find(name).is_some() {
            return false;
        }
        self.leave(slot);
        let entry = &mut self[slot];
        (entry.key, entry.is_in_log) = (cursor, false);
        self.enter(slot);
        true
    }

    /// Octets that it takes.
    pub(super) fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| size_of_val(&**block)).sum();
        blocks + self.blocks.capacity() * size_of::<Box<[Entry]>>() + self.lookup.bytes()
    }

    fn enter(&mut self, slot: u32) {
        let Self { blocks, lookup, .. } = self;
        lookup.insert(slot, |slot| entry(blocks, slot).delivery());
    }

    fn leave(&mut self, slot: u32) {
        let Self { blocks, lookup, .. } = self;
        lookup.remove(slot, |slot| entry(blocks, slot).delivery());
    }

    fn grow(&mut self) -> Option<()> {
        let first = self.slots();
        // The last block is left out, so that no slot is `NONE`.
        let end = first.checked_add(BLOCK_ENTRIES)?;
        let mut block = vec![Entry::FREE; BLOCK_ENTRIES as usize].into_boxed_slice();
        for (entry, next) in block.iter_mut().zip(first + 1..end) {
            entry.next = next;
        }
        self.blocks.push(block);
        self.free = first;
        Some(())
    }
}

fn entry(blocks: &[Box<[Entry]>], slot: u32) -> &Entry {
    &blocks[(slot / BLOCK_ENTRIES) as usize][(slot % BLOCK_ENTRIES) as usize]
}

impl ops::Index<u32> for Index {
    type Output = Entry;

    fn index(&self, slot: u32) -> &Entry {
        entry(&self.blocks, slot)
    }
}

impl ops::IndexMut<u32> for Index {
    fn index_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.blocks[(slot / BLOCK_ENTRIES) as usize][(slot % BLOCK_ENTRIES) as usize]
    }
}

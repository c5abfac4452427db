//! Queues of deliveries: doubly linked through the entries of the index, so that any one leaves at once and
//! none allocates.

use super::index::Index;
use super::lookup::NONE;

/// The ends of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    head: u32,
    tail: u32,
    count: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE, count: 0 };

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    pub(super) fn push_back(&mut self, index: &mut Index, slot: u32) {
        let entry = &mut index[slot];
        (entry.previous, entry.next) = (self.tail, NONE);
        match self.tail {
            NONE => self.head = slot,
            tail => index[tail].next = slot,
        }
        self.tail = slot;
        self.count += 1;
    }

    pub(super) fn push_front(&mut self, index: &mut Index, slot: u32) {
        let entry = &mut index[slot];
        (entry.previous, entry.next) = (NONE, self.head);
        match self.head {
            NONE => self.tail = slot,
            head => index[head].previous = slot,
        }
        self.head = slot;
        self.count += 1;
    }

    /// Takes one out that is in this list.
    pub(super) fn remove(&mut self, index: &mut Index, slot: u32) {
        let (previous, next) = (index[slot].previous, index[slot].next);
        match previous {
            NONE => self.head = next,
            previous => index[previous].next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => index[next].previous = previous,
        }
        self.count -= 1;
    }
}

//! The connections of one shard by number. A number is used again only after its connection was removed, and
//! then under another generation, so that whatever still names the old connection (a receipt, a late
//! completion) finds nothing.

use crate::ring::Token;

/// Names a connection: a number and the generation of its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    const INDEX_BITS: u32 = 24;

    /// The number, below the capacity of the table.
    pub(super) fn index(self) -> u32 {
        self.index
    }

    /// As one word, for receipts.
    pub(super) fn word(self) -> u64 {
        u64::from(self.generation) << Self::INDEX_BITS | u64::from(self.index)
    }

    /// Back from the word.
    pub(super) fn from_word(word: u64) -> Self {
        let index = word & ((1 << Self::INDEX_BITS) - 1);
        // Both parts were put in by `word`, so they fit.
        #[allow(clippy::cast_possible_truncation)]
        Self { index: index as u32, generation: (word >> Self::INDEX_BITS) as u32 }
    }

    /// As the token of ring operations.
    pub(super) fn token(self) -> Token {
        Token::new(self.word())
    }
}

/// Slots of one extent of a table that has grown.
const EXTENT: usize = 4096;

/// A table of connections. Its memory is reserved at the start and touched as connections come.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// The slots of the capacity that the table began with. They never move.
    slots: Vec<Slot<T>>,
    /// The slots after them, each with [`EXTENT`] of them: to move them all when the table may hold more
    /// would take a turn too long.
    extents: Vec<Vec<Slot<T>>>,
    free: Vec<u32>,
    capacity: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    /// An empty table for at most `capacity` connections.
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity < 1 << Key::INDEX_BITS);
        Self { slots: Vec::with_capacity(capacity), extents: Vec::new(), free: Vec::new(), capacity }
    }

    /// From now on at most so many connections are added.
    pub(super) fn limit(&mut self, capacity: usize) {
        assert!(capacity < 1 << Key::INDEX_BITS);
        self.capacity = capacity;
    }

    /// Adds a connection; `None` when the table is full.
    pub(super) fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Option<Key> {
        if self.len() >= self.capacity {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.add_slot()?,
        };
        let slot = self.slot_mut(index)?;
        let key = Key { index, generation: slot.generation };
        slot.value = Some(make(key));
        Some(key)
    }

    /// The connection of this key, if it is still there.
    pub(super) fn find(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slot_mut(key.index)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// The key of the connection that has this number now.
    pub(super) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slot(index)?;
        slot.value.as_ref().map(|_| Key { index, generation: slot.generation })
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slot_mut(key.index).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Connections now.
    pub(super) fn len(&self) -> usize {
        self.slot_count() - self.free.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys now.
    pub(super) fn keys(&self) -> Vec<Key> {
        (0..self.slot_count()).filter_map(|index| self.key_at(u32::try_from(index).ok()?)).collect()
    }

    fn slot_count(&self) -> usize {
        self.slots.len() + self.extents.iter().map(Vec::len).sum::<usize>()
    }

    fn add_slot(&mut self) -> Option<u32> {
        let index = u32::try_from(self.slot_count()).ok()?;
        let slot = Slot { generation: 0, value: None };
        if self.slots.len() < self.slots.capacity() {
            self.slots.push(slot);
        } else {
            if self.extents.last().is_none_or(|last| last.len() == EXTENT) {
                self.extents.push(Vec::with_capacity(EXTENT));
            }
            self.extents.last_mut()?.push(slot);
        }
        Some(index)
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let index = index as usize;
        match index.checked_sub(self.slots.len()) {
            None => self.slots.get(index),
            Some(after) => self.extents.get(after / EXTENT)?.get(after % EXTENT),
        }
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let index = index as usize;
        match index.checked_sub(self.slots.len()) {
            None => self.slots.get_mut(index),
            Some(after) => self.extents.get_mut(after / EXTENT)?.get_mut(after % EXTENT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_without_moving_and_shrinks_without_losing() {
        let mut table = Table::new(10);
        let mut keys: Vec<Key> = (0..10).map(|number| table.insert(|_| number).expect("room")).collect();
        assert!(table.insert(|_| 0).is_none());
        let first: *const i32 = table.find(keys[0]).expect("there");
        table.limit(10_000);
        keys.extend((10..10_000).map(|number| table.insert(|_| number).expect("room")));
        assert!(table.insert(|_| 0).is_none() && table.len() == 10_000 && table.keys() == keys);
        assert!(std::ptr::eq(first, table.find(keys[0]).expect("there")));
        table.limit(5);
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(table.find(*key).copied(), i32::try_from(number).ok());
        }
        for key in keys.drain(5..) {
            assert!(table.insert(|_| 0).is_none());
            table.remove(key).expect("there");
        }
        assert!(table.insert(|_| 0).is_none());
        table.remove(keys[0]).expect("there");
        assert!(table.insert(|_| 0).is_some());
    }

    #[test]
    fn an_old_key_finds_nothing() {
        let mut table = Table::new(1);
        let old = table.insert(|_| "old").expect("room");
        assert!(table.insert(|_| "too many").is_none());
        assert_eq!(table.remove(old), Some("old"));
        let new = table.insert(|_| "new").expect("room");
        assert_eq!((old.index(), new.index()), (0, 0));
        assert_eq!(table.find(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.find(Key::from_word(new.word())), Some(&mut "new"));
        assert_eq!(table.len(), 1);
    }
}

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

/// A table of connections. Its memory is reserved at the start and touched as connections come.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
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
        Self { slots: Vec::with_capacity(capacity), free: Vec::new(), capacity }
    }

    /// Adds a connection; `None` when the table is full.
    pub(super) fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Option<Key> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.capacity => {
                self.slots.push(Slot { generation: 0, value: None });
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let slot = self.slots.get_mut(index as usize)?;
        let key = Key { index, generation: slot.generation };
        slot.value = Some(make(key));
        Some(key)
    }

    /// The connection of this key, if it is still there.
    pub(super) fn find(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// The key of the connection that has this number now.
    pub(super) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| Key { index, generation: slot.generation })
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Connections now.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys now.
    pub(super) fn keys(&self) -> Vec<Key> {
        (0..self.slots.len()).filter_map(|index| self.key_at(u32::try_from(index).ok()?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

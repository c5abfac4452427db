//! How entries come from the load threads to the main thread. A load thread never waits: it keeps its
//! entries, and once a turn puts them where the main thread takes them from, unless the main thread is there
//! just then.

use std::sync::{Arc, Mutex, PoisonError};

use super::entry::Entry;

/// Entries of one thread that may wait to be written, and again as many that wait to be handed over. Only a
/// file that takes nothing for seconds lets it come to that; further entries are dropped, counted, and the
/// run has no result.
const WAITING_MAX: usize = 1 << 20;

/// Where one load thread puts its entries for the main thread.
#[derive(Debug, Clone, Default)]
pub struct Basket(Arc<Mutex<Vec<Entry>>>);

impl Basket {
    /// Takes what is in it, and leaves `empty` in its place.
    pub fn swap(&self, empty: &mut Vec<Entry>) {
        std::mem::swap(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), empty);
    }

    /// What is in it.
    #[cfg(test)]
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().expect("lock").clone()
    }
}

/// A load thread's side. Without a basket nothing is kept.
#[derive(Debug, Default)]
pub struct Notes {
    basket: Option<Basket>,
    /// Entries not yet in the basket. `kept.len() <= WAITING_MAX`
    kept: Vec<Entry>,
    dropped: u64,
}

impl Notes {
    /// Notes that go into this basket, if there is a ledger.
    pub fn new(basket: Option<Basket>) -> Self {
        Self { basket, ..Self::default() }
    }

    /// Keeps an entry.
    pub fn add(&mut self, entry: Entry) {
        if self.basket.is_none() {
            return;
        }
        if self.kept.len() < WAITING_MAX {
            self.kept.push(entry);
        } else {
            self.dropped += 1;
        }
    }

    /// Puts what is kept into the basket, unless the main thread uses the basket just then.
    pub fn hand_over(&mut self) {
        if let Some(Ok(mut basket)) = self.basket.as_ref().map(|basket| basket.0.try_lock())
            && basket.len() + self.kept.len() <= WAITING_MAX
        {
            basket.append(&mut self.kept);
        }
    }

    /// At the end of the run: puts everything into the basket, and gives how many entries were dropped.
    pub fn end(&mut self) -> u64 {
        if let Some(basket) = &self.basket {
            basket.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.kept);
        }
        self.dropped
    }
}

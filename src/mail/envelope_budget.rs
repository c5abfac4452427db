//! What the envelopes of one shard may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the envelopes of one shard may take together: a thousand recipients each of 20,000 connections would
/// be gigabytes.
#[derive(Debug)]
pub struct EnvelopeBudget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl EnvelopeBudget {
    /// So many octets beyond those that each envelope has for free.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), bytes_max })
    }

    /// Octets taken.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What an envelope took from its budget; it gives it back wherever it ends.
#[derive(Debug, Default)]
pub(super) struct Charge {
    budget: Option<Arc<EnvelopeBudget>>,
    /// Octets taken.
    pub(super) bytes: usize,
}

impl Charge {
    /// Nothing yet of this budget.
    pub(super) fn to(budget: &Arc<EnvelopeBudget>) -> Self {
        Self { budget: Some(Arc::clone(budget)), bytes: 0 }
    }

    /// Takes so many octets in all. False when they are not there.
    pub(super) fn raise_to(&mut self, bytes: usize) -> bool {
        let Some(budget) = self.budget.as_ref().filter(|_| bytes > self.bytes) else { return true };
        let more = bytes - self.bytes;
        let add = |now: usize| now.checked_add(more).filter(|after| *after <= budget.bytes_max);
        let taken = budget.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if taken {
            self.bytes = bytes;
        }
        taken
    }

    pub(super) fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Some(budget) = self.budget.as_ref().filter(|_| bytes > 0) {
            budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// A copy is nobody's transaction.
impl Clone for Charge {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back();
    }
}

//! The flag that says whether a consumer sleeps, so that a producer rings only when somebody would miss it.
//!
//! `tests/loom.rs` compiles this file against loom and tries every interleaving.

use super::atomic::{AtomicBool, Ordering, fence};

/// Set while the consumer is about to sleep or sleeps.
///
/// Both sides write first and read second, with a full fence between: the consumer sets the flag, then looks into the
/// channel; the producer sends, then looks at the flag. So at least one of them sees the other.
#[derive(Debug)]
pub(crate) struct ParkFlag(AtomicBool);

impl ParkFlag {
    /// An awake consumer.
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Consumer: from here on it must be rung. It has to look into its channel once more before it sleeps.
    pub(crate) fn park(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Consumer: awake again, no ringing needed.
    pub(crate) fn unpark(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Producer, after it sent: whether it is the one who has to ring. At most one producer a park is told so.
    pub(crate) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

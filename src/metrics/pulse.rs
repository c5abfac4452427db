//! How a worker of the sink, or the office of the forwarder, is seen to go on by whoever watches over the
//! process.
//!
//! The worker alone writes, without a clock: the watcher has one, and knows how long the same value has
//! stood.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mail::outcome::{Outcome, TryAgain};

/// What a worker tells of its batches.
#[derive(Debug, Default)]
pub struct Pulse {
    /// What [`Pulse::steps`] gives.
    steps: AtomicU64,
    /// The last batches in which every message failed for an error of the machine; 0 after any other.
    failed_in_a_row: AtomicU64,
}

impl Pulse {
    /// The worker begins to gather a batch.
    pub fn begin(&self) {
        self.step(1);
    }

    /// A part of what is on its way is done, and the next part begins. A batch of many parts may take long in
    /// all and yet be seen to go on.
    pub fn advance(&self) {
        self.step(2);
    }

    /// The sink gave these outcomes.
    pub fn see(&self, outcomes: &[Outcome]) {
        let is_failure = |outcome: &Outcome| matches!(outcome, Outcome::TryAgain(TryAgain::Local));
        self.see_whole(outcomes.iter().all(is_failure));
    }

    /// A batch failed whole, or it did not.
    pub fn see_whole(&self, is_failure: bool) {
        let in_a_row = if is_failure { self.failed_in_a_row() + 1 } else { 0 };
        self.failed_in_a_row.store(in_a_row, Ordering::Relaxed);
    }

    /// The batch is stored and answered, or there was none.
    pub fn end(&self) {
        self.step(1);
    }

    /// Moves with each of these steps, and is odd while a batch is on its way.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// How many batches in a row have failed whole.
    pub fn failed_in_a_row(&self) -> u64 {
        self.failed_in_a_row.load(Ordering::Relaxed)
    }

    fn step(&self, by: u64) {
        // One writer: no locked instruction.
        self.steps.store(self.steps().wrapping_add(by), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_on_its_way_is_odd_and_only_whole_failures_count() {
        let failed = Outcome::TryAgain(TryAgain::Local);
        let pulse = Pulse::default();
        for (outcomes, in_a_row) in [
            (&[failed, failed][..], 1),
            (&[failed], 2),
            (&[failed, Outcome::Stored], 0),
            (&[failed], 1),
            (&[Outcome::TryAgain(TryAgain::NoSpace)], 0),
        ] {
            pulse.begin();
            let begun = pulse.steps();
            pulse.advance();
            assert_ne!(pulse.steps(), begun);
            assert_eq!(pulse.steps() % 2, 1);
            pulse.see(outcomes);
            pulse.end();
            assert_eq!((pulse.steps() % 2, pulse.failed_in_a_row()), (0, in_a_row), "{outcomes:?}");
        }
    }
}

//! Connections that are kept between two messages.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Connections that rest. The one that was used last is taken first, so that those which are not needed
/// grow old.
pub(super) struct Idle<T>(RefCell<Vec<(T, Instant)>>);

impl<T> Default for Idle<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Idle<T> {
    pub(super) fn push(&self, one: T) {
        self.0.borrow_mut().push((one, Instant::now()));
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.0.borrow_mut().pop().map(|(one, _)| one)
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<T> {
        self.take_rested(Duration::ZERO)
    }

    /// Takes those that have rested for this time.
    pub(super) fn take_rested(&self, time: Duration) -> Vec<T> {
        let mut all = self.0.borrow_mut();
        let has_rested = |(_, since): &(T, Instant)| since.elapsed() >= time;
        let (rested, young): (Vec<_>, Vec<_>) = all.drain(..).partition(has_rested);
        *all = young;
        rested.into_iter().map(|(one, _)| one).collect()
    }
}

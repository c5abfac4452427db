//! What the checks of messages under way may take together: eight signatures of each of 20,000 messages would
//! be hundreds of megabytes.

use std::cell::Cell;
use std::rc::Rc;

use crate::limits::{CHECK_BYTES_FREE, CHECKS_BYTES_MAX};

/// Octets that the checks of one shard hold beyond what each has for nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct ChecksBudget(Rc<Cell<usize>>);

/// What one check holds; it gives it back wherever it ends.
#[derive(Debug)]
pub(super) struct Held {
    budget: ChecksBudget,
    bytes: usize,
}

impl ChecksBudget {
    /// Nothing yet, for one check.
    pub(super) fn begin(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// The check takes so many octets in all. False when they are not there; then it holds what it held.
    pub(super) fn raise_to(&mut self, bytes: usize) -> bool {
        let bytes = bytes.saturating_sub(CHECK_BYTES_FREE);
        let others = self.budget.0.get() - self.bytes;
        if others.saturating_add(bytes) > CHECKS_BYTES_MAX {
            return false;
        }
        self.budget.0.set(others + bytes);
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.set(self.budget.0.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_and_never_over_the_budget() {
        let budget = ChecksBudget::default();
        let (mut one, mut other) = (budget.begin(), budget.begin());
        assert!(one.raise_to(CHECK_BYTES_FREE) && budget.0.get() == 0, "a usual check is not counted");
        assert!(one.raise_to(CHECK_BYTES_FREE + CHECKS_BYTES_MAX - 10));
        assert!(!other.raise_to(CHECK_BYTES_FREE + 11) && other.raise_to(CHECK_BYTES_FREE + 10));
        assert!(one.raise_to(0) && budget.0.get() == 10);
        drop((one, other));
        assert_eq!(budget.0.get(), 0);
    }
}

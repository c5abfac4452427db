//! What goes wrong on the simulated disk.

use crate::sink::plan::Action;

/// What a fault does to the operations it is asked about.
pub enum Fault {
    /// Fails with this error number.
    Error(i32),
    /// Says that it succeeded and does nothing: a lying disk, or a sync missing from a plan.
    Lie,
    /// The journal was given up just before, by a commit that somebody else asked for.
    GiveUp,
}

/// Asked before each operation with its number since the start.
pub(super) type Faults = Box<dyn FnMut(usize, &Action<'_>) -> Option<Fault>>;

//! Executors carry out plans: the kernel's two and the simulated one.
//!
//! An executor knows files and directories below one root, and nothing of messages but who owns what. It
//! never runs an operation twice, so a failed write or sync is never tried again on the same file. A failure
//! closes its file.

pub mod blocking;
mod direct;
pub(super) mod directories;
pub mod simulated;
pub mod uring;
mod writeback;

use crate::sink::plan::{Plan, Results};

/// Carries out plans below one root.
pub trait Executor {
    /// Runs a plan to its end and tells what became of each operation.
    fn run(&mut self, plan: &Plan<'_>) -> Results;
}

impl<E: Executor + ?Sized> Executor for Box<E> {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        (**self).run(plan)
    }
}

impl<E: Executor + ?Sized> Executor for &mut E {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        (**self).run(plan)
    }
}

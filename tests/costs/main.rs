//! What things cost: memory, CPU time, system calls, and how long others wait. A program of its own, because
//! it needs the machine, and because its tests raise the limit on open files, which belongs to the whole
//! program.
//!
//! Who measures time takes the machine [`alone`]; who measures memory or counts shares it with others that do
//! ([`beside_others`]).

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod abuse;
mod abuse_states;
mod memory_sum;
mod system_calls;

static MACHINE: RwLock<()> = RwLock::new(());

/// Until the guard is dropped no other test of this program runs.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Until the guard is dropped no test of this program measures time.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

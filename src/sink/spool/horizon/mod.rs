//! The horizon: a page of memory that a receiver shares with whoever reads its spool, in the file `horizon`.
//! It says how far the log is durable, so that readers need neither sync nor look again and again: they sleep
//! until it changes.
//!
//! It is a hint. A reader believes it only while a receiver that lives holds the lock of that very file, and
//! only if it was made since the machine was started ([`Horizon::look`]); else it does without. It is never
//! synced. What is said there once of a segment stays true of that use of the segment's file, because only
//! what a sync has made durable is said, so a reader that is late with it is not wrong. `docs/spool.md` has
//! the cases one by one.

use std::sync::OnceLock;

mod mapping;
mod page;
mod reader;
mod writer;

pub use self::page::DurableEnd;
pub use self::reader::Horizon;
pub use self::writer::HorizonWriter;

/// The file.
pub(super) const NAME: &str = "horizon";

/// The same, being made.
const NEW_NAME: &str = "horizon.new";

/// The atomics that `page` is made of; its loom test brings others.
mod atomic {
    pub(super) use std::hint::spin_loop;
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

/// A number that this start of the machine alone has. None where the kernel does not tell. It is asked once
/// in the life of a process, which is in one start of the machine.
fn boot_nonce() -> Option<u64> {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Some(*known);
    }
    let nonce = read_boot_nonce()?;
    Some(*KNOWN.get_or_init(|| nonce))
}

fn read_boot_nonce() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    // Two halves of 61 random bits each.
    let (high, low) = digits.split_at_checked(16).filter(|(_, low)| low.len() == 16)?;
    Some(u64::from_str_radix(high, 16).ok()? ^ u64::from_str_radix(low, 16).ok()?)
}

#[cfg(test)]
mod tests;

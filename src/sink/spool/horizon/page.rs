//! The words of the page, and the order in which its writer and its readers touch them.
//!
//! ```text
//!   writer                               reader
//!   sequence odd │ end │ sequence even   changes │ sequence │ end │ sequence: the same, and even
//!   waiting? then waiting = 0            waiting = 1
//!   changes + 1
//!   ─────────────────────── full fence ───────────────────────
//!   waiting, then or now? wake all       changes as before? sleep
//! ```
//!
//! No reader sees a part of an end. Both write first and read second, so a reader that goes to sleep is seen,
//! or sees the change. A reader that waits for the next change has seen this one, and so sets `waiting` after
//! it was cleared: the next change finds it set. `tests/loom_horizon.rs` compiles this file against loom and
//! tries the interleavings.

use super::atomic::{AtomicU32, AtomicU64, Ordering, fence, spin_loop};

/// How often a reader tries to read while the writer writes. It writes three words.
const READS_MAX: usize = 8;

/// What nothing else begins with.
const MAGIC: u64 = u64::from_ne_bytes(*b"RINGMXHZ");
const VERSION: u32 = 1;

/// How far a segment is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DurableEnd {
    /// Number of the segment.
    pub sequence: u64,
    /// Its salt: another use of the file, or another file of that number, has another one.
    pub salt: u64,
    /// All before this octet is durable.
    pub end: u64,
}

/// The page as it lies in memory, 64 octets. All numbers are in the order of this machine: it means nothing
/// on another one. See `docs/spool.md`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Page {
    /// [`MAGIC`], which the writer writes when all else is there.
    magic: AtomicU64,
    version: AtomicU32,
    /// Another one after each change; what readers sleep on.
    changes: AtomicU32,
    /// Of the start of the machine.
    boot: AtomicU64,
    /// Not 0 where a reader may sleep.
    waiting: AtomicU32,
    zero: AtomicU32,
    /// Odd while the three words after it are written.
    sequence: AtomicU64,
    segment: AtomicU64,
    salt: AtomicU64,
    end: AtomicU64,
}

impl Page {
    /// Says that nothing is durable. Nobody else has the page yet.
    pub fn begin(&self, boot: u64) {
        self.version.store(VERSION, Ordering::Relaxed);
        self.boot.store(boot, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Whether it is a page of this version and of this start of the machine.
    pub fn is_of(&self, boot: u64) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC
            && self.version.load(Ordering::Relaxed) == VERSION
            && self.boot.load(Ordering::Relaxed) == boot
    }

    /// Says how far a segment is durable. There is one writer. True where it has to wake whoever sleeps.
    pub fn publish(&self, end: DurableEnd) -> bool {
        let sequence = self.sequence.load(Ordering::Relaxed) & !1;
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.segment.store(end.sequence, Ordering::Relaxed);
        self.salt.store(end.salt, Ordering::Relaxed);
        self.end.store(end.end, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
        // Never cleared after the change: it may be of a reader that has seen it, and waits for the next one.
        let has_waited = self.waiting.load(Ordering::Relaxed) != 0;
        if has_waited {
            self.waiting.store(0, Ordering::Relaxed);
        }
        self.changes.store(self.changes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        fence(Ordering::SeqCst);
        has_waited || self.waiting.load(Ordering::Relaxed) != 0
    }

    /// What the page says, and the change that [`Self::may_sleep`] is to be told. None where a writer has
    /// stopped within a change, or is too fast.
    pub fn read(&self) -> Option<(DurableEnd, u32)> {
        for _ in 0..READS_MAX {
            let changes = self.changes.load(Ordering::Acquire);
            let before = self.sequence.load(Ordering::Acquire);
            let end = DurableEnd {
                sequence: self.segment.load(Ordering::Relaxed),
                salt: self.salt.load(Ordering::Relaxed),
                end: self.end.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return Some((end, changes));
            }
            spin_loop();
        }
        None
    }

    /// Says that a reader is about to sleep; false where the page has changed since then. A change after this
    /// wakes it, and the word that it sleeps on is another one.
    pub fn may_sleep(&self, changes: u32) -> bool {
        self.waiting.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.changes.load(Ordering::Relaxed) == changes
    }

    /// The word to sleep on.
    pub fn bell(&self) -> &AtomicU32 {
        &self.changes
    }
}

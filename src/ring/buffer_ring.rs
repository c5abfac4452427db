//! The ring of published buffers that is shared with the kernel (`IORING_REGISTER_PBUF_RING`, Linux 5.19): a
//! receive takes the first buffer in it when it has octets to put there.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::setup_error::SetupError;
use crate::buffer::{Arena, BufferId};

/// The ring, and a share of the arena that its buffers lie in.
pub(super) struct BufferRing {
    arena: Arc<Arena>,
    /// `count` entries, a mapping of its own; null once leaked.
    entries: *mut BufRingEntry,
    count: u16,
    /// Entries written so far, modulo 2^16; the kernel sees them after `publish`.
    tail: u16,
    /// Buffers given to the kernel and not come back.
    published: usize,
}

impl BufferRing {
    /// Registers a ring with room for all buffers of the arena, under this number.
    pub(super) fn new(ring: &IoUring, group: u16, arena: Arc<Arena>) -> Result<Self, SetupError> {
        let count = u16::try_from(arena.buffers().next_power_of_two()).expect("BUFFERS_MAX fits");
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let mapped = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let mapped =
            mapped.map_err(|error| SetupError { step: "mapping the buffer ring", error: error.into() })?;
        let this = Self { arena, entries: mapped.cast(), count, tail: 0, published: 0 };
        // SAFETY: the mapping is page-aligned, `count` entries long, and outlives the registration: it is
        // unmapped in `drop`, after `KernelRing::drop` has cancelled everything.
        let registered =
            unsafe { ring.submitter().register_buf_ring_with_flags(mapped as u64, count, group, 0) };
        registered.map_err(|error| SetupError { step: "registering the buffer ring", error })?;
        Ok(this)
    }

    /// Gives the kernel a buffer with the next [`Self::publish`].
    pub(super) fn provide(&mut self, id: BufferId) {
        assert!(self.published < usize::from(self.count), "more buffers published than there are");
        let at = usize::from(self.tail & (self.count - 1));
        // SAFETY: `at < count`, and the kernel does not read entries from the tail on.
        let entry = unsafe { &mut *self.entries.add(at) };
        entry.set_addr(self.arena.start(id).as_ptr() as u64);
        entry.set_len(u32::try_from(self.arena.buffer_bytes()).expect("asserted by Arena::new"));
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
        self.published += 1;
    }

    /// Shows the kernel the entries written since the last time.
    pub(super) fn publish(&mut self) {
        // SAFETY: the tail lies inside the first entry (`BufRingEntry::tail`), is written by us alone and
        // read by the kernel with acquire; it is aligned for `u16`.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The kernel gave a buffer back.
    pub(super) fn take_back(&mut self) {
        self.published -= 1;
    }

    /// Buffers that the kernel has.
    pub(super) fn published(&self) -> usize {
        self.published
    }

    /// Never unmaps anything: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        std::mem::forget(Arc::clone(&self.arena));
        self.entries = std::ptr::null_mut();
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if !self.entries.is_null() {
            let bytes = usize::from(self.count) * size_of::<BufRingEntry>();
            // SAFETY: mapped in `new` with this length. `KernelRing` drops its `ring` field first, which ends
            // the registration.
            let unmapped = unsafe { rustix::mm::munmap(self.entries.cast(), bytes) };
            debug_assert!(unmapped.is_ok());
        }
    }
}

//! The memory of a shard's receive buffers: one mapping behind an `Arc`, reached by raw pointer. Nobody ever
//! holds a reference to all of it.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::BUFFERS_MAX;

/// Number of a receive buffer within its pool, `0 <= id < buffers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

/// The memory of all receive buffers of one shard: one anonymous mapping.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    buffers: usize,
    buffer_bytes: usize,
    /// Buffers that stay pinned for ever because mail data was dropped outside its shard.
    leaked: AtomicUsize,
}

// SAFETY: the arena is raw memory. Which thread may read or write a buffer follows from where the buffer is
// (see the drawing in `mod.rs`); `Arena` hands out raw pointers only, and the unsafe code that reads through
// them argues its case.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `buffers` buffers of `buffer_bytes` octets. Pages are touched only when the kernel fills them.
    pub fn new(buffers: usize, buffer_bytes: usize) -> std::io::Result<Self> {
        assert!(
            (1..=BUFFERS_MAX).contains(&buffers) && buffer_bytes > 0 && u32::try_from(buffer_bytes).is_ok()
        );
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                buffers * buffer_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let base = NonNull::new(base.cast()).expect("mmap does not return null");
        Ok(Self { base, buffers, buffer_bytes, leaked: AtomicUsize::new(0) })
    }

    /// Octets of one buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Whether a receive filled so little of its buffer that its octets are better copied than the buffer
    /// held.
    pub fn is_little(&self, filled: usize) -> bool {
        const PART: usize = 16;
        filled < self.buffer_bytes / PART
    }

    /// Number of buffers.
    pub fn buffers(&self) -> usize {
        self.buffers
    }

    /// Buffers lost to mail data that was dropped outside its shard.
    pub fn leaked(&self) -> usize {
        self.leaked.load(Ordering::Relaxed)
    }

    /// Counts buffers that no shard can free any more.
    pub(super) fn count_leaked(&self, buffers: usize) {
        self.leaked.fetch_add(buffers, Ordering::Relaxed);
    }

    /// Start of a buffer.
    pub fn start(&self, id: BufferId) -> NonNull<u8> {
        let index = usize::from(id.0);
        assert!(index < self.buffers, "buffer {index} of {}", self.buffers);
        // SAFETY: `index < buffers`, so the offset stays inside the one mapping.
        unsafe { self.base.add(index * self.buffer_bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and the last `Arc` to it is gone: no ring
        // publishes it and no piece points into it.
        let unmapped =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.buffers * self.buffer_bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

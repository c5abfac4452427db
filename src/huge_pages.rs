//! Huge pages: for memory that is written to the disk again and again, for large tables that are looked into
//! at random, and for no other.
//!
//! A write past the page cache takes hold of each page of its memory, and whoever carries it on, the loop
//! device's thread or a driver, goes through them again: 512 small pages cost more than one of 2 MiB
//! (docs/experiments.md). A heap or pool of which little is touched only grows by them.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Octets of a huge page on x86-64, and where they are in use on most others.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Has the kernel give huge pages to memory that asks for them and to no other of this process. A kernel
/// before 6.18 that is set to give them to all memory can only be told to give none at all.
pub fn on_request_only() {
    /// `PR_THP_DISABLE_EXCEPT_ADVISED`, since Linux 6.18.
    const EXCEPT_ADVISED: libc::c_ulong = 1 << 1;
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the call takes integers; it neither reads nor writes memory of this process.
    let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, yes, EXCEPT_ADVISED, none, none) };
    if result != 0 && is_for_all_memory() {
        // Refused only by a kernel without huge pages.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
}

fn is_for_all_memory() -> bool {
    let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    modes.map_or(true, |modes| modes.contains("[always]"))
}

/// Puts what lies in memory already on huge pages, where the kernel has some: to find an octet of a hundred
/// MiB on small ones takes as long as to read it, because the processor does not know where so many pages
/// are. Less than a huge page stays where it is.
pub fn collect(octets: &[u64]) {
    let start = octets.as_ptr().cast::<u8>();
    let Some(inside) = size_of_val(octets).checked_sub(start.align_offset(HUGE_PAGE_BYTES)) else { return };
    let bytes = inside - inside % HUGE_PAGE_BYTES;
    if bytes == 0 {
        return;
    }
    let start = start.wrapping_add(start.align_offset(HUGE_PAGE_BYTES)).cast_mut().cast();
    // SAFETY: all of it lies in `octets`, and the advice changes no octet, nor who may read it. Where the
    // kernel has no huge pages it refuses.
    let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
    // SAFETY: as above. It is done at once (Linux 6.1), not by and by.
    let _ = unsafe { libc::madvise(start, bytes, libc::MADV_COLLAPSE) };
}

/// Octets at the start of a huge page, zeros at first. Where the kernel has no huge page free they lie on
/// small ones.
#[derive(Debug)]
pub struct HugePages {
    mapped: NonNull<u8>,
    mapped_bytes: usize,
    /// Behind `mapped`, a multiple of [`HUGE_PAGE_BYTES`]; `bytes` from here are mapped.
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone, and is reached through borrows of it only.
unsafe impl Send for HugePages {}

impl HugePages {
    /// Maps this many octets. They take memory when they are touched.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let mapped_bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES) + HUGE_PAGE_BYTES;
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let mapped = unsafe { mmap_anonymous(std::ptr::null_mut(), mapped_bytes, access, flags)? };
        let mapped: NonNull<u8> = NonNull::new(mapped.cast()).expect("mmap does not return null");
        // SAFETY: the next huge page begins less than one behind the start, and one more was mapped.
        let start = unsafe { mapped.add(mapped.align_offset(HUGE_PAGE_BYTES)) };
        // SAFETY: all of it lies in the mapping, and advice changes no octet. Without huge pages in the
        // kernel it is refused.
        let _ = unsafe {
            madvise(start.as_ptr().cast(), bytes.next_multiple_of(HUGE_PAGE_BYTES), Advice::LinuxHugepage)
        };
        Ok(Self { mapped, mapped_bytes, start, bytes })
    }
}

impl Deref for HugePages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `bytes` from `start` are mapped, zeros or what was written since, until `drop`; `&self`
        // keeps writers out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for HugePages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` keeps everybody else out.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and no borrow of it is left.
        let unmapped = unsafe { munmap(self.mapped.as_ptr().cast(), self.mapped_bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_zero_and_writable_to_its_end() {
        for bytes in [1, 4096, HUGE_PAGE_BYTES, HUGE_PAGE_BYTES + 4096] {
            let mut pages = HugePages::new(bytes).expect("memory");
            assert_eq!((pages.as_ptr().align_offset(HUGE_PAGE_BYTES), pages.len()), (0, bytes));
            assert!(pages.iter().all(|octet| *octet == 0));
            pages.fill(7);
            assert!(pages.iter().all(|octet| *octet == 7));
        }
    }
}

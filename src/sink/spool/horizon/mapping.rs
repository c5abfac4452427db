//! A page of a file, in the memory of every process that has mapped it.
//!
//! The file is never made shorter by us. Where somebody else does it, and where its file system cannot give
//! the page (a disk that failed, a full file system that copies on write), an access is SIGBUS, which would
//! end the process. Its handler then puts a page of zeros there, of this process alone, and the access is
//! done again: who reads or writes finds that it is the page of nobody.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::page::Page;

/// Octets of the file. Where the kernel's pages are larger the rest of the one that is mapped is zeros.
pub(super) const FILE_BYTES: usize = 4096;

const _: () = assert!(size_of::<Page>() == 64 && FILE_BYTES >= size_of::<Page>());

/// Pages that a process may have at a time.
const PAGES_MAX: usize = 64;

/// Where they are, for the handler; 0 where there is none.
static PAGES: [AtomicUsize; PAGES_MAX] = [const { AtomicUsize::new(0) }; PAGES_MAX];

/// What was done about SIGBUS before. None where that cannot be known, and then nothing is mapped.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// The page of a file.
#[derive(Debug)]
pub(super) struct Mapping {
    page: NonNull<Page>,
    /// Which of [`PAGES`].
    place: usize,
}

// SAFETY: the mapping belongs to this value alone, and all that lies in it are atomics.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first page of a file that has [`FILE_BYTES`] octets and is open to read and write.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        if BEFORE.get_or_init(install_handler).is_none() {
            return Err(io::Error::other("SIGBUS cannot be handled"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice takes no memory of anybody. Others may
        // change what is in it at any time: it is reached as atomics only.
        let mapped = unsafe { mmap(ptr::null_mut(), FILE_BYTES, access, MapFlags::SHARED, file, 0)? };
        let Some(page) = NonNull::new(mapped.cast::<Page>()) else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let address = mapped.addr();
        let take = |place: &AtomicUsize| {
            place.compare_exchange(0, address, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let Some(place) = PAGES.iter().position(take) else {
            // SAFETY: it was mapped above with this length, and nobody has seen it.
            unsafe { munmap(mapped, FILE_BYTES)? };
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        Ok(Self { page, place })
    }
}

impl Deref for Mapping {
    type Target = Page;

    fn deref(&self) -> &Page {
        // SAFETY: the page is mapped, to read and to write, until `drop`: the handler replaces it by another
        // one at the same place. It is aligned to a page, has at least 64 octets, any octets are a `Page`,
        // and a `Page` is atomics only, so it may change at any time.
        unsafe { self.page.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // First: as soon as it is unmapped the address may be that of something else.
        PAGES[self.place].store(0, Ordering::Release);
        // SAFETY: it was mapped in `of` with this length, and no borrow of it is left.
        let unmapped = unsafe { munmap(self.page.as_ptr().cast(), FILE_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

/// From now on a page that is not there is one of zeros. Gives what was done about the signal before.
fn install_handler() -> Option<libc::sigaction> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: it only asks, and the pointer is that of room for the answer.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call that succeeded has filled it.
    let before = unsafe { before.assume_init() };
    // SAFETY: plain data, all zero: no flags, an empty mask. The handler is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    // On the stack for signals: the handler of the standard library, to which others are left, wants that.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the action is valid; the handler makes system calls and touches atomics only.
    (unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } == 0).then_some(before)
}

extern "C" fn handle(signal: libc::c_int, about: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO what it knows of the signal, and of SIGBUS the
    // address.
    let (code, address) = unsafe { ((*about).si_code, (*about).si_addr().addr()) };
    // Not above 0 where a process has sent it.
    if code > 0 && replace(address) {
        return;
    }
    // Everybody else's: from now on it is handled as before. An access is done again when this returns, and
    // what was sent is sent again.
    if let Some(Some(before)) = BEFORE.get() {
        // SAFETY: the action is the one that the kernel gave.
        unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
    }
    if code <= 0 {
        // SAFETY: a number only.
        unsafe { libc::raise(signal) };
    }
}

/// Puts a page of zeros where the address is, if that is in a page of ours.
fn replace(address: usize) -> bool {
    let is_in = |page: usize| page != 0 && (page..page + FILE_BYTES).contains(&address);
    let Some(page) = PAGES.iter().map(|page| page.load(Ordering::Acquire)).find(|page| is_in(*page)) else {
        return false;
    };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let page = ptr::without_provenance_mut(page);
    // SAFETY: it takes the place of a mapping of `Mapping`, which has this length, and stays one of atomics.
    unsafe { libc::mmap(page, FILE_BYTES, access, how, -1, 0) != libc::MAP_FAILED }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::super::page::DurableEnd;
    use super::*;

    fn file() -> File {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&[0; FILE_BYTES], 0).expect("written");
        file
    }

    #[test]
    fn what_one_mapping_says_is_in_the_other_and_in_the_file() {
        let file = file();
        let (writer, reader) = (Mapping::of(&file).expect("mapped"), Mapping::of(&file).expect("mapped"));
        let end = DurableEnd { sequence: 3, salt: 7, end: 8192 };
        writer.begin(42);
        assert!(!writer.publish(end), "nobody waits");
        assert!(reader.is_of(42) && !reader.is_of(43));
        assert_eq!(reader.read().map(|(end, _)| end), Some(end));
        let mut octets = [0; 64];
        file.read_exact_at(&mut octets, 0).expect("read");
        assert_eq!(octets[..8], *b"RINGMXHZ");
        assert_eq!(octets[56..], 8192_u64.to_ne_bytes());
    }

    #[test]
    fn a_file_that_is_cut_off_is_the_page_of_nobody_and_kills_nobody() {
        let file = file();
        let (writer, reader) = (Mapping::of(&file).expect("mapped"), Mapping::of(&file).expect("mapped"));
        writer.begin(42);
        writer.publish(DurableEnd { sequence: 3, salt: 7, end: 8192 });
        file.set_len(0).expect("cut off");
        assert!(!reader.is_of(42));
        assert_eq!(reader.read(), Some((DurableEnd::default(), 0)));
        writer.publish(DurableEnd { sequence: 3, salt: 7, end: 12_288 });
        assert!(!writer.is_of(42));
        assert_eq!(file.metadata().expect("there").len(), 0);
        // Another page is not touched by that.
        let other = self::file();
        let page = Mapping::of(&other).expect("mapped");
        page.begin(1);
        assert!(page.is_of(1));
    }

    /// What a child of the next test does: a page of ours is there, and the signal is not for it.
    fn die(how: &str) {
        let (ours, other) = (file(), file());
        let _page = Mapping::of(&ours).expect("mapped");
        if how == "sent" {
            // SAFETY: `raise` takes any number.
            unsafe { libc::raise(libc::SIGBUS) };
        }
        let how = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe { mmap(ptr::null_mut(), FILE_BYTES, how.0, how.1, &other, 0).expect("mapped") };
        other.set_len(0).expect("cut off");
        // SAFETY: it is mapped. That this ends the process is what is tested.
        println!("{}", unsafe { mapped.cast::<u8>().read_volatile() });
    }

    #[test]
    fn whatever_else_is_wrong_with_memory_ends_the_process_as_before() {
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, Stdio};
        const CHILD: &str = "RINGMX_TEST_SIGBUS";
        if let Ok(how) = std::env::var(CHILD) {
            return die(&how);
        }
        for how in ["met", "sent"] {
            let name = "whatever_else_is_wrong_with_memory_ends_the_process_as_before";
            let mut child = Command::new(std::env::current_exe().expect("this program"));
            child.arg(name).env(CHILD, how).stdout(Stdio::null()).stderr(Stdio::null());
            let status = child.status().expect("a child");
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{how}: {status}");
        }
    }

    #[test]
    fn a_place_is_given_back() {
        let file = file();
        for _ in 0..3 * PAGES_MAX {
            Mapping::of(&file).expect("mapped");
        }
    }
}

//! Writing back what the page cache holds of one file (sync_file_range(2)).
//!
//! It makes nothing durable: neither is the disk's own cache flushed nor the metadata written that finds the
//! file's octets. A sync of the file system does that for a batch of files, with most of its work done
//! already.
//!
//! Where the system call is forbidden a sync of the file takes its place, which makes more certain and takes
//! longer.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::sink::optional;

/// Begins; waits for nothing but room in the disk's queue.
pub(super) fn start(file: &impl AsRawFd) -> io::Result<()> {
    match sync_file_range(file, libc::SYNC_FILE_RANGE_WRITE) {
        Err(error) if optional::says_missing(&error) => Ok(()),
        other => other,
    }
}

/// Waits until all was written that is in the file now. Tells errors of writing it back since it was opened.
pub(super) fn finish(file: &(impl AsRawFd + AsFd)) -> io::Result<()> {
    let and_wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    match sync_file_range(file, libc::SYNC_FILE_RANGE_WRITE | and_wait) {
        Err(error) if optional::says_missing(&error) => Ok(rustix::fs::fdatasync(file)?),
        other => other,
    }
}

fn sync_file_range(file: &impl AsRawFd, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call takes integers; it neither reads nor writes memory of this process.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

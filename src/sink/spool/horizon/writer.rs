//! The receiver's end of the horizon.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::thread::futex;

use super::mapping::{FILE_BYTES, Mapping};
use super::page::DurableEnd;
use super::{NAME, NEW_NAME, boot_nonce};
use crate::sink::file_system::FileSystem;

/// The page of a receiver. It is always a new file, whose lock is held from before it has its name until the
/// process ends: nobody else's page, and none of an earlier receiver, is ever taken for it.
#[derive(Debug)]
pub struct HorizonWriter {
    mapping: Mapping,
    boot: u64,
    /// The lock.
    _file: File,
}

impl HorizonWriter {
    /// Makes the page of the spool in this directory, which the caller has locked; it says nothing yet. An
    /// error of kind `Unsupported` where readers have to do without: only of file systems of a local disk it
    /// is known that all processes see the same page.
    pub fn make(spool: impl AsFd) -> io::Result<Self> {
        let spool = spool.as_fd();
        let is_known = match FileSystem::of(spool)? {
            FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs => true,
            FileSystem::Other => false,
        };
        let Some(boot) = boot_nonce().filter(|_| is_known) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        match rustix::fs::unlinkat(spool, NEW_NAME, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(spool, NEW_NAME, flags, Mode::RUSR | Mode::WUSR)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Written, not only made long: so the page has its place on the disk.
        file.write_all_at(&[0; FILE_BYTES], 0)?;
        let mapping = Mapping::of(&file)?;
        mapping.begin(boot);
        rustix::fs::renameat(spool, NEW_NAME, spool, NAME)?;
        Ok(Self { mapping, boot, _file: file })
    }

    /// Says that a segment is durable up to here, and wakes whoever waits for that. False where the page is
    /// not ours any more, because somebody cut the file off or wrote to it: nobody is told anything, and the
    /// value is of no more use.
    pub fn publish(&self, end: DurableEnd) -> bool {
        let must_wake = self.mapping.publish(end);
        if !self.mapping.is_of(self.boot) {
            return false;
        }
        if must_wake {
            // Whoever is not woken looks for himself in a moment.
            let _ = futex::wake(self.mapping.bell(), futex::Flags::empty(), i32::MAX.cast_unsigned());
        }
        true
    }
}

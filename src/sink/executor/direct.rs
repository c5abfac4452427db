//! Open files, and writes past the page cache (`O_DIRECT`) where what is written is whole blocks.
//!
//! A direct write that makes itself durable (`RWF_DSYNC`) takes the place of a write into the page cache and
//! its `fdatasync`: it costs less CPU time and ends sooner (docs/experiments.md). It needs aligned memory, so
//! what lies elsewhere is copied once; the page cache would have copied it, too.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

use crate::huge_pages::HugePages;
use crate::limits::STAGING_BYTES;
use crate::sink::optional;

use super::directories::{runs, short_write, still_linked};

/// Alignment in file and memory that every disk takes.
const BLOCK_BYTES: usize = 4096;

/// A file that was opened to write.
#[derive(Debug)]
pub(super) struct OpenFile {
    descriptor: OwnedFd,
    way: Way,
    /// Something may not be durable, perhaps from before it was opened. Only writes that make themselves
    /// durable leave this as it is.
    unsynced: bool,
}

/// How its writes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the page cache.
    Cached,
    /// Direct from the first write on, if that is whole blocks.
    Undecided,
    /// Past the page cache.
    Direct,
}

/// Aligned memory for direct writes.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// None before the first use.
    octets: Option<HugePages>,
}

impl Staging {
    fn aligned(&mut self) -> io::Result<&mut [u8]> {
        match &mut self.octets {
            Some(octets) => Ok(octets),
            none => Ok(none.insert(HugePages::new(STAGING_BYTES)?)),
        }
    }
}

impl OpenFile {
    /// A file that is written through the page cache.
    pub(super) fn cached(descriptor: OwnedFd) -> Self {
        Self { descriptor, way: Way::Cached, unsynced: true }
    }

    /// A file that is written directly if its first write is of whole blocks. Its open description must be
    /// its own.
    pub(super) fn direct_if_whole(descriptor: OwnedFd) -> Self {
        Self { descriptor, way: Way::Undecided, unsynced: true }
    }

    /// Writes the slices one after the other. `is_synced_next` tells that [`Self::sync`] follows.
    pub(super) fn write(
        &mut self,
        offset: u64,
        slices: &[&[u8]],
        is_synced_next: bool,
        staging: &mut Staging,
    ) -> io::Result<()> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let is_whole = offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.is_multiple_of(BLOCK_BYTES);
        self.choose(is_whole);
        if self.way == Way::Direct {
            let flags = if is_synced_next && !self.unsynced && bytes <= STAGING_BYTES {
                ReadWriteFlags::DSYNC
            } else {
                self.unsynced = true;
                ReadWriteFlags::empty()
            };
            match self.write_direct(offset, slices, flags, staging) {
                // The disk wants larger blocks, or there is no such write here.
                Err(error) if optional::says_missing(&error) => self.choose(false),
                other => return other,
            }
        }
        self.unsynced = true;
        write_cached(&self.descriptor, offset, slices)
    }

    /// Makes durable what was written. Fails for a file that has no name any more.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            rustix::fs::fdatasync(&self.descriptor)?;
            self.unsynced = false;
        }
        still_linked(&self.descriptor)
    }

    /// As [`Self::sync`], with the file's mode and group.
    pub(super) fn sync_whole(&mut self) -> io::Result<()> {
        rustix::fs::fsync(&self.descriptor)?;
        self.unsynced = false;
        still_linked(&self.descriptor)
    }

    fn choose(&mut self, is_whole: bool) {
        self.way = match self.way {
            Way::Undecided if is_whole && self.set_direct(true) => Way::Direct,
            Way::Direct if is_whole => Way::Direct,
            Way::Direct => {
                // Without success the write fails, and with it the batch.
                self.set_direct(false);
                Way::Cached
            }
            Way::Undecided | Way::Cached => Way::Cached,
        };
    }

    fn set_direct(&self, direct: bool) -> bool {
        let flags = rustix::fs::fcntl_getfl(&self.descriptor);
        let flags = flags.map(|flags| if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT });
        flags.is_ok_and(|flags| rustix::fs::fcntl_setfl(&self.descriptor, flags).is_ok())
    }

    fn write_direct(
        &self,
        offset: u64,
        slices: &[&[u8]],
        flags: ReadWriteFlags,
        staging: &mut Staging,
    ) -> io::Result<()> {
        if let [slice] = slices
            && slice.as_ptr().align_offset(BLOCK_BYTES) == 0
        {
            return self.write_aligned(offset, slice, flags);
        }
        let aligned = staging.aligned()?;
        let (mut offset, mut filled) = (offset, 0);
        for mut rest in slices.iter().copied() {
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(aligned.len() - filled));
                aligned[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == aligned.len() {
                    self.write_aligned(offset, aligned, flags)?;
                    offset += filled as u64;
                    filled = 0;
                }
            }
        }
        self.write_aligned(offset, &aligned[..filled], flags)
    }

    /// One write of whole blocks out of aligned memory, of fewer octets than one system call takes.
    fn write_aligned(&self, offset: u64, octets: &[u8], flags: ReadWriteFlags) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        let written = loop {
            match rustix::io::pwritev2(&self.descriptor, &[IoSlice::new(octets)], offset, flags) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        if written == octets.len() {
            return Ok(());
        }
        // One block more says why, as in `reason`.
        let start = written.next_multiple_of(BLOCK_BYTES).min(octets.len() - BLOCK_BYTES);
        let block = &octets[start..start + BLOCK_BYTES];
        match rustix::io::pwrite(&self.descriptor, block, offset + start as u64) {
            Ok(_) => Err(short_write()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn write_cached(file: &OwnedFd, mut offset: u64, slices: &[&[u8]]) -> io::Result<()> {
    for (run, bytes) in runs(slices) {
        let vectors: Vec<IoSlice<'_>> = run.iter().map(|slice| IoSlice::new(slice)).collect();
        let written = loop {
            match rustix::io::pwritev(file, &vectors, offset) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        offset += written as u64;
        if written < bytes {
            return Err(reason(file, offset));
        }
    }
    Ok(())
}

/// Why a write was short: one octet more is tried at its end, in a file that is given up anyway. A full disk
/// says so then.
pub(super) fn reason(file: &OwnedFd, offset: u64) -> io::Error {
    match rustix::io::pwrite(file, &[0], offset) {
        Ok(_) => short_write(),
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::outcome::{Outcome, TryAgain};
    use crate::sink::report::outcome_of;
    use std::fs::{self, File};

    /// Whole blocks and others, in slices of odd sizes, more than is staged at once: what is read back is
    /// what was written.
    #[test]
    fn a_write_that_was_short_for_a_moment_is_one_without_space() {
        let file: OwnedFd = tempfile::tempfile().expect("a file").into();
        assert_eq!(outcome_of(&reason(&file, 0)), Outcome::TryAgain(TryAgain::NoSpace));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let octets: Vec<u8> = (0..3 * STAGING_BYTES + 5 * BLOCK_BYTES)
            .map(|at| u8::try_from(at % 251).expect("small"))
            .collect();
        let mut staging = Staging::default();
        for whole_first in [true, false] {
            let file = File::create(&path).expect("a file");
            let mut file = OpenFile::direct_if_whole(file.into());
            let (first, second) = octets.split_at(if whole_first { 2 * BLOCK_BYTES } else { 100 });
            for (offset, part) in [(0, first), (first.len() as u64, second)] {
                let slices: Vec<&[u8]> = part.chunks(1234).collect();
                file.write(offset, &slices, true, &mut staging).expect("written");
                file.sync().expect("synced");
                assert!(!file.unsynced);
            }
            assert!(whole_first || file.way == Way::Cached);
            assert!(fs::read(&path).expect("readable") == octets, "whole first: {whole_first}");
        }
    }

    #[test]
    fn only_a_write_that_is_durable_by_itself_needs_no_sync() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create(folder.path().join("file")).expect("a file");
        let mut file = OpenFile::direct_if_whole(file.into());
        let mut staging = Staging::default();
        let block: &[u8] = &[7; BLOCK_BYTES];
        let mut write = |file: &mut OpenFile, at: u64, synced: bool| {
            file.write(at * BLOCK_BYTES as u64, &[block], synced, &mut staging).expect("written");
        };
        write(&mut file, 0, true);
        assert!(file.unsynced, "what was there before the first sync is not durable with a write");
        file.sync().expect("synced");
        write(&mut file, 1, true);
        assert_eq!(file.unsynced, file.way != Way::Direct);
        file.sync().expect("synced");
        write(&mut file, 2, false);
        assert!(file.unsynced);
        write(&mut file, 3, true);
        assert!(file.unsynced, "a write is durable with itself, not with the one before");
    }

    #[test]
    fn a_file_without_a_name_is_not_safe() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut file = OpenFile::direct_if_whole(File::create(&path).expect("a file").into());
        fs::remove_file(&path).expect("removed");
        file.write(0, &[&[7; BLOCK_BYTES]], true, &mut Staging::default()).expect("written");
        assert_eq!(file.sync().expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    }
}

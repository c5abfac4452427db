//! Spill files: temporary files without a name, which hold mail data that was moved out of memory.
//!
//! A file vanishes with its close, so a message that never ends leaves nothing behind.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::spill_budget::SpillBudget;
use super::spill_error::SpillError;
use crate::mail::client::Client;

/// A temporary file without a name, counted in its budget until it is closed.
#[derive(Debug)]
pub struct SpillFile {
    file: File,
    /// Octets of mail data in it.
    bytes: u64,
    /// CRC-32C of them, computed while they are in cache: a sink that keeps the file need not read it.
    crc32c: u32,
    /// Whose share it is counted in.
    client: Option<Client>,
    budget: Arc<SpillBudget>,
}

impl SpillFile {
    /// Makes one with this function, counted in the share of this client. None: a client that is exempt from
    /// shares.
    pub(super) fn create(
        budget: &Arc<SpillBudget>,
        client: Option<Client>,
        open: impl FnOnce() -> io::Result<File>,
    ) -> Result<Self, SpillError> {
        budget.take_file(client)?;
        let file = open().inspect_err(|_| budget.give_back(client, 0))?;
        Ok(Self { file, bytes: 0, crc32c: 0, client, budget: Arc::clone(budget) })
    }

    /// The file, open to read and write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Octets of mail data in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// CRC-32C of these octets.
    pub fn crc32c(&self) -> u32 {
        self.crc32c
    }

    /// Appends pieces of so many octets. After a failure the file is of no use any more.
    pub(super) fn append<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
        count: u64,
    ) -> Result<(), SpillError> {
        /// Slices of one write (`IOV_MAX`).
        const SLICES_MAX: usize = 1024;
        self.budget.take_bytes(self.client, count)?;
        let mut offset = self.bytes;
        self.bytes += count;
        let crc32c = &mut self.crc32c;
        let pieces = pieces.inspect(|piece| *crc32c = crc32c::crc32c_append(*crc32c, piece));
        let mut slices: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let most = rest.len().min(SLICES_MAX);
            let written = match rustix::io::pwritev(&self.file, &rest[..most], offset) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        assert_eq!(offset, self.bytes, "the pieces are as many octets as was said");
        Ok(())
    }

    /// All octets in it. An error, too, where they are not what was written. The kernel writes the file to
    /// the disk when it likes. Where that fails, it tells whoever syncs the file, and nobody does. After its
    /// pages are gone, a read gives what was on the disk before.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let bytes = usize::try_from(self.bytes).map_err(io::Error::other)?;
        let mut octets = Vec::new();
        octets.try_reserve_exact(bytes).map_err(io::Error::other)?;
        octets.resize(bytes, 0);
        self.file.read_exact_at(&mut octets, 0)?;
        if crc32c::crc32c(&octets) != self.crc32c {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a temporary file does not hold what was written to it: look for errors of its disk",
            ));
        }
        Ok(octets)
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.budget.give_back(self.client, self.bytes);
    }
}

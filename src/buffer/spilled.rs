//! The part of mail data that moved out of memory: into a temporary file without a name (the *spill file*), so that large and
//! slow messages do not add up to more memory than there is.
//!
//! ```text
//!   None ──send_away──► Away ──take_home──► File ──load──► Loaded ──let_go──► Gone
//!     └────forget (a sink that reads nothing)─────────────────────────────────►┘
//! ```
//!
//! The file belongs to exactly one place at a time: to the mail data that is being written out, to the message, or to the list
//! of files to be closed. It vanishes with its close, so a message that never ends leaves nothing behind.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::spill_budget::SpillBudget;
use super::{MailData, Pool};
use crate::limits::{SPILL_BYTES_MAX, SPILL_BYTES_MIN};
use crate::mail::client::Client;

/// Why mail data could not be written out.
#[derive(Debug)]
pub enum SpillError {
    /// The budget for spill files is used up.
    Budget,
    /// The client's share of it is used up.
    Share,
    /// The file system has no room beyond its reserve.
    Space,
    /// The file system failed.
    Machine(io::Error),
}

impl From<io::Error> for SpillError {
    fn from(error: io::Error) -> Self {
        Self::Machine(error)
    }
}

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
    fn create(
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
    fn append<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, count: u64) -> Result<(), SpillError> {
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

    /// An error, too, when it is not what was written. The kernel writes the file to the disk when it likes; where that fails it tells whoever
    /// syncs the file, which nobody does, and what is read once its pages are gone is what was on the disk before.
    fn read(&self) -> io::Result<Vec<u8>> {
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

/// Where the mail data in front of the pieces is.
#[derive(Debug, Default)]
pub(super) enum Prefix {
    /// There is none: all mail data is in the pieces.
    #[default]
    None,
    /// So many octets are being written out.
    Away(u64),
    /// In its file.
    File(SpillFile),
    /// Read back for the sink.
    Loaded(SpillFile, Vec<u8>),
    /// So many octets nobody needs any more.
    Gone(u64),
}

impl Prefix {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Away(bytes) | Self::Gone(bytes) => *bytes,
            Self::File(file) | Self::Loaded(file, _) => file.bytes,
        }
    }

    /// What was read back. Whoever asks for mail data that is not in memory would store it without its beginning.
    pub(super) fn loaded(&self) -> Option<&[u8]> {
        match self {
            Self::None | Self::Gone(_) => None,
            Self::Loaded(_, octets) => Some(octets),
            Self::Away(_) | Self::File(_) => panic!("mail data in a spill file is loaded before it is read"),
        }
    }

    fn into_file(self) -> Option<SpillFile> {
        match self {
            Self::File(file) | Self::Loaded(file, _) => Some(file),
            Self::None | Self::Away(_) | Self::Gone(_) => None,
        }
    }
}

/// Parts that a share is counted in.
const WHOLE: usize = 1024;

impl Pool {
    /// How much memory the mail data of one message may take before it is written out: the less is free, the less.
    ///
    /// The cube keeps messages of ordinary size in memory while there is plenty, and lets hundreds of slow ones settle well below
    /// the point where new ones are refused: 500 of them at 110 KiB each with the default budgets.
    fn spill_threshold(&self) -> usize {
        /// No message takes more than this part of all memory.
        const SHARE: usize = 16;
        let most = (self.memory() / SHARE).min(self.spill_bytes_max);
        let share = self.free_share();
        (most / WHOLE * share / WHOLE * share / WHOLE * share).clamp(SPILL_BYTES_MIN, SPILL_BYTES_MAX)
    }

    /// Whether so much memory is taken that messages under way should get little at a time.
    pub fn is_scarce(&self) -> bool {
        self.free_share() < WHOLE * 5 / 8
    }

    /// All memory for mail data, in octets.
    fn memory(&self) -> usize {
        self.block_bytes_max + (self.arena.buffers - self.low_water) * self.arena.buffer_bytes
    }

    /// The part of it that is free, out of [`WHOLE`].
    fn free_share(&self) -> usize {
        let buffers = (self.arena.buffers - self.pinned).saturating_sub(self.low_water);
        let free = (self.block_bytes_max - self.block_bytes_used) + buffers * self.arena.buffer_bytes;
        free / (self.memory() / WHOLE).max(1)
    }

    /// Lets mail data move out of memory beyond so many octets even while memory is plentiful: for tests.
    pub fn spill_beyond(&mut self, bytes: usize) {
        self.spill_bytes_max = bytes;
    }

    /// Files of messages that came to nothing, to be closed where that stalls nobody.
    pub fn next_abandoned(&mut self) -> Option<SpillFile> {
        self.abandoned.pop()
    }

    /// Puts back a file that could not be given to whoever closes it.
    pub fn keep_abandoned(&mut self, file: SpillFile) {
        self.abandoned.push(file);
    }
}

impl MailData {
    /// Whether so much of it is in memory that it should be written out.
    pub fn is_due(&self, pool: &Pool) -> bool {
        let memory = self.buffers.len() * self.arena.buffer_bytes
            + self.blocks.iter().map(|block| block.size).sum::<usize>();
        // Little mail data is not worth a write, and its first octets are still to be looked at.
        self.bytes >= SPILL_BYTES_MIN as u64 && memory >= pool.spill_threshold()
    }

    /// Octets of it that are in memory.
    pub fn bytes_in_memory(&self) -> u64 {
        self.bytes
    }

    /// Whether a part of it is being written out.
    pub fn is_away(&self) -> bool {
        matches!(self.prefix, Prefix::Away(_))
    }

    /// Gives away what is there to be written out; goes on with what follows.
    #[must_use]
    pub fn send_away(&mut self) -> Self {
        assert!(!self.is_away(), "one part at a time");
        let mut following = Self::new(Arc::clone(&self.arena));
        following.prefix = Prefix::Away(self.bytes());
        std::mem::replace(self, following)
    }

    /// What was sent away could not go: it is here again. Nothing was appended since.
    pub fn come_back(&mut self, away: Self) {
        assert!(self.is_away() && self.bytes == 0);
        *self = away;
    }

    /// Writes the pieces behind what its file holds, on the thread that may wait for disks. `open` makes the first file, which is
    /// counted in the share of `client`. After a failure the file is gone, and with it the message.
    pub fn write_out(
        &mut self,
        budget: &Arc<SpillBudget>,
        client: Option<Client>,
        open: impl FnOnce() -> io::Result<File>,
    ) -> Result<(), SpillError> {
        let mut file = match std::mem::take(&mut self.prefix) {
            Prefix::File(file) => file,
            Prefix::None => SpillFile::create(budget, client, open)?,
            Prefix::Away(_) | Prefix::Loaded(..) | Prefix::Gone(_) => {
                unreachable!("only a shard's own mail data is written out")
            }
        };
        file.append(self.pieces_in_memory(), self.bytes)?;
        self.prefix = Prefix::File(file);
        Ok(())
    }

    /// The part that was away is written out: its memory goes back to the pool, its file in front of what came since.
    pub fn take_home(&mut self, mut written: Self, pool: &mut Pool) {
        assert!(self.is_away() && matches!(written.prefix, Prefix::File(_)));
        self.prefix = std::mem::take(&mut written.prefix);
        written.release(pool);
    }

    /// Drops what is there and only counts it: for a sink that reads nothing.
    pub fn forget(&mut self, pool: &mut Pool) {
        let bytes = self.bytes();
        self.release(pool);
        self.prefix = Prefix::Gone(bytes);
    }

    /// The file that holds its beginning, for a sink that keeps it; none when all of it is in memory.
    pub fn spill_file(&self) -> Option<&SpillFile> {
        match &self.prefix {
            Prefix::File(file) => Some(file),
            Prefix::None | Prefix::Away(_) | Prefix::Loaded(..) | Prefix::Gone(_) => None,
        }
    }

    /// What follows its [`Self::spill_file`].
    pub fn pieces_behind_file(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces_in_memory()
    }

    /// Reads back what is in the file, so that [`MailData::pieces`] gives everything. Tells how many octets.
    pub fn load(&mut self) -> io::Result<u64> {
        let Prefix::File(file) = &self.prefix else { return Ok(0) };
        let octets = file.read()?;
        let count = file.bytes;
        if let Prefix::File(file) = std::mem::take(&mut self.prefix) {
            self.prefix = Prefix::Loaded(file, octets);
        }
        Ok(count)
    }

    /// The message was stored, or never will be: closes its file here and now.
    pub fn let_go(&mut self) {
        if let Prefix::File(file) | Prefix::Loaded(file, _) = &self.prefix {
            self.prefix = Prefix::Gone(file.bytes);
        }
    }

    pub(super) fn release_prefix(&mut self, pool: &mut Pool) {
        if let Some(file) = std::mem::take(&mut self.prefix).into_file() {
            pool.abandoned.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;

    fn temporary() -> io::Result<File> {
        tempfile::tempfile()
    }

    fn append(data: &mut MailData, pool: &mut Pool, octets: &[u8]) {
        data.append_copied(pool, octets).expect("memory");
    }

    #[test]
    fn mail_data_comes_back_octet_for_octet_wherever_it_was() {
        let mut pool = Pool::new(8, 1024, 64 * BLOCK_BYTES).expect("memory");
        let budget = SpillBudget::new(1 << 20, 1);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        let mut sent = Vec::new();
        for turn in 0..9_u8 {
            let octets = vec![turn; 1000 * usize::from(turn) + 1];
            append(&mut data, &mut pool, &octets);
            sent.extend_from_slice(&octets);
            if turn % 3 == 1 {
                let mut away = data.send_away();
                append(&mut data, &mut pool, b"meanwhile");
                sent.extend_from_slice(b"meanwhile");
                assert_eq!(data.bytes(), sent.len() as u64);
                away.write_out(&budget, None, temporary).expect("written");
                data.take_home(away, &mut pool);
            }
        }
        assert_eq!((data.bytes(), budget.files()), (sent.len() as u64, 1));
        let file = data.spill_file().expect("its beginning is in a file");
        let behind = data.pieces_behind_file().collect::<Vec<_>>().concat();
        assert_eq!(file.bytes() + behind.len() as u64, sent.len() as u64);
        assert_eq!(crc32c::crc32c_append(file.crc32c(), &behind), crc32c::crc32c(&sent));
        data.load().expect("read back");
        assert_eq!(data.pieces().collect::<Vec<_>>().concat(), sent);
        data.let_go();
        assert_eq!((data.bytes(), budget.files(), budget.bytes()), (sent.len() as u64, 0, 0));
        data.release(&mut pool);
        assert_eq!((data.bytes(), pool.block_bytes_used()), (0, 0));
    }

    #[test]
    fn the_budget_for_files_and_octets_is_kept_and_given_back() {
        let mut pool = Pool::new(8, 1024, 64 * BLOCK_BYTES).expect("memory");
        let budget = SpillBudget::new(10, 1);
        let mut first = MailData::new(Arc::clone(pool.arena()));
        let mut second = MailData::new(Arc::clone(pool.arena()));
        append(&mut first, &mut pool, b"12345");
        append(&mut second, &mut pool, b"12345");
        first.write_out(&budget, None, temporary).expect("within the budget");
        assert!(matches!(second.write_out(&budget, None, temporary), Err(SpillError::Budget)), "files");
        first.release(&mut pool);
        while pool.next_abandoned().is_some() {}
        assert_eq!((budget.files(), budget.bytes()), (0, 0));
        append(&mut second, &mut pool, b"123456");
        assert!(matches!(second.write_out(&budget, None, temporary), Err(SpillError::Budget)), "octets");
        assert_eq!((budget.files(), budget.bytes()), (0, 0));
        second.release(&mut pool);
    }

    #[test]
    fn the_threshold_falls_with_what_is_free() {
        let mut pool = Pool::new(2048, 16 * 1024, 64 << 20).expect("memory");
        assert!(pool.spill_threshold() >= 4 << 20, "{}", pool.spill_threshold());
        let mut data = MailData::new(Arc::clone(pool.arena()));
        append(&mut data, &mut pool, &vec![0; 25 << 20]);
        assert!(pool.spill_threshold() > 1 << 20, "25 messages of 1 MiB are no reason to spill");
        append(&mut data, &mut pool, &vec![0; 30 << 20]);
        assert!(pool.spill_threshold() < 140 << 10, "{}", pool.spill_threshold());
        append(&mut data, &mut pool, &vec![0; (9 << 20) - BLOCK_BYTES]);
        assert!(pool.spill_threshold() < 64 << 10, "{}", pool.spill_threshold());
        data.release(&mut pool);
    }
}

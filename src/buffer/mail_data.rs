//! The mail data of one transaction, in memory and out of it.
//!
//! Its octets are read through [`Whole`] or [`Spilled`] only. There is neither of them for mail data whose
//! beginning is away or gone, so nobody can store the rest as if it were all.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::arena::{Arena, BufferId};
use super::blocks::NoMemory;
use super::pieces::Pieces;
use super::pool::Pool;
use super::prefix::{NotWhole, Prefix};
use super::spill_budget::SpillBudget;
use super::spill_error::SpillError;
use super::spill_file::SpillFile;
use crate::limits::SPILL_BYTES_MIN;
use crate::mail::client::Client;

/// The mail data of one transaction in the order in which it was received, transparency removed.
#[derive(Debug)]
pub struct MailData {
    /// What comes before the pieces and left memory once.
    prefix: Prefix,
    pieces: Pieces,
}

impl MailData {
    /// No mail data yet.
    pub fn new(arena: Arc<Arena>) -> Self {
        Self { prefix: Prefix::None, pieces: Pieces::new(arena) }
    }

    /// Octets so far.
    pub fn bytes(&self) -> u64 {
        self.prefix.bytes() + self.pieces.bytes()
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Octets of it that are in memory and were not away yet.
    pub fn bytes_in_memory(&self) -> u64 {
        self.pieces.bytes()
    }

    /// Appends a range of a receive buffer that the caller holds, of which the receive filled `filled`
    /// octets.
    ///
    /// The range is borrowed where that is cheap for everybody: not when the receive filled little of its
    /// buffer, not beyond [`HELD_BUFFERS_MAX`](crate::limits::HELD_BUFFERS_MAX), and not when the pool runs
    /// low. Then its octets are copied.
    pub fn append(
        &mut self,
        pool: &mut Pool,
        id: BufferId,
        range: Range<usize>,
        filled: usize,
    ) -> Result<(), NoMemory> {
        self.pieces.append(pool, id, range, filled)
    }

    /// Appends octets that lie in no receive buffer: inserted line ends, TLS plaintext.
    pub fn append_copied(&mut self, pool: &mut Pool, bytes: &[u8]) -> Result<(), NoMemory> {
        self.pieces.append_copied(pool, bytes)
    }

    /// Puts these octets in place of its first ones, which have not left memory. After a failure it holds
    /// neither.
    pub fn replace_beginning(&mut self, count: usize, by: &[u8], pool: &mut Pool) -> Result<(), NoMemory> {
        assert!(self.whole().is_ok(), "its beginning is in memory");
        self.pieces.replace_beginning(count, by, pool)
    }

    /// All of it, to be read in memory. Refused where its beginning is not there: what was written out must
    /// have been loaded.
    pub fn whole(&self) -> Result<Whole<'_>, NotWhole> {
        Ok(Whole { beginning: self.prefix.in_memory()?, pieces: &self.pieces })
    }

    /// All of it, to be taken over with its spill file. None where no file holds its beginning.
    pub fn spilled(&self) -> Option<Spilled<'_>> {
        Some(Spilled { file: self.spill_file()?, rest: &self.pieces })
    }

    /// The file that holds its beginning. None where there is none, and once its octets were loaded.
    pub fn spill_file(&self) -> Option<&SpillFile> {
        match &self.prefix {
            Prefix::File(file) => Some(file),
            Prefix::None | Prefix::Away(_) | Prefix::Loaded(..) | Prefix::Gone(_) => None,
        }
    }

    /// Gives all memory back to the pool it came from; the mail data is empty then.
    pub fn release(&mut self, pool: &mut Pool) {
        self.pieces.release(pool);
        if let Some(file) = std::mem::take(&mut self.prefix).into_file() {
            pool.keep_abandoned(file);
        }
    }

    /// Whether so much of it is in memory that it should be written out.
    pub fn is_due(&self, pool: &Pool) -> bool {
        // Little mail data is not worth a write, and its first octets are still to be looked at.
        self.pieces.bytes() >= SPILL_BYTES_MIN as u64 && self.pieces.memory() >= pool.spill_threshold()
    }

    /// Whether a part of it is being written out.
    pub fn is_away(&self) -> bool {
        matches!(self.prefix, Prefix::Away(_))
    }

    /// Gives away what is there as a part to be written out, and goes on with what follows.
    #[must_use]
    pub fn send_away(&mut self) -> Self {
        assert!(!self.is_away(), "one part at a time");
        let mut following = Self::new(Arc::clone(self.pieces.arena()));
        following.prefix = Prefix::Away(self.bytes());
        std::mem::replace(self, following)
    }

    /// What was sent away could not go: it is here again. Nothing was appended since.
    pub fn come_back(&mut self, away: Self) {
        assert!(self.is_away() && self.pieces.bytes() == 0);
        *self = away;
    }

    /// Appends the pieces to its spill file, on the thread that may wait for disks. `open` makes the file for
    /// the first part; it is counted in the share of `client`. After a failure the file is gone, and with it
    /// the message.
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
        file.append(self.pieces.iter(), self.pieces.bytes())?;
        self.prefix = Prefix::File(file);
        Ok(())
    }

    /// The part that was away is written out: its memory goes back to the pool, and its file comes before
    /// what was received since.
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

    /// Reads back what is in the file, so that [`Self::whole`] gives everything. Tells how many octets.
    pub fn load(&mut self) -> io::Result<u64> {
        let Prefix::File(file) = &self.prefix else { return Ok(0) };
        let octets = file.read()?;
        let count = file.bytes();
        if let Prefix::File(file) = std::mem::take(&mut self.prefix) {
            self.prefix = Prefix::Loaded(file, octets);
        }
        Ok(count)
    }

    /// The message was stored, or never will be: closes its file here and now.
    pub fn let_go(&mut self) {
        if let Prefix::File(file) | Prefix::Loaded(file, _) = &self.prefix {
            self.prefix = Prefix::Gone(file.bytes());
        }
    }
}

/// Mail data that is in memory from its first octet to its last.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// What was read back from a spill file.
    beginning: Option<&'a [u8]>,
    pieces: &'a Pieces,
}

impl<'a> Whole<'a> {
    /// Its octets in order.
    pub fn pieces(self) -> impl Iterator<Item = &'a [u8]> {
        self.beginning.into_iter().chain(self.pieces.iter())
    }

    /// How many octets.
    pub fn bytes(self) -> u64 {
        self.beginning.map_or(0, |octets| octets.len() as u64) + self.pieces.bytes()
    }
}

/// Mail data that begins in a spill file and goes on in memory.
#[derive(Debug, Clone, Copy)]
pub struct Spilled<'a> {
    file: &'a SpillFile,
    rest: &'a Pieces,
}

impl<'a> Spilled<'a> {
    /// The file with its beginning.
    pub fn file(self) -> &'a SpillFile {
        self.file
    }

    /// What follows the octets in the file.
    pub fn rest(self) -> impl Iterator<Item = &'a [u8]> {
        self.rest.iter()
    }

    /// How many octets all of it is.
    pub fn bytes(self) -> u64 {
        self.file.bytes() + self.rest.bytes()
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
        let spilled = data.spilled().expect("its beginning is in a file");
        let rest = spilled.rest().collect::<Vec<_>>().concat();
        assert_eq!(
            (spilled.file().bytes() + rest.len() as u64, spilled.bytes()),
            (data.bytes(), data.bytes())
        );
        assert_eq!(crc32c::crc32c_append(spilled.file().crc32c(), &rest), crc32c::crc32c(&sent));
        data.load().expect("read back");
        let whole = data.whole().expect("in memory");
        assert_eq!(
            (whole.pieces().collect::<Vec<_>>().concat(), whole.bytes()),
            (sent.clone(), sent.len() as u64)
        );
        data.let_go();
        assert_eq!((data.bytes(), budget.files(), budget.bytes()), (sent.len() as u64, 0, 0));
        data.release(&mut pool);
        assert_eq!((data.bytes(), pool.block_bytes_used()), (0, 0));
    }

    /// What is in memory is the rest of a message then, and must not pass for all of it.
    #[test]
    fn mail_data_without_its_beginning_cannot_be_read() {
        let mut pool = Pool::new(8, 1024, 64 * BLOCK_BYTES).expect("memory");
        let budget = SpillBudget::new(1 << 20, 1);
        let mut data = MailData::new(Arc::clone(pool.arena()));
        append(&mut data, &mut pool, b"beginning");
        assert!(data.whole().is_ok() && data.spilled().is_none());
        let mut away = data.send_away();
        append(&mut data, &mut pool, b"rest");
        assert_eq!(data.whole().err(), Some(NotWhole::Away));
        assert!(data.spilled().is_none());
        away.write_out(&budget, None, temporary).expect("written");
        data.take_home(away, &mut pool);
        assert_eq!(data.whole().err(), Some(NotWhole::InFile));
        assert_eq!(data.spilled().map(Spilled::bytes), Some(13));
        data.let_go();
        assert_eq!(data.whole().err(), Some(NotWhole::Gone));
        assert!(data.spilled().is_none());
        data.release(&mut pool);
        append(&mut data, &mut pool, b"counted");
        data.forget(&mut pool);
        append(&mut data, &mut pool, b"rest");
        assert_eq!((data.whole().err(), data.bytes()), (Some(NotWhole::Gone), 11));
        data.release(&mut pool);
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

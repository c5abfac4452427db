//! The octets of a message, portion by portion, wherever they are.

use std::io;
use std::os::unix::fs::FileExt as _;

use crate::buffer::MailData;

/// Octets of a portion. A spill file is read in portions of this: as a rule from the page cache, and else
/// from a disk that only this station waits for.
pub(super) const PORTION_BYTES: usize = 64 * 1024;

/// How far the reading of mail data is.
pub(super) struct Content<'a> {
    data: &'a MailData,
    /// Octets of its spill file that were read.
    of_file: u64,
    /// Pieces of memory that were read whole, and octets of the next one.
    pieces: usize,
    octets: usize,
}

impl<'a> Content<'a> {
    /// At the beginning.
    pub(super) fn new(data: &'a MailData) -> Self {
        Self { data, of_file: 0, pieces: 0, octets: 0 }
    }

    /// Appends the next portion; false when there is none left. At the end of all of them as many octets have
    /// come as the mail data has. What a spill file holds is not checked here: whoever stores the message
    /// does that.
    pub(super) fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(spilled) = self.data.spilled() {
            let file = spilled.file();
            let left = usize::try_from(file.bytes() - self.of_file).unwrap_or(usize::MAX).min(PORTION_BYTES);
            if left > 0 {
                let start = into.len();
                into.resize(start + left, 0);
                let (_, portion) = into.split_at_mut(start);
                file.file().read_exact_at(portion, self.of_file)?;
                self.of_file += left as u64;
                return Ok(true);
            }
            return Ok(self.take(spilled.rest(), into));
        }
        let whole = self.data.whole().map_err(|_| io::Error::other("its mail data cannot be read"))?;
        Ok(self.take(whole.pieces(), into))
    }

    fn take<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>, into: &mut Vec<u8>) -> bool {
        let mut room = PORTION_BYTES;
        for piece in pieces.skip(self.pieces) {
            let rest = piece.get(self.octets..).unwrap_or_default();
            let (taken, left) = rest.split_at(rest.len().min(room));
            into.extend_from_slice(taken);
            room -= taken.len();
            if !left.is_empty() {
                self.octets += taken.len();
                return true;
            }
            self.pieces += 1;
            self.octets = 0;
        }
        room < PORTION_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffer::{Pool, SpillBudget};
    use crate::limits::BLOCK_BYTES;

    #[test]
    fn all_octets_come_once_wherever_they_are() {
        let mut pool = Pool::new(8, 1024, 64 * BLOCK_BYTES).expect("memory");
        let budget = SpillBudget::new(1 << 20, 1);
        for (in_file, after) in
            [(0, 0), (0, 1), (0, 200_000), (1, 0), (100_000, 1), (2 * PORTION_BYTES, 0), (70_000, 70_000)]
        {
            let mut data = MailData::new(Arc::clone(pool.arena()));
            let octets = |count: usize| (0..=250_u8).cycle().take(count).collect::<Vec<_>>();
            let (first, second) = (octets(in_file), octets(after));
            if in_file > 0 {
                data.append_copied(&mut pool, &first).expect("memory");
                let mut away = data.send_away();
                away.write_out(&budget, None, tempfile::tempfile).expect("written");
                data.take_home(away, &mut pool);
            }
            for part in second.chunks(7777) {
                data.append_copied(&mut pool, part).expect("memory");
            }
            let (mut content, mut read, mut portion) = (Content::new(&data), Vec::new(), Vec::new());
            while content.read(&mut portion).expect("it can be read") {
                assert!(!portion.is_empty() && portion.len() <= PORTION_BYTES);
                read.append(&mut portion);
            }
            assert_eq!(read, [first, second].concat(), "{in_file} and {after}");
            data.release(&mut pool);
            while pool.next_abandoned().is_some() {}
        }
    }
}

//! The segment that the writer appends to.

use std::rc::Rc;

use super::format::SegmentHeader;
use super::message_file::message_file_name;
use crate::sink::plan::FilePath;

/// The segment that is written.
pub(super) struct OpenSegment {
    /// Its file, open for the executor.
    pub(super) file: Rc<FilePath>,
    /// Its header, which is durable.
    pub(super) header: SegmentHeader,
    /// Where the next batch begins, a multiple of [`BATCH_BYTES`]: all before it is durable.
    /// `end <= header.bytes`
    pub(super) end: u64,
}

impl OpenSegment {
    /// The file of the record that begins here.
    pub(super) fn message_file(&self, offset: u64) -> Rc<FilePath> {
        let directory = Rc::clone(&self.file.directory);
        Rc::new(FilePath { directory, name: message_file_name(self.header.sequence, offset) })
    }

    /// Octets that still fit.
    pub(super) fn room(&self) -> u64 {
        self.header.bytes - self.end
    }
}

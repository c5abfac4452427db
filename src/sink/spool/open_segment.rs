//! The segment that the writer appends to.

use std::rc::Rc;

use super::format::SegmentHeader;
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
    /// Octets that still fit.
    pub(super) fn room(&self) -> u64 {
        self.header.bytes - self.end
    }
}

//! How a spool is written.

use std::os::fd::OwnedFd;

use crate::sink::executor::blocking::Blocking;

/// How a spool is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::sink) struct Options {
    /// Octets of a segment.
    pub(in crate::sink) segment_bytes: u64,
    /// Whether batches go past the page cache where that is known to be safe.
    pub(in crate::sink) direct_writes: bool,
}

impl Options {
    /// An executor for the files in this root.
    pub(super) fn executor(self, root: OwnedFd) -> Blocking {
        if self.direct_writes { Blocking::with_direct_writes(root) } else { Blocking::new(root) }
    }
}

//! `kind = "spool"`: append-only segments for a consumer.

use std::path::{Path, PathBuf};

use super::facts::SinkFacts;
use crate::config::section::Section;
use crate::config::units::{GIB, MIB};

/// Append-only segments below `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// The root.
    pub path: PathBuf,
    /// Octets of a segment.
    pub segment_bytes: u64,
    /// Whether batches go past the page cache where that is known to be safe.
    pub direct_writes: bool,
}

/// The keys that no other kind has.
pub(super) const KEYS: &[&str] = &["segment_size", "direct_writes"];

/// Reads them.
pub(super) fn read(section: &mut Section<'_>, path: PathBuf) -> Spool {
    Spool {
        path,
        segment_bytes: section.size(
            "segment_size",
            64 * MIB,
            MIB..=4 * GIB,
            "Spool: octets of one segment file.",
        ),
        direct_writes: section.boolean(
            "direct_writes",
            true,
            "Spool: batches go to the disk past the page cache where that is known to be safe (ext4, XFS).",
        ),
    }
}

impl SinkFacts for Spool {
    fn summary(&self) -> String {
        format!("spool at {}", self.path.display())
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.path)
    }

    /// A spool has one writer: two would have segments of their own and mix the order.
    fn workers(&self, _configured: usize) -> usize {
        1
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(self.segment_bytes)
    }

    fn writes_directly(&self) -> bool {
        self.direct_writes
    }
}

//! How full a spool is and whether anything consumes it, in one line for the operator.

use std::fs;
use std::io;
use std::path::Path;

use super::cursor::{self, Cursor};
use super::format::PREPARED_SUFFIX;
use super::supply::{Used, used_before};

/// What a spool holds.
pub(super) struct Fill {
    /// Oldest first.
    pub(super) segments: Vec<Used>,
    /// Octets of large messages, by the number of the segment that they belong to.
    large: Vec<(u64, u64)>,
    /// Octets of segments and large messages.
    pub(super) bytes: u64,
    /// Octets of files that wait for their next use as a segment.
    pub(super) prepared_bytes: u64,
    /// Octets that are free on its file system.
    pub(super) free_bytes: u64,
}

impl Fill {
    /// Octets from the segment of this cursor on; of all, where there is none.
    pub(super) fn bytes_from(&self, cursor: Option<Cursor>) -> u64 {
        let first = cursor.map_or(0, |cursor| cursor.sequence);
        let segments = self.segments.iter().map(|segment| (segment.sequence, segment.bytes));
        let all = segments.chain(self.large.iter().copied());
        all.filter(|(sequence, _)| *sequence >= first).map(|(_, bytes)| bytes).sum()
    }
}

/// Measures a spool.
pub(super) fn measure(directory: &Path) -> io::Result<Fill> {
    let segments = used_before(directory, u64::MAX)?;
    let mut large = Vec::new();
    for segment in &segments {
        // One that was recycled meanwhile takes no space any more.
        let files = segment.messages.iter().filter_map(|name| fs::metadata(directory.join(name)).ok());
        large.push((segment.sequence, files.map(|facts| facts.len()).sum()));
    }
    let disk = rustix::fs::statvfs(directory)?;
    Ok(Fill {
        bytes: segments
            .iter()
            .map(|segment| segment.bytes)
            .chain(large.iter().map(|(_, bytes)| *bytes))
            .sum(),
        prepared_bytes: prepared_bytes(directory)?,
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        segments,
        large,
    })
}

/// A line on a spool that holds segments. None when it holds none.
pub(super) fn describe(directory: &Path) -> io::Result<Option<String>> {
    let Fill { segments, bytes, prepared_bytes: prepared, free_bytes: free, .. } = measure(directory)?;
    if segments.is_empty() {
        return Ok(None);
    }
    let consumed = match cursor::read_consumed(directory) {
        Ok(Some(cursor)) => {
            let waiting = segments.iter().filter(|segment| segment.sequence >= cursor.sequence).count();
            format!("consumed through {cursor}, {waiting} segments from there on")
        }
        Ok(None) => "no consumer says what it consumed: it will fill up; see `ringmx spool prune`".to_owned(),
        Err(error) => format!("what was consumed cannot be read, so nothing is recycled: {error}"),
    };
    let count = segments.len();
    Ok(Some(format!(
        "the spool holds {count} segments, {} MiB, and {} MiB for later ones; {} MiB are free on its file system; {consumed}",
        bytes >> 20,
        prepared >> 20,
        free >> 20
    )))
}

/// Octets of files that wait for their next use as a segment.
fn prepared_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().ends_with(PREPARED_SUFFIX.as_bytes()) {
            // One that was used meanwhile is a segment, which the next line counts.
            bytes += entry.metadata().map_or(0, |facts| facts.len());
        }
    }
    Ok(bytes)
}

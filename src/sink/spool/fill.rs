//! How full a spool is and whether anything consumes it, in one line for the operator.

use std::fs;
use std::io;
use std::path::Path;

use super::cursor;
use super::format::PREPARED_SUFFIX;
use super::supply::used_before;

/// A line on a spool that holds segments. None when it holds none.
pub(super) fn describe(directory: &Path) -> io::Result<Option<String>> {
    let segments = used_before(directory, u64::MAX)?;
    if segments.is_empty() {
        return Ok(None);
    }
    let names = segments.iter().flat_map(|segment| &segment.messages);
    // One that was recycled meanwhile takes no space any more.
    let large = names.filter_map(|name| fs::metadata(directory.join(name)).ok()).map(|facts| facts.len());
    let bytes = segments.iter().map(|segment| segment.bytes).chain(large).sum::<u64>();
    let prepared = prepared_bytes(directory)?;
    let disk = rustix::fs::statvfs(directory)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
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

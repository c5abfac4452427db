//! Tells the receiver what was consumed. Removes nothing: only the receiver recycles segments.

use std::fs::File;
use std::io;
use std::path::Path;

use super::cursor::{Cursor, write_consumed};
use super::reader::{self, Notes};
use crate::sink::file_system::{Named, sync_directory};
use crate::sink::optional;

/// What is consumed now and was not before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Messages.
    pub records: u64,
    /// Segments that the receiver may recycle: all in them is consumed, and a later one exists.
    pub segments: u64,
}

/// Marks every record up to this one as consumed. Durable when it returns. An error of kind `InvalidInput`
/// when the cursor is that of no record, or before what was consumed already.
pub fn prune(directory: &Path, through: Cursor) -> io::Result<Pruned> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    // Of two prunes at once the second one waits, and finds what the first one wrote. The lock leaves no file
    // behind.
    let lock = File::open(directory).named(directory)?;
    optional::lock_directory(&lock, true).named(directory)?;
    let consumed = reader::last_consumed(directory)?;
    if let Some(consumed) = consumed
        && through < consumed
    {
        return refused(format!("{through} lies before {consumed}, which is consumed already"));
    }
    if !reader::holds_record(directory, through)? {
        return refused(format!("no record begins at {through}; `ringmx spool list` shows the cursors"));
    }
    if consumed == Some(through) {
        // Whoever wrote it may have failed to make it durable.
        sync_directory(directory)?;
        return Ok(Pruned::default());
    }
    let mut pruned = Pruned::default();
    let from = consumed.map_or(0, |consumed| consumed.sequence);
    reader::for_each_segment(directory, from, &mut Notes::default(), |segment| {
        if segment.scan().segment.sequence > through.sequence {
            return Ok(false);
        }
        pruned.segments += u64::from(segment.scan().segment.sequence < through.sequence);
        let cursors = segment.scan().records.iter().map(|record| segment.cursor(record));
        pruned.records +=
            cursors.filter(|cursor| Some(*cursor) > consumed && *cursor <= through).count() as u64;
        Ok(true)
    })?;
    write_consumed(directory, through)?;
    Ok(pruned)
}

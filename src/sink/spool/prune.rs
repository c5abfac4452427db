//! Tells the receiver what was consumed. Removes nothing: only the receiver recycles segments.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::cursor::{Cursor, read_consumed, write_consumed};
use super::reader::{self, Notes, Segment};

/// What is consumed now and was not before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Messages.
    pub records: u64,
    /// Segments that the receiver may recycle: all in them is consumed, and a later one exists.
    pub segments: u64,
}

/// Marks every record up to this one as consumed. Durable when it returns. An error of kind `InvalidInput` when the cursor is that
/// of no record, or before what was consumed already.
pub fn prune(directory: &Path, through: Cursor) -> io::Result<Pruned> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    // Of two prunes at once the second one waits, and finds what the first one wrote. The lock leaves no file behind.
    let lock = File::open(directory)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let consumed = read_consumed(directory)?;
    if let Some(consumed) = consumed
        && through <= consumed
    {
        if through == consumed {
            return Ok(Pruned::default());
        }
        return refused(format!("{through} lies before {consumed}, which is consumed already"));
    }
    if !names_a_record(directory, through)? {
        return refused(format!("no record begins at {through}; `ringmx spool list` shows the cursors"));
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

fn names_a_record(directory: &Path, cursor: Cursor) -> io::Result<bool> {
    match Segment::open(&directory.join(cursor.segment_name())) {
        Ok(Ok(segment)) => Ok(segment.scan().records.iter().any(|record| record.offset == cursor.offset)),
        Ok(Err(_)) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

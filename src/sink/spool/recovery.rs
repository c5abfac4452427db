//! What a start has to know of a spool: the newest segments are read, and where to go on follows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cursor;
use super::format;
use super::reader::{Segment, segments};

/// Segments that are read at start. Older ones were read by the starts before.
const RECOVER_SEGMENTS_MAX: usize = 8;

/// What was found at start.
pub(super) struct Recovered {
    /// The number of the segment to begin with: whatever was written last, it is not appended to.
    pub(super) next_sequence: u64,
    /// From where on nothing was ever written to a segment, by its number; only of segments for which that is
    /// certain.
    pub(super) unused_from: BTreeMap<u64, u64>,
    /// For the operator.
    pub(super) notes: Vec<String>,
}

/// Reads the newest segments and removes the ones that never came into use. Called with the lock held.
pub(super) fn recover(directory: &Path) -> io::Result<Recovered> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(format::PREPARED_SUFFIX)) {
            fs::remove_file(entry.path())?;
        }
    }
    let segments = segments(directory)?;
    let older = segments.len().saturating_sub(RECOVER_SEGMENTS_MAX);
    let mut records = 0;
    let mut unused_from = BTreeMap::new();
    for (sequence, path) in &segments[older..] {
        match Segment::open(path)? {
            Ok(segment) => {
                records += segment.scan().records.len();
                unused_from.extend(segment.unused_from().map(|unused| (*sequence, unused)));
                notes.extend(segment.notes());
            }
            Err(note) => notes.push(note),
        }
    }
    if !segments.is_empty() {
        let read = segments.len() - older;
        notes.insert(0, format!("{records} messages in the newest {read} of {} segments", segments.len()));
    }
    Ok(Recovered { next_sequence: next_sequence(directory, &segments)?, unused_from, notes })
}

/// After everything that was ever written: a number below the cursor of the last consumed record would be
/// taken for consumed.
fn next_sequence(directory: &Path, segments: &[(u64, PathBuf)]) -> io::Result<u64> {
    /// Nobody writes so many segments: a number beyond is a slip, and must not use the numbers up.
    const SEQUENCE_MAX: u64 = u64::MAX >> 1;
    let newest = segments.last().map(|(sequence, _)| *sequence);
    let consumed = match cursor::read_consumed(directory) {
        // The segment that a cursor of a record names is never removed, so the newest one is not before it.
        Ok(Some(cursor)) if newest.is_some() && cursor.sequence >= SEQUENCE_MAX => None,
        Ok(consumed) => consumed.map(|cursor| cursor.sequence),
        Err(_) if newest.is_some() => None,
        Err(error) => return Err(error),
    };
    match newest.max(consumed) {
        None => Ok(1),
        Some(last) if last < SEQUENCE_MAX => Ok(last + 1),
        Some(last) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{last:016x}, in `{}` or in the name of a segment, is no number that ringmx gives",
                directory.join(cursor::CONSUMED).display()
            ),
        )),
    }
}

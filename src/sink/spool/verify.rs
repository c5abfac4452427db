//! Checks every octet of a spool that a checksum covers.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::reader::{self, Notes};
use super::scan::GapKind;
use crate::sink::file_system::Named;

/// What was found in a spool.
#[derive(Debug, Default)]
pub struct Summary {
    /// Segments that could be read.
    pub segments: u64,
    /// Whole records.
    pub records: u64,
    /// Octets of their contents.
    pub bytes: u64,
    /// Writes that did not end.
    pub torn: u64,
    /// Files of messages that no record names: their record was never written, or is damaged.
    pub unnamed_files: u64,
    /// What is wrong, and where.
    pub notes: Notes,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, records, bytes, torn, unnamed_files, notes } = self;
        write!(
            f,
            "{segments} segments, {records} records, {bytes} octets of content, {torn} torn writes, {unnamed_files} files without a record, {} damages",
            notes.problems
        )
    }
}

/// Reads all of a spool. An error only where nothing can be said: the directory or a file cannot be read.
pub fn verify(directory: &Path) -> io::Result<Summary> {
    let mut found = Summary::default();
    let mut notes = Notes::default();
    let files = message_files(directory)?;
    let (mut unreadable, mut named) = (Vec::new(), 0);
    reader::for_each_segment(directory, 0, &mut notes, |segment| {
        found.segments += 1;
        found.torn += segment.scan().gaps.iter().filter(|gap| gap.kind == GapKind::Torn).count() as u64;
        for record in &segment.scan().records {
            found.records += 1;
            let checked = segment.envelope(record).and_then(|envelope| {
                named += u64::from(envelope.file.is_some());
                found.bytes += reader::content_bytes(record, &envelope);
                segment.copy_content(record, &envelope, &mut io::sink())
            });
            match checked {
                Ok(()) => {}
                // Recycled by the receiver while it was read: consumed, so nobody misses it.
                Err(_) if !segment.is_current()? || is_consumed(directory, segment) => break,
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        Ok(true)
    })?;
    for line in unreadable {
        notes.problem(line);
    }
    found.unnamed_files = files.saturating_sub(named);
    Ok(Summary { notes, ..found })
}

/// Whether the receiver may be about to recycle a segment: the files of its large messages go first.
fn is_consumed(directory: &Path, segment: &reader::Segment) -> bool {
    let consumed = reader::last_consumed(directory).ok().flatten();
    consumed.is_some_and(|consumed| segment.scan().segment.sequence < consumed.sequence)
}

fn message_files(directory: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(directory).named(directory)? {
        let entry = entry.named(directory)?;
        count += u64::from(entry.file_name().to_str().is_some_and(|name| name.ends_with(".message")));
    }
    Ok(count)
}

//! Reads a spool, also beside a receiver that writes it: takes no lock, changes nothing.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cursor;
use super::envelope::{self, StoredEnvelope};
use super::format::{self, RecordHeader, body_checksum};
use super::scan::{Gap, GapKind, NoSegment, Scan, Window, scan};
use crate::escape::Word;
use crate::handoff::message::QueueId;
use crate::timestamp::Rfc3339;

/// Segments that are read at start. Older ones were read by the starts before.
const RECOVER_SEGMENTS_MAX: usize = 8;

/// A segment that is written while it is read is read again until two readings agree, at most so often.
const READINGS_MAX: usize = 4;

/// A segment of a spool, open and scanned.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    file: File,
    scan: Scan,
}

impl Segment {
    /// Opens and scans a segment. None when the file is none; the note says why.
    fn open(path: &Path) -> io::Result<Result<Self, String>> {
        let file = File::open(path)?;
        let mut last = scan(&file)?;
        for _ in 1..READINGS_MAX {
            // Where nothing is wrong there is nothing that a write under way could have feigned.
            if last.as_ref().is_ok_and(|scan| scan.gaps.is_empty()) {
                break;
            }
            let again = scan(&file)?;
            let agrees = again == last;
            last = again;
            if agrees {
                break;
            }
        }
        let path = path.to_owned();
        Ok(match last {
            Ok(scan) => Ok(Self { path, file, scan }),
            Err(NoSegment::Damaged) => {
                Err(format!("{}: the header of the segment is damaged; it was not read", path.display()))
            }
            Err(NoSegment::Version(version)) => {
                Err(format!("{}: written by another version of ringmx (format {version})", path.display()))
            }
        })
    }

    /// What was found in it.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The envelope of one of its records. An error when it changed since the scan, or a newer ringmx wrote it.
    pub fn envelope(&self, record: &RecordHeader) -> io::Result<StoredEnvelope> {
        // The scan verified this length with the record's checksums.
        let mut octets = vec![0; usize::try_from(record.envelope_bytes).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut octets, record.envelope_start())?;
        envelope::decode(&octets).map_err(|_| self.error(record, "a newer ringmx wrote its envelope"))
    }

    /// Writes the content of one of its records: our trace information and the mail data, octet for octet. An error when
    /// the checksum is wrong, but what was written is written.
    pub fn copy_content(&self, record: &RecordHeader, out: &mut impl Write) -> io::Result<()> {
        let mut crc = body_checksum(self.scan.segment.salt);
        let mut window = Window::new(&self.file);
        window.walk(record.envelope_start(), record.content_start(), |part| {
            crc = crc32c::crc32c_append(crc, part);
        })?;
        let mut written = Ok(());
        let end = record.content_start() + record.content_bytes;
        window.walk(record.content_start(), end, |part| {
            crc = crc32c::crc32c_append(crc, part);
            if written.is_ok() {
                written = out.write_all(part);
            }
        })?;
        written?;
        if crc == record.body_crc { Ok(()) } else { Err(self.error(record, "it changed while it was read")) }
    }

    fn error(&self, record: &RecordHeader, what: &str) -> io::Error {
        let text = format!("{}: record at {}: {what}", self.path.display(), record.offset);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    fn notes(&self) -> impl Iterator<Item = String> + '_ {
        self.scan.gaps.iter().map(|Gap { from, to, kind }| {
            let path = self.path.display();
            match kind {
                GapKind::Damage => format!(
                    "{path}: DAMAGE from octet {from} to {to}: accepted messages there cannot be read; they are kept and skipped"
                ),
                GapKind::Torn => format!(
                    "{path}: a write did not end, from octet {from} to {to}: no 250 was sent for it"
                ),
            }
        })
    }
}

/// The segments of a spool by number, oldest first.
pub fn segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(sequence) = entry.file_name().to_str().and_then(format::segment_sequence) {
            segments.push((sequence, entry.path()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Opens one segment after the other, oldest first, and tells what is wrong with them. `visit` ends the walk with false.
pub fn for_each_segment(
    directory: &Path,
    notes: &mut Vec<String>,
    mut visit: impl FnMut(&Segment) -> io::Result<bool>,
) -> io::Result<()> {
    for (_, path) in segments(directory)? {
        match Segment::open(&path) {
            Ok(Ok(segment)) => {
                notes.extend(segment.notes());
                if !visit(&segment)? {
                    break;
                }
            }
            Ok(Err(note)) => notes.push(note),
            // Pruned since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes one line a message: id, time, octets of content, reverse-path, recipients, state; separated by spaces, everything
/// that a client sent escaped. Returns notes on what could not be read.
pub fn list(directory: &Path, out: &mut impl Write) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut unreadable = Vec::new();
    for_each_segment(directory, &mut notes, |segment| {
        for record in &segment.scan.records {
            match segment.envelope(record) {
                Ok(envelope) => out.write_all(line(&envelope, record).as_bytes())?,
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        Ok(true)
    })?;
    notes.append(&mut unreadable);
    Ok(notes)
}

fn line(envelope: &StoredEnvelope, record: &RecordHeader) -> String {
    let time = Rfc3339(envelope.received_at);
    let mut line =
        format!("{} {time} {} <{}>", envelope.id, record.content_bytes, Word(&envelope.reverse_path));
    for (index, recipient) in envelope.recipients.iter().enumerate() {
        let before = if index == 0 { ' ' } else { ',' };
        // Writing to a String does not fail.
        let _ = write!(line, "{before}<{}>", Word(recipient));
    }
    line.push_str(" stored\n");
    line
}

/// Writes a stored message with its trace information, octet for octet; false when the spool does not hold it.
pub fn show(directory: &Path, id: QueueId, out: &mut impl Write) -> io::Result<bool> {
    let mut shown = false;
    for_each_segment(directory, &mut Vec::new(), |segment| {
        for record in &segment.scan.records {
            // An envelope that cannot be read is another message's.
            if segment.envelope(record).is_ok_and(|envelope| envelope.id == id) {
                segment.copy_content(record, out)?;
                shown = true;
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(shown)
}

/// What was found at start.
pub(super) struct Recovered {
    /// The number of the segment to begin with: whatever was written last, it is not appended to.
    pub(super) next_sequence: u64,
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
    for (_, path) in &segments[older..] {
        match Segment::open(path)? {
            Ok(segment) => {
                records += segment.scan.records.len();
                notes.extend(segment.notes());
            }
            Err(note) => notes.push(note),
        }
    }
    if !segments.is_empty() {
        let read = segments.len() - older;
        notes.insert(0, format!("{records} messages in the newest {read} of {} segments", segments.len()));
    }
    Ok(Recovered { next_sequence: next_sequence(directory, &segments)?, notes })
}

/// Behind everything that was ever written: a number below the cursor of the last consumed record would be taken for consumed.
fn next_sequence(directory: &Path, segments: &[(u64, PathBuf)]) -> io::Result<u64> {
    let newest = segments.last().map(|(sequence, _)| *sequence);
    let consumed = match cursor::read_consumed(directory) {
        Ok(consumed) => consumed.map(|cursor| cursor.sequence),
        // The segment that the cursor names is never removed, so the newest one is not before it.
        Err(_) if newest.is_some() => None,
        Err(error) => return Err(error),
    };
    Ok(newest.max(consumed).map_or(1, |sequence| sequence.saturating_add(1)))
}

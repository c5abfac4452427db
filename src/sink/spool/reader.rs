//! Reads a spool, also beside a receiver that writes it: takes no lock, changes nothing.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cursor::{self, Cursor};
use super::envelope::{self, MessageFile, StoredEnvelope, message_file_name};
use super::format::{self, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, body_checksum};
use super::scan::{Gap, GapKind, NoSegment, Scan, Window, records_at, scan};
use crate::escape::Word;
use crate::mail::queue_id::QueueId;
use crate::sink::file_system::{Named, open_own_at};
use crate::sink::root::{LOCK_NAME, kind_of};
use crate::timestamp::Rfc3339;

/// A segment that is written while it is read is read again until two readings agree, at most so often.
const READINGS_MAX: usize = 4;

/// Octets of records that are read together.
const TOGETHER_BYTES_MAX: u64 = 256 * 1024;

/// What an operator should know of a spool that was read.
#[derive(Debug, Default)]
pub struct Notes {
    /// One sentence each.
    pub lines: Vec<String>,
    /// How many of them tell that a message may be missing: damage, and what cannot be read. A torn write is
    /// none.
    pub problems: u64,
}

impl Notes {
    /// Something because of which a message may be missing.
    pub fn problem(&mut self, line: String) {
        self.problems += 1;
        self.lines.push(line);
    }
}

/// A segment of a spool, open and scanned.
#[derive(Debug)]
pub struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) scan: Scan,
}

impl Segment {
    /// Opens and scans a segment. None when the file is none; the note says why.
    pub(super) fn open(path: &Path) -> io::Result<Result<Self, String>> {
        let file = open_own_at(path)?;
        let mut last = scan(&file).named(path)?;
        for _ in 1..READINGS_MAX {
            // Where nothing is wrong there is nothing that a write under way could have feigned.
            if last.as_ref().is_ok_and(|scan| scan.gaps.is_empty()) {
                break;
            }
            let again = scan(&file).named(path)?;
            let agrees = again == last;
            last = again;
            if agrees {
                break;
            }
        }
        let named = path.file_name().and_then(|name| name.to_str()).and_then(format::segment_sequence);
        // Another number than the name's: recycled while it was read, and then its name is another now, or
        // damaged.
        if let Ok(scan) = &last
            && (named != Some(scan.segment.sequence) || header(&file).named(path)? != Some(scan.segment))
        {
            if !path.try_exists().named(path)? {
                return Err(io::ErrorKind::NotFound.into());
            }
            last = Err(NoSegment::Damaged);
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

    /// Opens a segment and reads its header only. None when it is not (or not yet) the segment that its name
    /// says.
    pub(super) fn open_unscanned(path: &Path, sequence: u64) -> io::Result<Option<Self>> {
        let file = open_own_at(path)?;
        let header = header(&file).named(path)?.filter(|header| header.sequence == sequence);
        Ok(header.map(|segment| {
            let scan = Scan { segment, records: Vec::new(), gaps: Vec::new() };
            Self { path: path.to_owned(), file, scan }
        }))
    }

    /// What was found in it.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The envelope of one of its records. An error when it changed since the scan, or a newer ringmx wrote
    /// it.
    pub fn envelope(&self, record: &RecordHeader) -> io::Result<StoredEnvelope> {
        // The scan verified this length with the record's checksums.
        let mut octets = vec![0; usize::try_from(record.envelope_bytes).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut octets, record.envelope_start()).named(&self.path)?;
        envelope::decode(&octets).map_err(|_| self.error(record, "a newer ringmx wrote its envelope"))
    }

    /// Where one of its records is.
    pub fn cursor(&self, record: &RecordHeader) -> Cursor {
        Cursor { sequence: self.scan.segment.sequence, offset: record.offset }
    }

    /// Writes the whole content of one of its records: our trace information and the mail data, octet for
    /// octet. An error when a checksum is wrong, but what was written is written.
    pub fn copy_content(
        &self,
        record: &RecordHeader,
        envelope: &StoredEnvelope,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.copy_inline(record, out)?;
        envelope.file.map_or(Ok(()), |file| self.copy_file(record, file, out))
    }

    /// The whole content of one of its records, its checksums verified.
    pub fn content(&self, record: &RecordHeader, envelope: &StoredEnvelope) -> io::Result<Vec<u8>> {
        let bytes = usize::try_from(content_bytes(record, envelope)).map_err(io::Error::other)?;
        let mut content = Vec::new();
        content.try_reserve(bytes).map_err(io::Error::other)?;
        self.copy_content(record, envelope, &mut content)?;
        Ok(content)
    }

    /// Reads the first of these records, which follow one another, by one call: those that lie within
    /// [`TOGETHER_BYTES_MAX`], up to the first whose message goes on in a file, and one in any case.
    /// `before_file` is called before such a file is read. `buffer` is kept for the next time.
    pub(super) fn read_together(
        &self,
        records: &[RecordHeader],
        buffer: &mut Vec<u8>,
        before_file: impl Fn(&RecordHeader, &StoredEnvelope) -> io::Result<()>,
    ) -> Vec<io::Result<(StoredEnvelope, Vec<u8>)>> {
        let Some(first) = records.first() else { return Vec::new() };
        let start = first.envelope_start();
        let fits = |record: &&RecordHeader| content_end(record).saturating_sub(start) <= TOGETHER_BYTES_MAX;
        let whole = |record: &RecordHeader, envelope: StoredEnvelope| {
            before_file(record, &envelope)?;
            let content = self.content(record, &envelope)?;
            Ok((envelope, content))
        };
        let alone = || self.envelope(first).and_then(|envelope| whole(first, envelope));
        let count = records.iter().take_while(fits).count();
        let Some(last) = count.checked_sub(1).and_then(|last| records.get(last)) else {
            return vec![alone()];
        };
        // It is at most the bound.
        buffer.resize(usize::try_from(content_end(last).saturating_sub(start)).unwrap_or_default(), 0);
        if self.file.read_exact_at(buffer, start).is_err() {
            // The first is there perhaps: the receiver cuts off what a failed write left.
            return vec![alone()];
        }
        let mut read = Vec::with_capacity(count);
        for record in &records[..count] {
            let parsed = self.parse(record, start, buffer);
            let goes_on = matches!(&parsed, Ok((envelope, _)) if envelope.file.is_none());
            read.push(match parsed {
                Ok((envelope, _)) if envelope.file.is_some() => whole(record, envelope),
                parsed => parsed.map(|(envelope, content)| (envelope, content.to_vec())),
            });
            if !goes_on {
                break;
            }
        }
        read
    }

    /// A record of these octets, which begin at `start`; its checksum is verified.
    fn parse<'b>(
        &self,
        record: &RecordHeader,
        start: u64,
        octets: &'b [u8],
    ) -> io::Result<(StoredEnvelope, &'b [u8])> {
        let part = |from: u64, to: u64| {
            let place = |at: u64| usize::try_from(at.checked_sub(start)?).ok();
            octets.get(place(from)?..place(to)?)
        };
        let (envelope, content) = part(record.envelope_start(), record.content_start())
            .zip(part(record.content_start(), content_end(record)))
            .ok_or_else(|| self.error(record, "it ends before its end"))?;
        let crc = crc32c::crc32c_append(body_checksum(self.scan.segment.salt), envelope);
        if crc32c::crc32c_append(crc, content) != record.body_crc {
            return Err(self.error(record, "it changed while it was read"));
        }
        let envelope = envelope::decode(envelope)
            .map_err(|_| self.error(record, "a newer ringmx wrote its envelope"))?;
        Ok((envelope, content))
    }

    /// The file that goes on where a record ends.
    fn message_file(&self, record: &RecordHeader) -> PathBuf {
        self.path.with_file_name(message_file_name(self.scan.segment.sequence, record.offset))
    }

    fn copy_file(&self, record: &RecordHeader, facts: MessageFile, out: &mut impl Write) -> io::Result<()> {
        let path = self.message_file(record);
        let name = path.display();
        let file = open_own_at(&path)
            .map_err(|error| self.error(record, &format!("its file {name} cannot be read: {error}")))?;
        let mut window = Window::for_bytes(&file, facts.bytes);
        let (mut crc, mut written) = (0, Ok(()));
        let walked = window.walk(0, facts.bytes, |part| {
            crc = crc32c::crc32c_append(crc, part);
            if written.is_ok() {
                written = out.write_all(part);
            }
        });
        let is_whole = walked.named(&path)?;
        written?;
        if is_whole && crc == facts.crc32c && file.metadata().named(&path)?.len() == facts.bytes {
            Ok(())
        } else {
            Err(self.error(record, &format!("its file {name} is damaged")))
        }
    }

    /// Makes what was read of the segment durable, or tells why it is not.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data().named(&self.path)
    }

    /// The same for the file of a record, if it has one.
    pub fn sync_message_file(&self, record: &RecordHeader, envelope: &StoredEnvelope) -> io::Result<()> {
        match envelope.file {
            Some(_) => {
                let path = self.message_file(record);
                let synced = open_own_at(&path).and_then(|file| file.sync_data());
                synced.map_err(|error| {
                    self.error(record, &format!("its file {} cannot be read: {error}", path.display()))
                })
            }
            None => Ok(()),
        }
    }

    /// Whether the file is still what was opened: not recycled under a new salt.
    pub fn is_current(&self) -> io::Result<bool> {
        Ok(header(&self.file).named(&self.path)? == Some(self.scan.segment))
    }

    fn copy_inline(&self, record: &RecordHeader, out: &mut impl Write) -> io::Result<()> {
        let mut crc = body_checksum(self.scan.segment.salt);
        let end = content_end(record);
        let mut window = Window::for_bytes(&self.file, end - record.envelope_start());
        let walked = window.walk(record.envelope_start(), record.content_start(), |part| {
            crc = crc32c::crc32c_append(crc, part);
        });
        walked.named(&self.path)?;
        let mut written = Ok(());
        let walked = window.walk(record.content_start(), end, |part| {
            crc = crc32c::crc32c_append(crc, part);
            if written.is_ok() {
                written = out.write_all(part);
            }
        });
        walked.named(&self.path)?;
        written?;
        if crc == record.body_crc { Ok(()) } else { Err(self.error(record, "it changed while it was read")) }
    }

    fn error(&self, record: &RecordHeader, what: &str) -> io::Error {
        let text = format!("{}: record at {}: {what}", self.path.display(), record.offset);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    /// From where on nothing was ever written to it; none where that is not certain. Only octets that were
    /// zeros when this use began, and still are, can tell. A file that was cut tells nothing of what was cut
    /// off.
    pub(super) fn unused_from(&self) -> Option<u64> {
        let Scan { segment, records, gaps } = &self.scan;
        let is_whole = self.file.metadata().is_ok_and(|facts| facts.len() >= segment.bytes);
        let end = records.last().map_or(SEGMENT_HEADER_BYTES, |last| last.offset + last.frame_bytes);
        (segment.is_zeroed && gaps.is_empty() && is_whole).then_some(end)
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = String> + '_ {
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

/// The header of a segment as it is now.
fn header(file: &File) -> io::Result<Option<SegmentHeader>> {
    let mut octets = [0; 48];
    match file.read_exact_at(&mut octets, 0) {
        Ok(()) => Ok(SegmentHeader::decode(&octets)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where what is in the record of the content ends.
fn content_end(record: &RecordHeader) -> u64 {
    record.content_start().saturating_add(record.content_bytes)
}

/// Octets of the content, wherever they are.
pub fn content_bytes(record: &RecordHeader, envelope: &StoredEnvelope) -> u64 {
    record.content_bytes.saturating_add(envelope.file.map_or(0, |file| file.bytes))
}

/// An error where a directory is no spool: whoever reads one, and finds nothing, would think that all is
/// well. A spool holds a segment, or the lock of a receiver that used it as one. Where an older ringmx left
/// the lock, which does not say so, directories tell that it is a maildir.
pub fn require_spool(directory: &Path) -> io::Result<()> {
    let (mut was_used, mut holds_directories) = (false, false);
    for entry in fs::read_dir(directory).named(directory)? {
        let entry = entry.named(directory)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if format::segment_sequence(&name).is_some() || name.ends_with(format::PREPARED_SUFFIX) {
            return Ok(());
        }
        was_used |= name == LOCK_NAME;
        // A file system may have been mounted for the spool.
        holds_directories |= name != "lost+found" && entry.file_type().is_ok_and(|kind| kind.is_dir());
    }
    let why = match kind_of(directory) {
        Some(kind) if kind == format::STORE_KIND => return Ok(()),
        Some(kind) => format!("it is a {kind}"),
        None if !was_used => "no receiver has stored there".to_owned(),
        None if holds_directories => "it holds directories, as a maildir does".to_owned(),
        None => return Ok(()),
    };
    let text = format!(
        "{} is no spool: it holds no segment, and {why}; name the `path` of a [[sink]] of kind \"spool\"",
        directory.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// The segments of a spool by number, oldest first.
pub fn segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory).named(directory)? {
        let entry = entry.named(directory)?;
        if let Some(sequence) = entry.file_name().to_str().and_then(format::segment_sequence) {
            segments.push((sequence, entry.path()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Whether a whole record begins at this place. An error of kind `InvalidData` when nobody can tell: the
/// segment is there, and its header cannot be read.
pub(super) fn holds_record(directory: &Path, cursor: Cursor) -> io::Result<bool> {
    let path = directory.join(cursor.segment_name());
    match Segment::open_unscanned(&path, cursor.sequence) {
        Ok(Some(segment)) => {
            let records = records_at(&segment.file, &segment.scan.segment, cursor.offset, 1);
            Ok(!records.named(&path)?.is_empty())
        }
        Ok(None) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: the header is damaged, or a newer ringmx wrote it", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The last consumed record. None when nothing was consumed yet, and when there is no record where `consumed`
/// says: that is a slip, which the receiver puts aside. An error when the file cannot be read or holds
/// something else.
pub fn last_consumed(directory: &Path) -> io::Result<Option<Cursor>> {
    let mut said = cursor::read_consumed(directory)?;
    while let Some(cursor) = said {
        match holds_record(directory, cursor) {
            Ok(true) => break,
            // Damage of later costs nobody his place.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
            Err(error) => return Err(error),
            Ok(false) => {
                // Or it was recycled since, because the consumer has gone on.
                let again = cursor::read_consumed(directory)?;
                said = again.filter(|_| again != said);
            }
        }
    }
    Ok(said)
}

/// Opens one segment after the other from this number on, oldest first, and tells what is wrong with them.
/// `visit` ends the walk with false.
pub fn for_each_segment(
    directory: &Path,
    from: u64,
    notes: &mut Notes,
    mut visit: impl FnMut(&Segment) -> io::Result<bool>,
) -> io::Result<()> {
    for (_, path) in segments(directory)?.into_iter().filter(|(sequence, _)| *sequence >= from) {
        match Segment::open(&path) {
            Ok(Ok(segment)) => {
                let gaps = &segment.scan.gaps;
                notes.problems += gaps.iter().filter(|gap| gap.kind == GapKind::Damage).count() as u64;
                notes.lines.extend(segment.notes());
                if !visit(&segment)? {
                    break;
                }
            }
            Ok(Err(note)) => notes.problem(note),
            // Pruned since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Hands on every record after a cursor, or every one, with its envelope; what cannot be read becomes a note.
pub fn for_each_record(
    directory: &Path,
    after: Option<Cursor>,
    notes: &mut Notes,
    mut visit: impl FnMut(&Segment, &RecordHeader, &StoredEnvelope) -> io::Result<()>,
) -> io::Result<()> {
    let mut unreadable = Vec::new();
    for_each_segment(directory, after.map_or(0, |after| after.sequence), notes, |segment| {
        for record in &segment.scan.records {
            if Some(segment.cursor(record)) <= after {
                continue;
            }
            match segment.envelope(record) {
                Ok(envelope) => visit(segment, record, &envelope)?,
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        Ok(true)
    })?;
    for line in unreadable {
        notes.problem(line);
    }
    Ok(())
}

/// Writes one line a message: id, time, octets of content, reverse-path, recipients, version of TLS or `-`,
/// state, cursor; separated by spaces, everything that a client sent escaped. Returns notes on what could not
/// be read.
pub fn list(directory: &Path, after: Option<Cursor>, out: &mut impl Write) -> io::Result<Vec<String>> {
    let mut notes = Notes::default();
    let consumed = last_consumed(directory)?;
    for_each_record(directory, after, &mut notes, |segment, record, envelope| {
        let cursor = segment.cursor(record);
        let state = if Some(cursor) <= consumed { "consumed" } else { "stored" };
        let line = line(envelope, content_bytes(record, envelope));
        writeln!(out, "{line} {state} {cursor}")
    })?;
    Ok(notes.lines)
}

fn line(stored: &StoredEnvelope, bytes: u64) -> String {
    let time = Rfc3339(stored.received_at);
    let mut line = format!("{} {time} {bytes} <{}>", stored.id, Word(stored.envelope.reverse_path()));
    for (index, recipient) in stored.envelope.recipients().enumerate() {
        let before = if index == 0 { ' ' } else { ',' };
        // Writing to a String does not fail.
        let _ = write!(line, "{before}<{}>", Word(recipient.whole));
    }
    match &stored.tls {
        Some(tls) => _ = write!(line, " {}", Word(&tls.version)),
        None => line.push_str(" -"),
    }
    line
}

/// What of a message is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Trace information and mail data, octet for octet.
    Content,
    /// What is known besides, as one line of JSON.
    Envelope,
}

/// Writes what is to be shown of a stored message; false when the spool does not hold it.
pub fn show(directory: &Path, id: QueueId, view: View, out: &mut impl Write) -> io::Result<bool> {
    let mut shown = false;
    for_each_segment(directory, 0, &mut Notes::default(), |segment| {
        for record in &segment.scan.records {
            // An envelope that cannot be read is another message's.
            if let Ok(envelope) = segment.envelope(record)
                && envelope.id == id
            {
                match view {
                    View::Content => segment.copy_content(record, &envelope, out)?,
                    View::Envelope => {
                        let bytes = content_bytes(record, &envelope);
                        let line = envelope.facts(segment.cursor(record), bytes).envelope_json();
                        out.write_all(line.as_bytes())?;
                    }
                }
                shown = true;
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(shown)
}

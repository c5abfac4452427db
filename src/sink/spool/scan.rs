//! Finds the records of a segment, and what is wrong with it. Reads only; believes nothing that a checksum
//! does not cover.
//!
//! Records follow one another. Where one should begin and none does, the next is looked for at every multiple
//! of [`FRAME_BYTES`]; what lies between is a gap. A batch begins only when the one before is durable, so a
//! gap before the last batch is *damage*: something that was durable is not what it was. A gap in or after
//! the last batch is *torn*: a write that did not end, for which no 250 was sent (or damage there, which
//! cannot be told from it).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{
    BATCH_BYTES, FRAME_BYTES, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
    body_checksum,
};

/// Where a segment is read from.
pub trait ReadAt {
    /// Reads up to as many octets as fit; 0 only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // No file reaches beyond, and the kernel refuses to look there. Cursors that others wrote may name
        // such a place.
        let room = i64::MAX.unsigned_abs().saturating_sub(offset);
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
        if count == 0 { Ok(0) } else { FileExt::read_at(self, &mut buffer[..count], offset) }
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// What is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Its header.
    pub segment: SegmentHeader,
    /// Its records in order, each whole.
    pub records: Vec<RecordHeader>,
    /// What lies between and after them and is not as it was written.
    pub gaps: Vec<Gap>,
}

/// Octets of a segment that are no record and not unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub from: u64,
    /// Where the next record begins, or the end of the file.
    pub to: u64,
    /// What it is.
    pub kind: GapKind,
}

/// What a gap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapKind {
    /// Durable octets have changed.
    Damage,
    /// The last write did not end.
    Torn,
}

/// Why a file is not read as a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSegment {
    /// Its header is damaged.
    Damaged,
    /// A ringmx of another version wrote it.
    Version(u32),
}

/// Scans a segment.
pub fn scan<R: ReadAt + ?Sized>(source: &R) -> io::Result<Result<Scan, NoSegment>> {
    let mut window = Window::new(source);
    let first = window.octets(0, RECORD_HEADER_BYTES)?;
    let Some(segment) = SegmentHeader::decode(first) else {
        return Ok(Err(SegmentHeader::other_version(first).map_or(NoSegment::Damaged, NoSegment::Version)));
    };
    scan_from(source, segment, SEGMENT_HEADER_BYTES).map(Ok)
}

/// Scans what lies from a place on where a record begins or may begin later. `segment` is what [`scan`] found
/// in the same file.
pub fn scan_from<R: ReadAt + ?Sized>(source: &R, segment: SegmentHeader, from: u64) -> io::Result<Scan> {
    let mut window = Window::new(source);
    let mut found = Scan { segment, records: Vec::new(), gaps: Vec::new() };
    let mut at = from;
    loop {
        if let Some(record) = whole_record(&mut window, &segment, at)? {
            at += record.frame_bytes;
            found.records.push(record);
            continue;
        }
        let Gone { next, end, was_written } = skip(&mut window, &segment, at)?;
        if next.is_some() || was_written {
            found.gaps.push(Gap { from: at, to: next.unwrap_or(end), kind: GapKind::Torn });
        }
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    let last_batch = found.records.last().map_or(0, |record| record.batch);
    for gap in &mut found.gaps {
        if gap.from < last_batch {
            gap.kind = GapKind::Damage;
        }
    }
    Ok(found)
}

/// The whole records that follow one another from a place on, at most `count_max`. Costs one small read where
/// none is.
pub fn records_at<R: ReadAt + ?Sized>(
    source: &R,
    segment: &SegmentHeader,
    from: u64,
    count_max: usize,
) -> io::Result<Vec<RecordHeader>> {
    let (mut records, mut at) = (Vec::new(), from);
    let mut first = [0; RECORD_HEADER_BYTES];
    let count = source.read_at(&mut first, from)?;
    let Some(header) = frame_header(&first[..count], segment, from) else { return Ok(records) };
    let mut window = match count_max {
        1 => Window::for_bytes(source, header.frame_bytes),
        _ => Window::new(source),
    };
    while records.len() < count_max
        && let Some(record) = whole_record(&mut window, segment, at)?
    {
        at += record.frame_bytes;
        records.push(record);
    }
    Ok(records)
}

/// The octets of a record.
#[derive(Debug)]
pub struct WholeRecord {
    /// Its envelope.
    pub envelope: Vec<u8>,
    /// What of the content is in the record.
    pub content: Vec<u8>,
}

/// The record that begins at a place, if a whole one does: its header is read, then all of it once.
pub fn record_at<R: ReadAt + ?Sized>(
    source: &R,
    segment: &SegmentHeader,
    at: u64,
) -> io::Result<Option<WholeRecord>> {
    let mut first = [0; RECORD_HEADER_BYTES];
    let count = source.read_at(&mut first, at)?;
    let Some(header) = frame_header(&first[..count], segment, at) else { return Ok(None) };
    let mut window = Window::for_bytes(source, header.frame_bytes);
    let mut envelope = Vec::new();
    let bytes = usize::try_from(header.frame_bytes).map_err(io::Error::other)?;
    envelope.try_reserve_exact(bytes).map_err(io::Error::other)?;
    let take = |octets: &[u8]| envelope.extend_from_slice(octets);
    let Some(header) = whole_record_with(&mut window, segment, at, take)? else { return Ok(None) };
    let content = envelope.split_off(header.envelope_bytes as usize);
    Ok(Some(WholeRecord { envelope, content }))
}

/// The header of a frame, if one is at `at`: also the place of its batch must be one where a batch can begin.
fn frame_header(octets: &[u8], segment: &SegmentHeader, at: u64) -> Option<RecordHeader> {
    RecordHeader::decode(octets, segment, at).filter(|record| {
        (SEGMENT_HEADER_BYTES..=at).contains(&record.batch) && record.batch.is_multiple_of(BATCH_BYTES)
    })
}

/// What comes after a place where no record begins.
struct Gone {
    /// Where the next whole record begins.
    next: Option<u64>,
    /// The end of what was looked at.
    end: u64,
    /// Whether there is anything that this use of the segment wrote.
    was_written: bool,
}

fn skip<R: ReadAt + ?Sized>(
    window: &mut Window<'_, R>,
    segment: &SegmentHeader,
    from: u64,
) -> io::Result<Gone> {
    let mut gone = Gone { next: None, end: from, was_written: false };
    while gone.end < segment.bytes {
        let frame = window.octets(gone.end, usize::try_from(FRAME_BYTES).unwrap_or_default())?;
        if frame.is_empty() {
            break;
        }
        gone.was_written |= segment.is_zeroed && frame.iter().any(|octet| *octet != 0);
        if frame_header(frame, segment, gone.end).is_some() {
            gone.was_written = true;
            if gone.end > from && whole_record(window, segment, gone.end)?.is_some() {
                gone.next = Some(gone.end);
                break;
            }
        }
        gone.end += FRAME_BYTES;
    }
    Ok(gone)
}

/// The record that begins at `at`, if one does and its checksums are right.
fn whole_record<R: ReadAt + ?Sized>(
    window: &mut Window<'_, R>,
    segment: &SegmentHeader,
    at: u64,
) -> io::Result<Option<RecordHeader>> {
    whole_record_with(window, segment, at, |_| ())
}

/// The same, and its envelope and content piece by piece. What was given is nothing where there is no record.
fn whole_record_with<R: ReadAt + ?Sized>(
    window: &mut Window<'_, R>,
    segment: &SegmentHeader,
    at: u64,
    mut take: impl FnMut(&[u8]),
) -> io::Result<Option<RecordHeader>> {
    let octets = window.octets(at, RECORD_HEADER_BYTES)?;
    let Some(record) = frame_header(octets, segment, at) else { return Ok(None) };
    let mut crc = body_checksum(segment.salt);
    let body_end = record.content_start() + record.content_bytes;
    let is_whole = window.walk(record.envelope_start(), body_end, |octets| {
        crc = crc32c::crc32c_append(crc, octets);
        take(octets);
    })?;
    Ok((is_whole && crc == record.body_crc).then_some(record))
}

/// A part of a segment in memory, so that little records cost no system call each.
pub(super) struct Window<'r, R: ?Sized> {
    source: &'r R,
    buffer: Vec<u8>,
    /// Where in the segment the buffer begins.
    start: u64,
    filled: usize,
}

impl<'r, R: ReadAt + ?Sized> Window<'r, R> {
    const BYTES: usize = 256 * 1024;

    pub(super) fn new(source: &'r R) -> Self {
        Self::for_bytes(source, Self::BYTES as u64)
    }

    /// For a range of so many octets: no more than these are read of it.
    pub(super) fn for_bytes(source: &'r R, bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(Self::BYTES).clamp(RECORD_HEADER_BYTES, Self::BYTES);
        Self { source, buffer: vec![0; bytes], start: 0, filled: 0 }
    }

    /// `count` octets at `offset`, fewer at the end of the file. `count` is at most the window.
    fn octets(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let inside = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| self.filled.checked_sub(*skip).is_some_and(|left| count <= left));
        let skip = match inside {
            Some(skip) => skip,
            None => self.fill(offset)?,
        };
        let end = (skip + count).min(self.filled);
        Ok(self.buffer.get(skip..end).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64) -> io::Result<usize> {
        self.start = offset;
        self.filled = 0;
        while self.filled < self.buffer.len() {
            match self.source.read_at(&mut self.buffer[self.filled..], offset + self.filled as u64) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Hands on all octets from `from` to `to`; false when the file ends before.
    pub(super) fn walk(&mut self, from: u64, to: u64, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        const STEP: usize = 64 * 1024;
        let mut at = from;
        while at < to {
            let count = usize::try_from(to - at).unwrap_or(STEP).min(STEP);
            let octets = self.octets(at, count)?;
            if octets.is_empty() {
                return Ok(false);
            }
            at += octets.len() as u64;
            take(octets);
        }
        Ok(true)
    }
}

//! A record as it lies in one place, to be appended in another.

use std::io;

use super::change::Notice;
use super::files::{Files, Opened};
use super::place::Place;
use crate::sink::spool::appender::{Record, Source};
use crate::sink::spool::envelope::{self, MessageFile, message_file_name};
use crate::sink::spool::format::{RecordHeader, SegmentHeader};
use crate::sink::spool::scan::{ReadAt, WholeRecord, record_at, records_at};

/// A record, octet for octet.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) envelope: Vec<u8>,
    /// What of the content is in the record.
    pub(super) content: Vec<u8>,
    /// Where it goes on.
    file: Option<(MessageFile, Opened)>,
}

/// The segment that was read last. Records that are copied one after the other mostly lie in one.
#[derive(Default)]
pub(super) struct LastRead(Option<(&'static str, Opened, SegmentHeader)>);

impl LastRead {
    /// The segment of a place.
    fn segment_of(&mut self, files: &dyn Files, place: Place) -> io::Result<(&Opened, &SegmentHeader)> {
        let is_of_place = |(directory, _, header): &(&str, Opened, SegmentHeader)| {
            *directory == place.directory() && header.sequence == place.cursor().sequence
        };
        let opened = if let Some(last) = self.0.take().filter(is_of_place) {
            last
        } else {
            let (segment, header) = open(files, place)?;
            (place.directory(), segment, header)
        };
        let (_, segment, header) = self.0.insert(opened);
        Ok((segment, header))
    }
}

impl Copied {
    /// Reads the record at a place; its checksums are right. The file of a large message is opened, and read
    /// through where it will be copied. An error of kind `InvalidData` or `NotFound` where the record is not
    /// what it was.
    pub(super) fn load(
        files: &dyn Files,
        last: &mut LastRead,
        place: Place,
        links: bool,
    ) -> io::Result<Self> {
        let wrong = |what: &str| wrong(place, what);
        let (segment, header) = last.segment_of(files, place)?;
        let record = record_at(segment, header, place.cursor().offset)?;
        let WholeRecord { envelope, content, .. } = record.ok_or_else(|| wrong(NO_RECORD))?;
        let file = match envelope::file_of(&envelope) {
            None => None,
            Some(facts) => {
                let cursor = place.cursor();
                let name = message_file_name(cursor.sequence, cursor.offset);
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
                let file = files.open(place.directory(), &name).map_err(named)?;
                if file.bytes()? != facts.bytes {
                    return Err(wrong("its file has another length"));
                }
                let is_linked = links && matches!(file, Opened::File(_));
                if !is_linked && checksum(&file)? != facts.crc32c {
                    return Err(wrong("its file is damaged"));
                }
                Some((facts, file))
            }
        };
        Ok(Self { envelope, content, file })
    }

    /// A record that lies nowhere yet.
    pub(super) fn of_notice(notice: &Notice) -> Self {
        Self { envelope: notice.envelope.clone(), content: notice.content.clone(), file: None }
    }

    /// The whole content. An error of kind `InvalidData` where the file is not what it was.
    pub(super) fn into_content(self) -> io::Result<Vec<u8>> {
        let mut content = self.content;
        if let Some((facts, file)) = &self.file {
            let bytes = usize::try_from(facts.bytes).map_err(io::Error::other)?;
            let mut rest = file.read_exact_at(0, bytes)?;
            if crc32c::crc32c(&rest) != facts.crc32c {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the file of the message is damaged"));
            }
            content.append(&mut rest);
        }
        Ok(content)
    }

    /// Octets of memory.
    pub(super) fn bytes(&self) -> usize {
        self.envelope.len() + self.content.len()
    }

    /// The same for an appender. A file is linked where it can be.
    pub(super) fn record(&self, links: bool) -> Record<'_> {
        let file = self.file.as_ref().map(|(facts, file)| {
            let source = match file {
                Opened::File(file) if links => Source::Link(file),
                Opened::File(file) => Source::Copy(file),
                Opened::Octets(_) => Source::Copy(file),
            };
            (*facts, source)
        });
        Record { envelope: &self.envelope, content: &self.content, file }
    }
}

/// The segment of a place, and the header of the record there, whose checksums are right.
pub(super) fn find(files: &dyn Files, place: Place) -> io::Result<(Opened, RecordHeader)> {
    let (segment, header) = open(files, place)?;
    let record = records_at(&segment, &header, place.cursor().offset, 1)?.pop();
    Ok((segment, record.ok_or_else(|| wrong(place, NO_RECORD))?))
}

const NO_RECORD: &str = "no whole record is there";

/// The segment of a place, whose header is right.
fn open(files: &dyn Files, place: Place) -> io::Result<(Opened, SegmentHeader)> {
    let cursor = place.cursor();
    let segment = files.open(place.directory(), &cursor.segment_name())?;
    let header = segment.read_exact_at(0, 48).ok().and_then(|octets| SegmentHeader::decode(&octets));
    let header = header.filter(|header| header.sequence == cursor.sequence);
    let header = header.ok_or_else(|| wrong(place, "the header of its segment is damaged"))?;
    Ok((segment, header))
}

fn wrong(place: Place, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {what}"))
}

fn checksum(file: &Opened) -> io::Result<u32> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut crc, mut at) = (0, 0);
    loop {
        let count = file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Ok(crc);
        }
        crc = crc32c::crc32c_append(crc, &buffer[..count]);
        at += count as u64;
    }
}

//! A record as it lies in one place, to be appended in another.

use std::io;

use super::change::Notice;
use super::files::{Files, Opened};
use super::place::Place;
use crate::sink::spool::appender::{Record, Source};
use crate::sink::spool::envelope::{self, MessageFile, message_file_name};
use crate::sink::spool::format::{RecordHeader, SegmentHeader};
use crate::sink::spool::scan::{ReadAt, records_at};

/// A record, octet for octet.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) envelope: Vec<u8>,
    /// What of the content is in the record.
    pub(super) content: Vec<u8>,
    /// Where it goes on.
    file: Option<(MessageFile, Opened)>,
}

impl Copied {
    /// Reads the record at a place; its checksums are right. The file of a large message is opened, and read
    /// through where it will be copied. An error of kind `InvalidData` or `NotFound` where the record is not
    /// what it was.
    pub(super) fn load(files: &dyn Files, place: Place, links: bool) -> io::Result<Self> {
        let (segment, record) = find(files, place)?;
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {what}"));
        let bytes = |count: u64| usize::try_from(count).map_err(io::Error::other);
        let envelope = segment.read_exact_at(record.envelope_start(), record.envelope_bytes as usize)?;
        let content = segment.read_exact_at(record.content_start(), bytes(record.content_bytes)?)?;
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
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {what}"));
    let cursor = place.cursor();
    let segment = files.open(place.directory(), &cursor.segment_name())?;
    let header = segment.read_exact_at(0, 48).ok().and_then(|octets| SegmentHeader::decode(&octets));
    let header = header.filter(|header| header.sequence == cursor.sequence);
    let header = header.ok_or_else(|| wrong("the header of its segment is damaged"))?;
    let record = records_at(&segment, &header, cursor.offset, 1)?.pop();
    Ok((segment, record.ok_or_else(|| wrong("no whole record is there"))?))
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

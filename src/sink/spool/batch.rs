//! A batch as it goes to the disk: where each record lies in the segment, and the plan that writes them.

use std::io;
use std::rc::Rc;

use super::format::{
    self, BATCH_BYTES, FRAME_BYTES, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES,
};
use super::large::{self, Content};
use super::open_segment::OpenSegment;
use crate::sink::plan::{Action, Owners, Plan};

/// The source of padding, which is less than a batch's alignment.
static ZEROS: [u8; 4096] = [0; 4096];

const _: () = assert!(ZEROS.len() as u64 >= BATCH_BYTES);

/// Records that go out in one write.
pub(super) struct Batch<'a> {
    records: Vec<PlacedRecord<'a>>,
    /// Octets with all padding, a multiple of [`BATCH_BYTES`].
    bytes: u64,
}

/// A record with its place in the segment.
struct PlacedRecord<'a> {
    /// Where it begins.
    offset: u64,
    /// Octets of it without padding.
    bytes: u64,
    envelope: &'a [u8],
    /// Header and envelope, once the place of the next one is known.
    head: Vec<u8>,
    content: Content<'a>,
    /// How many zeros follow it.
    padding: usize,
}

impl<'a> Batch<'a> {
    /// Places as many records, each an envelope and a content, as the room in the segment takes, from the
    /// first one on; at least one, for which the caller made room.
    pub(super) fn lay_out(
        segment: &OpenSegment,
        contents: impl Iterator<Item = (&'a [u8], Content<'a>)>,
        file_bytes_max: u64,
    ) -> Self {
        let mut records: Vec<PlacedRecord<'_>> = Vec::new();
        let mut bytes = 0_u64;
        for (envelope, content) in contents {
            let Ok(record) = measure(envelope, content, file_bytes_max) else { break };
            let after =
                record.checked_next_multiple_of(FRAME_BYTES).and_then(|frame| frame.checked_add(bytes));
            match after {
                // The room is a multiple of BATCH_BYTES, so what fits it fits with its padding.
                Some(after) if after <= segment.room() => {
                    let offset = segment.end + bytes;
                    records.push(PlacedRecord {
                        offset,
                        bytes: record,
                        envelope,
                        head: Vec::new(),
                        content,
                        padding: 0,
                    });
                    bytes = after;
                }
                Some(_) | None => break,
            }
        }
        assert!(!records.is_empty(), "the caller made room for one record");
        let bytes = bytes.next_multiple_of(BATCH_BYTES);
        // The last record's frame goes on to where the next batch begins.
        let mut end = segment.end + bytes;
        for record in records.iter_mut().rev() {
            let envelope = record.envelope;
            let header = RecordHeader {
                offset: record.offset,
                batch: segment.end,
                frame_bytes: end - record.offset,
                envelope_bytes: u32::try_from(envelope.len()).expect("measure() bounds it"),
                content_bytes: record.content.inline_bytes(),
                body_crc: body_crc(segment.header.salt, envelope, record.content),
            };
            record.head.reserve_exact(RECORD_HEADER_BYTES + envelope.len());
            record.head.extend_from_slice(&header.encode(segment.header.salt));
            record.head.extend_from_slice(envelope);
            record.padding =
                usize::try_from(header.frame_bytes - record.bytes).expect("padding is below BATCH_BYTES");
            end = record.offset;
        }
        Self { records, bytes }
    }

    /// Octets with all padding.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where each record begins, and the octets of its frame.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.records.iter().map(|record| (record.offset, record.bytes + record.padding as u64))
    }

    /// Where each record begins.
    pub(super) fn offsets(&self) -> Vec<u64> {
        self.records.iter().map(|record| record.offset).collect()
    }

    /// One write and one sync for all records, after those of the files of large messages.
    pub(super) fn plan<'p>(&'p self, segment: &OpenSegment) -> Plan<'p> {
        let count = self.records.len();
        let mut slices: Vec<&[u8]> = Vec::with_capacity(count * 4);
        for record in &self.records {
            slices.push(&record.head);
            slices.extend(record.content.inline());
            slices.push(&ZEROS[..record.padding]);
        }
        let mut plan = Plan::new(count);
        let owners = Owners::Many((0..count).collect());
        let contents = self.records.iter().map(|record| (record.content, record.offset));
        large::plan_files(&mut plan, &owners, segment, contents);
        plan.push(owners.clone(), Action::Write(Rc::clone(&segment.file), segment.end, slices));
        plan.push(owners, Action::SyncFile(Rc::clone(&segment.file)));
        plan
    }
}

/// How many octets a record is without padding. What no file could hold is nothing that a client was
/// promised: an error where the record cannot be written down, and where a file of the message alone would be
/// larger than one may be.
pub(super) fn measure(envelope: &[u8], content: Content<'_>, file_bytes_max: u64) -> io::Result<u64> {
    let envelope = u32::try_from(envelope.len()).ok().filter(|bytes| *bytes <= format::ENVELOPE_BYTES_MAX);
    let record = envelope.and_then(|envelope| format::record_bytes(envelope, content.inline_bytes()));
    let record = record.ok_or_else(|| io::Error::other("its envelope is larger than a record can hold"))?;
    let in_segment = record.checked_next_multiple_of(BATCH_BYTES).map(|batch| batch + SEGMENT_HEADER_BYTES);
    if in_segment.is_none_or(|bytes| bytes.max(content.file_bytes()) > file_bytes_max) {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(record)
}

fn body_crc(salt: u64, envelope: &[u8], content: Content<'_>) -> u32 {
    let crc = crc32c::crc32c_append(format::body_checksum(salt), envelope);
    content.inline().fold(crc, crc32c::crc32c_append)
}

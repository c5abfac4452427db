//! The octets of a segment: its header, the headers of records, their checksums and where they may lie.
//! `docs/spool.md` is this file in prose; change both or neither, and never without a new [`VERSION`].
//!
//! All numbers are little-endian.

/// The version of the format that this program writes and reads.
pub const VERSION: u32 = 1;

/// Records begin at multiples of this: recovery looks for them there and nowhere else. Small, so that a batch
/// of little messages is packed tightly; a disk sector, so that a torn write tears between frames where it
/// can.
pub const FRAME_BYTES: u64 = 512;

/// Batches begin at multiples of this, the page of the kernel and the physical sector of disks: no later
/// write touches a page or sector in which a record lies that 250 was sent for.
pub const BATCH_BYTES: u64 = 4096;

/// What the lock of a spool says that it is.
pub(super) const STORE_KIND: &str = "spool";

/// Octets of a segment's header; the first batch follows it.
pub const SEGMENT_HEADER_BYTES: u64 = BATCH_BYTES;

/// Octets of a record's header.
pub const RECORD_HEADER_BYTES: usize = 64;

/// The most an envelope may take: recipients and path lengths are bounded far below. A reader refuses more
/// before it takes memory for it.
pub const ENVELOPE_BYTES_MAX: u32 = 64 * 1024 * 1024;

const SEGMENT_MAGIC: &[u8; 8] = b"RINGMXSP";
const RECORD_MAGIC: &[u8; 4] = b"RMXR";
const SEGMENT_FIELDS_BYTES: usize = 48;

const _: () =
    assert!(BATCH_BYTES.is_multiple_of(FRAME_BYTES) && SEGMENT_HEADER_BYTES.is_multiple_of(BATCH_BYTES));
const _: () = assert!(RECORD_HEADER_BYTES as u64 <= FRAME_BYTES);

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Drawn at random for each use of the segment and mixed into every checksum in it, so that neither what
    /// an earlier use left nor what a sender chose can pass for a record.
    pub salt: u64,
    /// Counts uses of segments: later segments have higher numbers. Also in the file's name.
    pub sequence: u64,
    /// Octets of the file.
    pub bytes: u64,
    /// Whether all after the header was zero when this use began, so that anything else after the last record
    /// is torn.
    pub is_zeroed: bool,
}

impl SegmentHeader {
    /// The header as it lies at the start of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_FIELDS_BYTES);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(self.is_zeroed).to_le_bytes());
        for number in [self.salt, self.sequence, self.bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(out.len(), SEGMENT_FIELDS_BYTES);
        out
    }

    /// Reads a header; none when it is damaged, of another version, or none at all.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; SEGMENT_FIELDS_BYTES] = octets.first_chunk()?;
        let is_sound = octets.starts_with(SEGMENT_MAGIC)
            && crc32c::crc32c(&octets[..44]) == number32(octets, 44)
            && number32(octets, 8) == VERSION;
        is_sound.then(|| Self {
            salt: number64(octets, 16),
            sequence: number64(octets, 24),
            bytes: number64(octets, 32),
            is_zeroed: number32(octets, 12) & 1 == 1,
        })
    }

    /// Whether octets come from a segment of a version that is not ours.
    pub fn other_version(octets: &[u8]) -> Option<u32> {
        let octets: &[u8; SEGMENT_FIELDS_BYTES] = octets.first_chunk()?;
        let version = number32(octets, 8);
        (octets.starts_with(SEGMENT_MAGIC) && version != VERSION).then_some(version)
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Where in the segment the record begins; a multiple of [`FRAME_BYTES`].
    pub offset: u64,
    /// Where its batch begins; a multiple of [`BATCH_BYTES`]. A batch begins only when the one before is
    /// durable.
    pub batch: u64,
    /// Octets of the frame: header, envelope, content and padding. The next record, if any, follows it.
    pub frame_bytes: u64,
    /// Octets of the envelope.
    pub envelope_bytes: u32,
    /// Octets of the content: our trace information and the mail data.
    pub content_bytes: u64,
    /// Checksum of envelope and content, as [`body_checksum`] begins it.
    pub body_crc: u32,
}

impl RecordHeader {
    /// The header as it lies at the start of the frame.
    pub fn encode(&self, salt: u64) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        out[..4].copy_from_slice(RECORD_MAGIC);
        out[4..8].copy_from_slice(&self.envelope_bytes.to_le_bytes());
        let numbers = [salt, self.offset, self.batch, self.frame_bytes, self.content_bytes];
        for (index, number) in numbers.into_iter().enumerate() {
            out[8 + 8 * index..16 + 8 * index].copy_from_slice(&number.to_le_bytes());
        }
        out[48..52].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(body_checksum(salt), &out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of a frame that begins at `offset` of a segment; none when no frame of this use of
    /// the segment begins there. The lengths in it are consistent and end within the segment.
    pub fn decode(octets: &[u8], segment: &SegmentHeader, offset: u64) -> Option<Self> {
        let octets: &[u8; RECORD_HEADER_BYTES] = octets.first_chunk()?;
        let is_ours = octets.starts_with(RECORD_MAGIC)
            && number64(octets, 8) == segment.salt
            && number64(octets, 16) == offset
            && crc32c::crc32c_append(body_checksum(segment.salt), &octets[..60]) == number32(octets, 60);
        let header = Self {
            offset,
            batch: number64(octets, 24),
            frame_bytes: number64(octets, 32),
            envelope_bytes: number32(octets, 4),
            content_bytes: number64(octets, 40),
            body_crc: number32(octets, 48),
        };
        (is_ours && header.is_consistent(segment)).then_some(header)
    }

    fn is_consistent(&self, segment: &SegmentHeader) -> bool {
        let fits = record_bytes(self.envelope_bytes, self.content_bytes)
            .is_some_and(|bytes| bytes <= self.frame_bytes);
        let ends = self.offset.checked_add(self.frame_bytes).is_some_and(|end| end <= segment.bytes);
        fits && ends
            && self.frame_bytes.is_multiple_of(FRAME_BYTES)
            && self.envelope_bytes <= ENVELOPE_BYTES_MAX
    }

    /// Where the envelope begins.
    pub fn envelope_start(&self) -> u64 {
        self.offset + RECORD_HEADER_BYTES as u64
    }

    /// Where the content begins.
    pub fn content_start(&self) -> u64 {
        self.envelope_start() + u64::from(self.envelope_bytes)
    }
}

/// Octets of a record without padding; none when that is more than there can be.
pub fn record_bytes(envelope_bytes: u32, content_bytes: u64) -> Option<u64> {
    (RECORD_HEADER_BYTES as u64 + u64::from(envelope_bytes)).checked_add(content_bytes)
}

/// The checksum with the salt mixed in, before any octet: CRC-32C of the salt's eight octets. Go on with
/// `crc32c_append`.
pub fn body_checksum(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

/// The name of a segment.
pub fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.segment")
}

/// The number in the name of a segment; none for other files.
pub fn segment_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// The number of the segment, and where in it the record begins, in the name of a file with a large message,
/// `<segment>-<offset>.message`; none for other files.
pub fn message_place(name: &str) -> Option<(u64, u64)> {
    let (sequence, offset) = name.strip_suffix(".message")?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let (sequence, offset) = (number(sequence)?, number(offset)?);
    (format!("{sequence:016x}-{offset:016x}.message") == name).then_some((sequence, offset))
}

/// `PREPARED_SUFFIX` ends the name of a segment that is being made; it holds no record and may be removed.
pub const PREPARED_SUFFIX: &str = ".segment.new";

fn number32(octets: &[u8], at: usize) -> u32 {
    octets.get(at..).and_then(|octets| octets.first_chunk()).map_or(0, |octets| u32::from_le_bytes(*octets))
}

fn number64(octets: &[u8], at: usize) -> u64 {
    octets.get(at..).and_then(|octets| octets.first_chunk()).map_or(0, |octets| u64::from_le_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentHeader = SegmentHeader { salt: 7, sequence: 3, bytes: 1 << 20, is_zeroed: true };

    fn record() -> RecordHeader {
        RecordHeader {
            offset: 8192,
            batch: 4096,
            frame_bytes: 1024,
            envelope_bytes: 100,
            content_bytes: 860,
            body_crc: 9,
        }
    }

    #[test]
    fn headers_read_back() {
        assert_eq!(SegmentHeader::decode(&SEGMENT.encode()), Some(SEGMENT));
        let record = record();
        assert_eq!(RecordHeader::decode(&record.encode(7), &SEGMENT, 8192), Some(record));
        assert_eq!(segment_sequence(&segment_name(0xabc)), Some(0xabc));
        assert_eq!(segment_sequence("abc.segment"), None);
        assert_eq!(message_place("0000000000000abc-0000000000001000.message"), Some((0xabc, 4096)));
        assert_eq!(message_place("abc-1000.message"), None);
    }

    #[test]
    fn one_bit_off_is_no_header() {
        for bit in 0..8 * SEGMENT_FIELDS_BYTES {
            let mut octets = SEGMENT.encode();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&octets), None, "bit {bit}");
        }
        for bit in 0..8 * RECORD_HEADER_BYTES {
            let mut octets = record().encode(7);
            octets[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&octets, &SEGMENT, 8192), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_another_use_or_place_is_none() {
        let octets = record().encode(7);
        assert_eq!(RecordHeader::decode(&octets, &SegmentHeader { salt: 8, ..SEGMENT }, 8192), None);
        assert_eq!(RecordHeader::decode(&octets, &SEGMENT, 8192 + 512), None);
        assert_eq!(RecordHeader::decode(&octets, &SegmentHeader { bytes: 9000, ..SEGMENT }, 8192), None);
        let lying = RecordHeader { content_bytes: u64::MAX - 10, ..record() }.encode(7);
        assert_eq!(RecordHeader::decode(&lying, &SEGMENT, 8192), None);
    }
}

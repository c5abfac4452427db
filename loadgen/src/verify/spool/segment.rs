//! One file of a spool: its header, and the frames in it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::encoding::{CRC_32C, u32_at, u64_at};

/// Where the first batch may begin.
pub const BATCHES_AT: u64 = 4096;
/// Batches begin at multiples of this.
const BATCH_ALIGNMENT: u64 = 4096;
/// Frames begin at multiples of this.
pub const FRAME_ALIGNMENT: u64 = 512;
const FRAME_HEADER_BYTES: usize = 64;
const ENVELOPE_BYTES_MAX: u32 = 64 << 20;

/// A segment that is being read.
pub struct Segment {
    pub file: File,
    /// Octets that may be read: the smaller of what the header and the file say.
    pub bytes: u64,
    pub salt: [u8; 8],
    /// All was zero when this use of the file began.
    pub zeroed: bool,
}

/// Why a segment cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// What is wrong.
    Damaged(&'static str),
    /// Of its format.
    Version(u32),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "is damaged: {what}"),
            Self::Version(version) => write!(f, "has version {version}, which this program does not know"),
        }
    }
}

/// What a segment's header says: salt, flags, octets.
pub fn parse_header(header: &[u8; 48], sequence: u64) -> Result<([u8; 8], u32, u64), Unreadable> {
    if &header[..8] != b"RINGMXSP" {
        return Err(Unreadable::Damaged("it does not begin with RINGMXSP"));
    }
    let version = u32_at(header, 8);
    if version != 1 {
        return Err(Unreadable::Version(version));
    }
    if CRC_32C.checksum(&header[..44]) != u32_at(header, 44) {
        return Err(Unreadable::Damaged("the checksum of its header is wrong"));
    }
    if u64_at(header, 24) != sequence {
        return Err(Unreadable::Damaged("its header has another number than its name"));
    }
    Ok((std::array::from_fn(|at| header[16 + at]), u32_at(header, 12), u64_at(header, 32)))
}

/// A frame whose header is right.
pub struct Frame {
    /// Where it begins.
    pub at: u64,
    /// Where its batch begins.
    pub batch_at: u64,
    /// Octets that it takes, header and padding with it.
    pub bytes: u64,
    /// Octets of the envelope.
    pub envelope_bytes: usize,
    /// Octets of the content, which follows the envelope.
    content_bytes: usize,
    body_sum: u32,
}

/// What lies at a place where a frame may begin.
pub enum Place {
    /// A frame, and its envelope and content.
    Record(Frame, Vec<u8>),
    /// The header is right and the body is not.
    Header,
    /// Neither.
    Nothing,
}

impl Segment {
    fn frame_header(&self, at: u64) -> io::Result<Option<Frame>> {
        let mut header = [0; FRAME_HEADER_BYTES];
        if at + FRAME_HEADER_BYTES as u64 > self.bytes {
            return Ok(None);
        }
        self.file.read_exact_at(&mut header, at)?;
        let right = &header[..4] == b"RMXR"
            && header[8..16] == self.salt
            && u64_at(&header, 16) == at
            && self.sum(&header[..60]) == u32_at(&header, 60);
        if !right {
            return Ok(None);
        }
        let (envelope_bytes, bytes, content_bytes) =
            (u32_at(&header, 4), u64_at(&header, 32), u64_at(&header, 40));
        let batch_at = u64_at(&header, 24);
        let fits = envelope_bytes <= ENVELOPE_BYTES_MAX
            && (BATCHES_AT..=at).contains(&batch_at)
            && batch_at.is_multiple_of(BATCH_ALIGNMENT)
            && bytes.is_multiple_of(FRAME_ALIGNMENT)
            && at.checked_add(bytes).is_some_and(|end| end <= self.bytes)
            && (FRAME_HEADER_BYTES as u64 + u64::from(envelope_bytes))
                .checked_add(content_bytes)
                .is_some_and(|used| used <= bytes);
        let sizes = (usize::try_from(envelope_bytes), usize::try_from(content_bytes));
        let (true, (Ok(envelope_bytes), Ok(content_bytes))) = (fits, sizes) else { return Ok(None) };
        let body_sum = u32_at(&header, 48);
        Ok(Some(Frame { at, batch_at, bytes, envelope_bytes, content_bytes, body_sum }))
    }

    /// What lies there.
    pub fn place(&self, at: u64) -> io::Result<Place> {
        let Some(frame) = self.frame_header(at)? else { return Ok(Place::Nothing) };
        let mut body = vec![0; frame.envelope_bytes + frame.content_bytes];
        self.file.read_exact_at(&mut body, at + FRAME_HEADER_BYTES as u64)?;
        Ok(if self.sum(&body) == frame.body_sum { Place::Record(frame, body) } else { Place::Header })
    }

    /// CRC-32C of salt ‖ these.
    fn sum(&self, octets: &[u8]) -> u32 {
        let mut digest = CRC_32C.digest();
        digest.update(&self.salt);
        digest.update(octets);
        digest.finalize()
    }

    /// Whether nothing was written from there on.
    pub fn is_zero_from(&self, mut at: u64) -> io::Result<bool> {
        let mut octets = vec![0; 1 << 20];
        while at < self.bytes {
            let count = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(octets.len());
            self.file.read_exact_at(&mut octets[..count], at)?;
            if octets[..count].iter().any(|octet| *octet != 0) {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    }
}

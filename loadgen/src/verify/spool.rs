//! Reads a spool of ringmx. Written from `docs/spool.md` alone and sharing no code with the receiver, so that writer and
//! checker do not share a mistake: if the two disagree, one of them or the document is wrong.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc, Table};

use super::{Findings, Stored};

/// CRC-32C.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Where the first batch may begin.
const BATCHES_AT: u64 = 4096;
/// Batches begin at multiples of this.
const BATCH_ALIGNMENT: u64 = 4096;
/// Frames begin at multiples of this.
const FRAME_ALIGNMENT: u64 = 512;
const FRAME_HEADER_BYTES: usize = 64;
const ENVELOPE_BYTES_MAX: u32 = 64 << 20;

/// Hands every record to the findings. What is wrong with the spool itself becomes a remark.
pub fn read(root: &Path, findings: &mut Findings) -> Result<(), String> {
    let mut segments = Vec::new();
    let failed = |error| format!("reading {}: {error}", root.display());
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(sequence) = sequence_in_name(&path) {
            segments.push((sequence, path));
        }
    }
    segments.sort();
    for (sequence, path) in segments {
        read_segment(sequence, &path, findings)
            .map_err(|error| format!("reading {}: {error}", path.display()))?;
    }
    Ok(())
}

/// The sequence number of a segment, if the name is one's.
fn sequence_in_name(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".segment")?;
    let plain = digits.len() == 16 && digits.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| octets[at + index]))
}

fn u64_at(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| octets[at + index]))
}

/// A segment that is being read.
struct Segment {
    file: File,
    /// Octets that may be read: the smaller of what the header and the file say.
    bytes: u64,
    salt: [u8; 8],
    /// All was zero when this use of the file began.
    zeroed: bool,
}

/// Why a segment cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    Damaged(&'static str),
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
fn parse_segment_header(header: &[u8; 48], sequence: u64) -> Result<([u8; 8], u32, u64), Unreadable> {
    if &header[..8] != b"RINGMXSP" {
        return Err(Unreadable::Damaged("it does not begin with RINGMXSP"));
    }
    let version = u32_at(header, 8);
    if version != 1 {
        return Err(Unreadable::Version(version));
    }
    if CRC.checksum(&header[..44]) != u32_at(header, 44) {
        return Err(Unreadable::Damaged("the checksum of its header is wrong"));
    }
    if u64_at(header, 24) != sequence {
        return Err(Unreadable::Damaged("its header has another number than its name"));
    }
    Ok((std::array::from_fn(|at| header[16 + at]), u32_at(header, 12), u64_at(header, 32)))
}

/// A frame whose header is right.
struct Frame {
    at: u64,
    batch_at: u64,
    bytes: u64,
    envelope_bytes: usize,
    content_bytes: usize,
    body_sum: u32,
}

/// What lies at a place where a frame may begin.
enum Place {
    Record(Frame, Vec<u8>),
    /// The header is right and the body is not.
    Header,
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

    fn place(&self, at: u64) -> io::Result<Place> {
        let Some(frame) = self.frame_header(at)? else { return Ok(Place::Nothing) };
        let mut body = vec![0; frame.envelope_bytes + frame.content_bytes];
        self.file.read_exact_at(&mut body, at + FRAME_HEADER_BYTES as u64)?;
        Ok(if self.sum(&body) == frame.body_sum { Place::Record(frame, body) } else { Place::Header })
    }

    /// CRC of salt ‖ these.
    fn sum(&self, octets: &[u8]) -> u32 {
        let mut digest = CRC.digest();
        digest.update(&self.salt);
        digest.update(octets);
        digest.finalize()
    }

    fn is_zero_from(&self, mut at: u64) -> io::Result<bool> {
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

fn read_segment(sequence: u64, path: &Path, findings: &mut Findings) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = File::open(path)?;
    let mut header = [0; 48];
    let file_bytes = file.metadata()?.len();
    if file_bytes < header.len() as u64 {
        findings.remark(format!("segment {name} is damaged: it has no whole header"));
        return Ok(());
    }
    file.read_exact_at(&mut header, 0)?;
    let (salt, flags, bytes) = match parse_segment_header(&header, sequence) {
        Ok(parsed) => parsed,
        Err(why) => {
            findings.remark(format!("segment {name} {why}"));
            return Ok(());
        }
    };
    let segment = Segment { file, bytes: bytes.min(file_bytes), salt, zeroed: flags & 1 != 0 };
    let (gaps, last_batch_at) = read_frames(&segment, sequence, path, findings)?;
    for gap in gaps {
        let kind = if gap.start < last_batch_at { "DAMAGE" } else { "a torn write" };
        findings.remark(format!("segment {name}: {kind} at {} to {}", gap.start, gap.end));
    }
    Ok(())
}

/// Hands over the records; gives the gaps, and where the last batch begins.
fn read_frames(
    segment: &Segment,
    sequence: u64,
    path: &Path,
    findings: &mut Findings,
) -> io::Result<(Vec<std::ops::Range<u64>>, u64)> {
    let (mut gaps, mut last_batch_at) = (Vec::new(), 0);
    let (mut at, mut gap_at, mut header_in_gap) = (BATCHES_AT, None, false);
    while at < segment.bytes {
        match segment.place(at)? {
            Place::Record(frame, body) => {
                if let Some(start) = gap_at.take() {
                    gaps.push(start..at);
                }
                header_in_gap = false;
                (last_batch_at, at) = (frame.batch_at, at + frame.bytes);
                take_record(&frame, body, sequence, path, findings);
            }
            nothing => {
                header_in_gap |= matches!(nothing, Place::Header);
                gap_at.get_or_insert(at);
                at += FRAME_ALIGNMENT;
            }
        }
    }
    if let Some(start) = gap_at
        && (header_in_gap || (segment.zeroed && !segment.is_zero_from(start)?))
    {
        gaps.push(start..segment.bytes);
    }
    Ok((gaps, last_batch_at))
}

fn take_record(frame: &Frame, mut body: Vec<u8>, sequence: u64, path: &Path, findings: &mut Findings) {
    let mut content = body.split_off(frame.envelope_bytes);
    let envelope = body.as_slice();
    let place = RecordPlace { path: path.to_path_buf(), at: frame.at };
    let (envelope, mut complaint) = match Envelope::parse(envelope) {
        Ok(envelope) => (envelope, None),
        Err(why) => (Envelope::default(), Some(why.to_string())),
    };
    if let Some((bytes, sum)) = envelope.continued {
        // The rest of the content has a file of its own, named after the place of the record.
        let path = path.with_file_name(format!("{sequence:016x}-{:016x}.message", frame.at));
        match fs::read(&path) {
            Ok(rest) if rest.len() as u64 == bytes && CRC.checksum(&rest) == sum => content.extend(rest),
            Ok(_) => complaint = Some(format!("its file {} is damaged", path.display())),
            Err(error) => complaint = Some(format!("its file {}: {error}", path.display())),
        }
    }
    findings.take(Stored {
        place: &place,
        content: &content,
        lf_allowed: false,
        recipients: envelope.recipients,
        mail_data_at: envelope.trace_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        complaint,
    });
}

struct RecordPlace {
    path: PathBuf,
    at: u64,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.path.display(), self.at)
    }
}

/// What the ledger is compared with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Envelope {
    recipients: Vec<Option<Vec<u8>>>,
    trace_bytes: Option<u64>,
    /// Octets and checksum of the file in which the content goes on.
    continued: Option<(u64, u32)>,
}

impl Envelope {
    fn parse(mut fields: &[u8]) -> Result<Self, &'static str> {
        const RECIPIENT: u16 = 7;
        const TRACE_BYTES: u16 = 11;
        const REQUIRETLS: u16 = 0x8011;
        const CONTINUED: u16 = 0x8012;
        const MUST_BE_KNOWN: u16 = 0x8000;
        const CUT_OFF: &str = "a field of its envelope is cut off";
        let mut envelope = Self::default();
        while !fields.is_empty() {
            let (head, rest) = fields.split_at_checked(6).ok_or(CUT_OFF)?;
            let tag = u16::from_le_bytes([head[0], head[1]]);
            let length = usize::try_from(u32_at(head, 2)).map_err(|_| CUT_OFF)?;
            let (value, rest) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
            match tag {
                RECIPIENT => envelope.recipients.push(Some(value.to_vec())),
                TRACE_BYTES => {
                    let octets = value.try_into().map_err(|_| "its trace length has not 8 octets")?;
                    envelope.trace_bytes = Some(u64::from_le_bytes(octets));
                }
                CONTINUED if value.len() == 12 => {
                    envelope.continued = Some((u64_at(value, 0), u32_at(value, 8)));
                }
                REQUIRETLS => {}
                MUST_BE_KNOWN.. => return Err("its envelope has a field that must be understood"),
                _ => {}
            }
            fields = rest;
        }
        if envelope.recipients.is_empty() {
            return Err("its envelope has no recipient");
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_one_of_the_document() {
        assert_eq!(CRC.checksum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn an_envelope_that_is_cut_off_is_not_taken_for_whole() {
        let field = |tag: u16, value: &[u8]| {
            [&tag.to_le_bytes()[..], &u32::try_from(value.len()).expect("small").to_le_bytes(), value]
                .concat()
        };
        let whole =
            [field(7, b"a@b"), field(99, b"?"), field(11, &40u64.to_le_bytes()), field(7, b"c@d")].concat();
        let envelope = Envelope::parse(&whole).expect("whole");
        assert_eq!(envelope.recipients, [Some(b"a@b".to_vec()), Some(b"c@d".to_vec())]);
        assert_eq!(envelope.trace_bytes, Some(40));
        assert!(Envelope::parse(&whole[..whole.len() - 1]).is_err());
        assert!(Envelope::parse(&field(0x8001, b"")).is_err());
        assert!(Envelope::parse(b"").is_err());
        let rest = [field(0x8012, &[9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]), whole].concat();
        assert_eq!(Envelope::parse(&rest).expect("whole").continued, Some((9, 3)));
        assert!(Envelope::parse(&field(0x8012, b"short")).is_err());
    }

    #[test]
    fn names_of_other_forms_are_not_the_spools() {
        for (name, sequence) in [
            ("00000000000000ff.segment", Some(255)),
            ("00000000000000FF.segment", None),
            ("00000000000000ff.segment.new", None),
            ("ff.segment", None),
            (".ringmx.lock", None),
        ] {
            assert_eq!(sequence_in_name(Path::new(name)), sequence, "{name}");
        }
    }

    /// A segment made by hand from the document: three batches of one frame of 4096 octets each, then nothing.
    fn segment_by_hand() -> Vec<u8> {
        let salt = [7; 8];
        let sum = |octets: &[u8]| CRC.checksum(&[&salt[..], octets].concat());
        let mut segment = [&b"RINGMXSP"[..], &1u32.to_le_bytes(), &1u32.to_le_bytes(), &salt].concat();
        segment.extend([5u64, 20_480, 0].iter().flat_map(|number| number.to_le_bytes()).take(20));
        let header_sum = CRC.checksum(&segment);
        segment.extend(header_sum.to_le_bytes());
        segment.resize(4096, 0);
        for number in 0..3 {
            let at = segment.len() as u64;
            let envelope = [&7u16.to_le_bytes()[..], &3u32.to_le_bytes(), b"a@b"].concat();
            let content = format!("Subject: {number}\r\n\r\n").into_bytes();
            let body = [&envelope[..], &content].concat();
            let mut frame = [&b"RMXR"[..], &9u32.to_le_bytes(), &salt].concat();
            frame.extend([at, at, 4096, content.len() as u64].iter().flat_map(|number| number.to_le_bytes()));
            frame.extend(sum(&body).to_le_bytes());
            frame.resize(60, 0);
            let header_sum = sum(&frame);
            frame.extend(header_sum.to_le_bytes());
            frame.extend(body);
            frame.resize(4096, 0);
            segment.extend(frame);
        }
        segment.resize(20_480, 0);
        segment
    }

    /// Records found, and remarks.
    fn read_by_hand(segment: &[u8]) -> (u64, Vec<String>) {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("0000000000000005.segment"), segment).expect("written");
        fs::write(folder.path().join("0000000000000006.segment.new"), b"").expect("written");
        let mut findings = Findings::new(crate::ledger::Ledger::default());
        read(folder.path(), &mut findings).expect("readable");
        (findings.foreign.count, findings.remarks)
    }

    #[test]
    fn records_around_damage_and_in_front_of_a_torn_write_are_read() {
        let whole = segment_by_hand();
        assert_eq!(read_by_hand(&whole), (3, vec![]));
        let with = |at: usize| {
            let mut segment = whole.clone();
            segment[at] ^= 1;
            let (records, remarks) = read_by_hand(&segment);
            (records, remarks.concat())
        };
        let name = "segment 0000000000000005.segment";
        assert_eq!(with(8192 + 70), (2, format!("{name}: DAMAGE at 8192 to 12288")));
        assert_eq!(with(8192 + 4), (2, format!("{name}: DAMAGE at 8192 to 12288")));
        assert_eq!(with(12288 + 70), (2, format!("{name}: a torn write at 12288 to 20480")));
        assert_eq!(with(20_000), (3, format!("{name}: a torn write at 16384 to 20480")));
        assert_eq!(with(30), (0, format!("{name} is damaged: the checksum of its header is wrong")));
        assert_eq!(with(8), (0, format!("{name} has version 0, which this program does not know")));
        assert_eq!(read_by_hand(&whole[..16_384]), (3, vec![]), "the file is shorter than its header says");
        assert_eq!(read_by_hand(&whole[..14_000]).0, 2);
    }
}

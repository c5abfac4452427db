//! Reads a spool of ringmx. Written from `docs/spool.md` alone and sharing no code with the receiver, so that
//! writer and checker do not share a mistake: if the two disagree, one of them or the document is wrong.

mod encoding;
mod envelope;
mod segment;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::findings::{Findings, Stored};
use encoding::CRC_32C;
use envelope::Envelope;
use segment::{BATCHES_AT, FRAME_ALIGNMENT, Frame, Place, Segment, parse_header};

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
    let (salt, flags, bytes) = match parse_header(&header, sequence) {
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
            nothing @ (Place::Header | Place::Nothing) => {
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
            Ok(rest) if rest.len() as u64 == bytes && CRC_32C.checksum(&rest) == sum => content.extend(rest),
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

#[cfg(test)]
mod tests {
    use super::*;

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

    /// A segment made by hand from the document: three batches of one frame of 4096 octets each, then
    /// nothing.
    fn segment_by_hand() -> Vec<u8> {
        let salt = [7; 8];
        let sum = |octets: &[u8]| CRC_32C.checksum(&[&salt[..], octets].concat());
        let mut segment = [&b"RINGMXSP"[..], &1u32.to_le_bytes(), &1u32.to_le_bytes(), &salt].concat();
        segment.extend([5u64, 20_480, 0].iter().flat_map(|number| number.to_le_bytes()).take(20));
        let header_sum = CRC_32C.checksum(&segment);
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
        let mut findings = Findings::new(crate::ledger::reader::Ledger::default(), None);
        read(folder.path(), &mut findings).expect("readable");
        let verdict = findings.verdict();
        (verdict.foreign.count, verdict.remarks)
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

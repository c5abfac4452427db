//! What holds for any octets in a spool, also such that somebody made to look right: only records whose
//! checksums are right are told, in their order; and `list`, `verify`, `follow`, `export` and `show` say the
//! same. The reference is `docs/spool.md`, read naively. Shared by the property test and `tests/fuzz`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ringmx::mail::queue_id::QueueId;
use ringmx::sink::spool::cursor::{self, Cursor};
use ringmx::sink::spool::envelope::{self, StoredEnvelope, message_file_name};
use ringmx::sink::spool::export::{Target, export};
use ringmx::sink::spool::follow::Follower;
use ringmx::sink::spool::format::{RecordHeader, SegmentHeader, segment_name};
use ringmx::sink::spool::reader::{self, View};
use ringmx::sink::spool::scan::{GapKind, Scan, scan};
use ringmx::sink::spool::verify::verify;

const SALT: u64 = 0x5a17_5a17_5a17_5a17;

/// Octets of the segments that are made.
const SEGMENT_BYTES: usize = 24 * 1024;

/// What is in a directory.
#[derive(Debug, Clone, Default)]
pub struct Files(BTreeMap<String, Vec<u8>>);

/// Makes the files that an input describes. Octet 0: bit 0, the segments say that they were zeroed; bit 1,
/// the files of segments end with their last record; bit 2, the numbers of segments are the highest that
/// there are. Then operations, a letter and what it needs:
///
/// | operation | meaning |
/// | --- | --- |
/// | `R` n | a record with n octets of content and the fields so far, or those of a usual envelope |
/// | `F` tag n … | a field of the next envelope, its value n octets; a tag over 127 is a critical one |
/// | `K` n | the next envelope has a usual file of n octets, which is made |
/// | `L` n m | the next header says something else at place n, by m; its own checksum is right |
/// | `B` | a batch ends |
/// | `G` n | n frames of something else |
/// | `S` n | the next segment, n numbers on |
/// | `H` n m | the header of the segment is changed at n by m |
/// | `X` n n m | the octet at n of this segment is changed by m |
/// | `T` n | the file of this segment ends n octets before |
/// | `C` n … | `consumed` holds these octets |
/// | `c` n | `consumed` holds the cursor of record n |
pub fn files(input: &[u8]) -> Files {
    let mut maker = Maker::new(input.first().copied().unwrap_or(0));
    let mut octets = input.iter().skip(1).copied();
    while let Some(operation) = octets.next() {
        let mut number = || usize::from(octets.next().unwrap_or(0));
        match operation {
            b'R' => maker.record(number()),
            b'F' => {
                let (tag, count) = (number(), number());
                let value: Vec<u8> = octets.by_ref().take(count).collect();
                let tag = u16::try_from(tag).unwrap_or(0);
                maker.field(if tag > 127 { 0x8000 | tag & 127 } else { tag }, &value);
            }
            b'K' => maker.file_bytes = Some(number()),
            b'L' => maker.lie = Some((number(), number())),
            b'B' => maker.end_batch(),
            b'G' => {
                for _ in 0..number() % 8 {
                    maker.frame(&[0xa5; 512]);
                }
            }
            b'S' => maker.end_segment(number() % 4),
            b'H' => maker.changes.push((number() % 48, number())),
            b'X' => {
                let at = number() * 256 + number();
                maker.changes.push((at, number()));
            }
            b'T' => maker.cut = number(),
            b'C' => {
                let count = number();
                let text = octets.by_ref().take(count).collect();
                maker.files.0.insert("consumed".to_owned(), text);
            }
            b'c' => {
                let pick = maker.cursors.get(number()).copied();
                let text = pick.unwrap_or(Cursor { sequence: maker.sequence, offset: u64::MAX }).to_string();
                maker.files.0.insert("consumed".to_owned(), text.into_bytes());
            }
            _ => {}
        }
    }
    maker.end_segment(1);
    maker.files
}

struct Maker {
    flags: u8,
    files: Files,
    sequence: u64,
    segment: Vec<u8>,
    batch: usize,
    envelope: Vec<u8>,
    file_bytes: Option<usize>,
    lie: Option<(usize, usize)>,
    changes: Vec<(usize, usize)>,
    cut: usize,
    cursors: Vec<Cursor>,
}

impl Maker {
    fn new(flags: u8) -> Self {
        Self {
            flags,
            files: Files::default(),
            sequence: if flags & 4 == 0 { 1 } else { u64::MAX - 3 },
            segment: vec![0; 4096],
            batch: 4096,
            envelope: Vec::new(),
            file_bytes: None,
            lie: None,
            changes: Vec::new(),
            cut: 0,
            cursors: Vec::new(),
        }
    }

    fn field(&mut self, tag: u16, value: &[u8]) {
        let bytes = u32::try_from(value.len()).expect("short");
        self.envelope.extend([&tag.to_le_bytes()[..], &bytes.to_le_bytes(), value].concat());
    }

    fn record(&mut self, count: usize) {
        if self.envelope.is_empty() {
            let id = self.cursors.len() as u128 + 1;
            self.field(1, &id.to_le_bytes());
            self.field(7, b"anna@example.org");
        }
        let offset = self.segment.len();
        if let Some(bytes) = self.file_bytes.take() {
            let content = vec![b'f'; bytes];
            self.field(
                0x8012,
                &[&(bytes as u64).to_le_bytes()[..], &crc32c(0, &content).to_le_bytes()].concat(),
            );
            self.files.0.insert(message_file_name(self.sequence, offset as u64), content);
        }
        let envelope = std::mem::take(&mut self.envelope);
        let content = vec![b'c'; count];
        let body = [&envelope[..], &content].concat();
        let mut header = RecordHeader {
            offset: offset as u64,
            batch: self.batch as u64,
            frame_bytes: (64 + body.len()).next_multiple_of(512) as u64,
            envelope_bytes: u32::try_from(envelope.len()).expect("short"),
            content_bytes: content.len() as u64,
            body_crc: crc32c(crc32c(0, &SALT.to_le_bytes()), &body),
        };
        // A number that is larger by one place in base 256, or smaller: lengths and places that almost fit,
        // and huge ones.
        if let Some((what, by)) = self.lie.take() {
            let change = |number: &mut u64| {
                *number = number.wrapping_add((by as u64).wrapping_sub(128) << (what & 0x38));
            };
            match what % 6 {
                0 => change(&mut header.batch),
                1 => change(&mut header.frame_bytes),
                2 => change(&mut header.content_bytes),
                3 => change(&mut header.offset),
                4 => {
                    header.envelope_bytes =
                        header.envelope_bytes.wrapping_add(u32::try_from(by).unwrap_or(0) << (what & 0x18));
                }
                _ => header.body_crc ^= 1,
            }
        }
        self.cursors.push(Cursor { sequence: self.sequence, offset: offset as u64 });
        let octets = [&header.encode(SALT)[..], &body].concat();
        for frame in octets.chunks(512) {
            self.frame(frame);
        }
    }

    fn frame(&mut self, octets: &[u8]) {
        if self.segment.len() + 512 <= SEGMENT_BYTES {
            self.segment.extend_from_slice(octets);
            self.segment.resize(self.segment.len().next_multiple_of(512), 0);
        }
    }

    fn end_batch(&mut self) {
        self.segment.resize(self.segment.len().next_multiple_of(4096), 0);
        self.batch = self.segment.len();
    }

    fn end_segment(&mut self, skip: usize) {
        let mut segment = std::mem::replace(&mut self.segment, vec![0; 4096]);
        let header = SegmentHeader {
            salt: SALT,
            sequence: self.sequence,
            bytes: SEGMENT_BYTES as u64,
            is_zeroed: self.flags & 1 != 0,
        };
        segment[..48].copy_from_slice(&header.encode());
        if self.flags & 2 == 0 {
            segment.resize(SEGMENT_BYTES, 0);
        }
        let mut is_header_changed = false;
        for (at, change) in self.changes.drain(..) {
            if let Some(octet) = segment.get_mut(at) {
                *octet ^= u8::try_from(change).unwrap_or_default();
                is_header_changed |= (8..44).contains(&at);
            }
        }
        // Where the magic and the checksum were left alone, the checksum is right.
        if is_header_changed && segment[..8] == header.encode()[..8] {
            let crc = crc32c(0, &segment[..44]);
            segment[44..48].copy_from_slice(&crc.to_le_bytes());
        }
        segment.truncate(segment.len() - std::mem::take(&mut self.cut));
        self.files.0.insert(segment_name(self.sequence), segment);
        self.sequence = self.sequence.saturating_add(skip.max(1) as u64);
        self.batch = 4096;
    }
}

/// The checksum of `docs/spool.md`, bit by bit.
fn crc32c(before: u32, octets: &[u8]) -> u32 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|index| {
            (0..8).fold(u32::try_from(index).expect("an octet"), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
            })
        })
    });
    !octets.iter().fold(!before, |crc, octet| TABLE[usize::from(crc.to_le_bytes()[0] ^ octet)] ^ crc >> 8)
}

/// A record as the reference finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Naive {
    offset: u64,
    batch: u64,
    envelope: Vec<u8>,
    content: Vec<u8>,
}

/// The whole records of a segment, and its gaps: from where, whether a record follows, and whether that is
/// damage.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    records: Vec<Naive>,
    gaps: Vec<(u64, bool, bool)>,
}

fn number(octets: &[u8], at: usize) -> u64 {
    octets.get(at..at + 8).map_or(0, |eight| u64::from_le_bytes(eight.try_into().expect("eight")))
}

/// `docs/spool.md`, *A segment* and *Reading*. None for a file that is no segment of this version.
fn naive(octets: &[u8]) -> Option<(u64, Found)> {
    let header = octets.get(..48)?;
    let crc = u32::from_le_bytes(header[44..].try_into().expect("four"));
    if &header[..8] != b"RINGMXSP" || header[8..12] != [1, 0, 0, 0] || crc32c(0, &header[..44]) != crc {
        return None;
    }
    let (salt, sequence, bytes) = (number(header, 16), number(header, 24), number(header, 32));
    let is_zeroed = header[12] & 1 == 1;
    let end = bytes.min(octets.len() as u64);
    let mut found = Found::default();
    let (mut at, mut gap) = (4096, None);
    while at < end {
        if let Some((record, frame_bytes)) = record(octets, bytes, salt, at) {
            found.gaps.extend(gap.take().map(|from| (from, true, false)));
            found.records.push(record);
            at += frame_bytes;
        } else {
            gap = gap.or(Some(at));
            at += 512;
        }
    }
    if let Some(from) = gap {
        let places = (from..end).step_by(512);
        let is_begun = places.into_iter().any(|at| header_at(octets, bytes, salt, at).is_some());
        let rest = &octets[usize::try_from(from).expect("small")..usize::try_from(end).expect("small")];
        if is_begun || is_zeroed && rest.iter().any(|octet| *octet != 0) {
            found.gaps.push((from, false, false));
        }
    }
    let last_batch = found.records.last().map_or(0, |record| record.batch);
    found.gaps.iter_mut().for_each(|gap| gap.2 = gap.0 < last_batch);
    Some((sequence, found))
}

/// The header of a frame that is to be believed: octets of the envelope, of the content, of the frame.
fn header_at(octets: &[u8], bytes: u64, salt: u64, at: u64) -> Option<(u64, u64, u64)> {
    let start = usize::try_from(at).ok()?;
    let head = octets.get(start..start.checked_add(64)?)?;
    let envelope = u64::from(u32::from_le_bytes(head[4..8].try_into().expect("four")));
    let (batch, frame, content) = (number(head, 24), number(head, 32), number(head, 40));
    let crc = u32::from_le_bytes(head[60..].try_into().expect("four"));
    let is_sound = head.starts_with(b"RMXR")
        && number(head, 8) == salt
        && number(head, 16) == at
        && crc32c(crc32c(0, &salt.to_le_bytes()), &head[..60]) == crc
        && batch.is_multiple_of(4096)
        && (4096..=at).contains(&batch)
        && frame.is_multiple_of(512)
        && envelope <= 64 << 20
        && u128::from(envelope) + u128::from(content) + 64 <= u128::from(frame)
        && u128::from(at) + u128::from(frame) <= u128::from(bytes);
    is_sound.then_some((envelope, content, frame))
}

fn record(octets: &[u8], bytes: u64, salt: u64, at: u64) -> Option<(Naive, u64)> {
    let (envelope, content, frame) = header_at(octets, bytes, salt, at)?;
    let start = usize::try_from(at).ok()?;
    let batch = number(octets, start + 24);
    let crc = u32::from_le_bytes(octets.get(start + 48..start + 52)?.try_into().expect("four"));
    let body = octets.get(start + 64..start + 64 + usize::try_from(envelope + content).ok()?)?;
    if crc32c(crc32c(0, &salt.to_le_bytes()), body) != crc {
        return None;
    }
    let (envelope, content) = body.split_at(usize::try_from(envelope).ok()?);
    Some((Naive { offset: at, batch, envelope: envelope.to_vec(), content: content.to_vec() }, frame))
}

/// One segment in memory: what is scanned is what the reference finds.
fn check_scan(octets: &[u8]) {
    let scanned = scan(octets).expect("memory").ok();
    let text = |range: (u64, u64)| {
        octets[usize::try_from(range.0).expect("small")..usize::try_from(range.0 + range.1).expect("small")]
            .to_vec()
    };
    let seen = scanned.map(|Scan { segment, records, gaps }| {
        let record = |record: &RecordHeader| Naive {
            offset: record.offset,
            batch: record.batch,
            envelope: text((record.envelope_start(), u64::from(record.envelope_bytes))),
            content: text((record.content_start(), record.content_bytes)),
        };
        let follows = |to: u64| records.iter().any(|record| record.offset == to);
        let gaps = gaps.iter().map(|gap| (gap.from, follows(gap.to), gap.kind == GapKind::Damage)).collect();
        (segment.sequence, Found { records: records.iter().map(record).collect(), gaps })
    });
    assert_eq!(seen, naive(octets));
}

/// A record that can be handed on.
struct Good {
    cursor: Cursor,
    stored: StoredEnvelope,
    /// With that of its file; none when the file is not what the record says.
    content: Option<Vec<u8>>,
}

/// All that is claimed of a directory with these files.
pub fn check(input: &[u8]) {
    let files = files(input);
    let mut expected = Expected::default();
    for (name, octets) in &files.0 {
        let Some(digits) = name.strip_suffix(".segment") else { continue };
        check_scan(octets);
        expected.take(u64::from_str_radix(digits, 16).expect("digits"), octets, &files);
    }
    let directory = directory();
    let path = directory.path();
    for (name, octets) in &files.0 {
        fs::write(path.join(name), octets).expect("written");
    }
    check_consumed(path, &expected);
    check_verify(path, &expected);
    check_follow(path, &expected);
    check_export(path, &expected);
    check_show(path, &expected);
}

/// A directory in memory, where there is one.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

#[derive(Default)]
struct Expected {
    good: Vec<Good>,
    /// Whole records.
    records: u64,
    torn: u64,
    /// Gaps that are damage, segments that are none, envelopes and files that cannot be read.
    problems: u64,
    /// How far a follower comes before it ends: to a record that cannot be handed on, or a write that did not
    /// end.
    followed: Option<usize>,
    /// The place where a follower waits in the segment that was begun last.
    unsettled: Option<usize>,
}

impl Expected {
    fn take(&mut self, sequence: u64, octets: &[u8], files: &Files) {
        let found = naive(octets).filter(|(number, _)| *number == sequence);
        let Some((_, Found { records, gaps })) = found else {
            self.problems += 1;
            return;
        };
        self.records += records.len() as u64;
        self.torn += gaps.iter().filter(|gap| !gap.2).count() as u64;
        self.problems += gaps.iter().filter(|gap| gap.2).count() as u64;
        if !records.is_empty() {
            // A later segment was begun: nobody waits in the one before.
            self.unsettled = None;
        }
        let mut at = 4096;
        for Naive { offset, batch, envelope, mut content } in records {
            let is_settled = offset == at || batch > at;
            if !is_settled && self.unsettled.is_none() {
                self.unsettled = Some(self.good.len());
            }
            at = offset + number(octets, usize::try_from(offset).expect("small") + 32);
            let Ok(stored) = envelope::decode(&envelope) else {
                self.problems += 1;
                self.followed.get_or_insert(self.good.len());
                continue;
            };
            let is_whole = stored.file.is_none_or(|facts| {
                let file = files.0.get(&message_file_name(sequence, offset));
                content.extend(file.into_iter().flatten());
                file.is_some_and(|file| file.len() as u64 == facts.bytes && crc32c(0, file) == facts.crc32c)
            });
            if !is_whole {
                self.problems += 1;
                self.followed.get_or_insert(self.good.len());
            }
            let content = is_whole.then_some(content);
            self.good.push(Good { cursor: Cursor { sequence, offset }, stored, content });
        }
    }

    fn cursors(&self) -> Vec<Cursor> {
        self.good.iter().map(|good| good.cursor).collect()
    }
}

/// Whatever `consumed` holds: `list` tells every record, and calls those consumed up to the one that it
/// names.
fn check_consumed(path: &Path, expected: &Expected) {
    let mut out = Vec::new();
    let listed = reader::list(path, None, &mut out);
    let said = cursor::read_consumed(path);
    assert_eq!(listed.is_err(), said.is_err(), "{listed:?} where `consumed` says {said:?}");
    let text = String::from_utf8(out).expect("text");
    if listed.is_ok() {
        let words = |line: &str| line.rsplit(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<_> = text.lines().map(words).collect();
        let cursors: Vec<Cursor> = lines.iter().map(|words| words[0].parse().expect("a cursor")).collect();
        assert_eq!(cursors, expected.cursors());
        let consumed = reader::last_consumed(path).expect("as before");
        for (cursor, words) in cursors.iter().zip(&lines) {
            assert_eq!(words[1] == "consumed", Some(*cursor) <= consumed, "{words:?}");
        }
    }
}

fn check_verify(path: &Path, expected: &Expected) {
    let found = verify(path).expect("a directory that can be read");
    // What was consumed and recycled meanwhile is no damage: past a segment that `consumed` is behind,
    // nothing is counted.
    if reader::last_consumed(path).is_ok_and(|consumed| consumed.is_none()) {
        let told = (found.records, found.torn, found.notes.problems);
        assert_eq!(told, (expected.records, expected.torn, expected.problems), "{:?}", found.notes);
    }
}

/// Each record once, in order, with its content; all of them unless one cannot be handed on.
fn check_follow(path: &Path, expected: &Expected) {
    let (mut notes, mut taken) = (Vec::new(), Vec::new());
    let mut note = |text: String| notes.push(text);
    let mut follower = Follower::new(path, None, true, &mut note).expect("a directory that can be read");
    let ended = loop {
        let advanced = follower.advance(&mut note, &mut |found| {
            taken.push((found.cursor, found.json()));
            Ok(())
        });
        match advanced {
            Ok(true) => {}
            other => break other,
        }
    };
    let end = [expected.followed, expected.unsettled].into_iter().flatten().min();
    let all = expected.good.get(..end.unwrap_or(expected.good.len())).expect("so many");
    let cursors: Vec<Cursor> = taken.iter().map(|(cursor, _)| *cursor).collect();
    let wanted: Vec<Cursor> = all.iter().map(|good| good.cursor).collect();
    assert_eq!(cursors, wanted, "{ended:?} {notes:?}");
    let is_stopped = expected.followed.is_some() && expected.followed == end && expected.unsettled != end;
    assert!(ended.is_ok() || expected.followed.is_some(), "{ended:?}");
    assert!(ended.is_err() || !is_stopped, "what cannot be handed on is told");
    for ((_, line), good) in taken.iter().zip(all) {
        let text = data_encoding::BASE64.encode(good.content.as_deref().unwrap_or_default());
        assert!(line.ends_with(&format!("\"data_base64\":\"{text}\"}}\n")), "{line}");
        assert_eq!(line.matches('\n').count(), 1, "one record, one line");
    }
}

/// Every message that is whole, once: those of one id are the same or told.
fn check_export(path: &Path, expected: &Expected) {
    let target = directory();
    let root: PathBuf = target.path().join("eml");
    for round in 0..2 {
        let exported = export(path, None, &Target::Eml(root.clone())).expect("room");
        let whole = expected.good.iter().filter(|good| good.content.is_some()).count() as u64;
        let differs =
            exported.notes.lines.iter().filter(|line| line.contains("holds something else")).count() as u64;
        assert_eq!(exported.new + exported.already + differs, whole, "{:?}", exported.notes);
        assert!(round == 0 || exported.new == 0, "nothing is made twice");
    }
    for (id, good) in first_of_each(expected) {
        let Some(content) = &good.content else { continue };
        let octets = fs::read(root.join(format!("{id}.eml"))).expect("exported");
        // A path with a control is a forgery, and must not begin a line or a field of its own.
        let shown = |path: &[u8]| -> Vec<u8> {
            path.iter().map(|octet| if octet.is_ascii_control() { b'?' } else { *octet }).collect()
        };
        let envelope = &good.stored.envelope;
        let recipients = envelope.recipients().map(|to| shown(to.whole));
        let recipients = recipients.map(|to| [b"Delivered-To: ", &to[..], b"\r\n"].concat());
        let fields = [b"Return-Path: <", &shown(envelope.reverse_path())[..], b">\r\n"].concat();
        assert_eq!(octets, [fields, recipients.collect::<Vec<_>>().concat(), content.clone()].concat());
    }
}

/// The first whole message of each id, in the text of the id.
fn first_of_each(expected: &Expected) -> BTreeMap<String, &Good> {
    let mut first = BTreeMap::new();
    for good in expected.good.iter().filter(|good| good.content.is_some()) {
        first.entry(good.stored.id.to_string()).or_insert(good);
    }
    first
}

fn check_show(path: &Path, expected: &Expected) {
    let mut shown_ids = Vec::new();
    for Good { stored, content, .. } in &expected.good {
        // Of two with one id the first one is shown.
        if shown_ids.contains(&stored.id) {
            continue;
        }
        shown_ids.push(stored.id);
        let mut out = Vec::new();
        let shown = reader::show(path, stored.id, View::Content, &mut out);
        match content {
            Some(content) => assert_eq!((shown.expect("whole"), &out), (true, content)),
            None => assert!(shown.is_err(), "damage is told"),
        }
    }
    let absent = QueueId(0x0123_4567_89ab_cdef);
    if !shown_ids.contains(&absent) {
        assert!(!reader::show(path, absent, View::Content, &mut Vec::new()).expect("a spool"));
    }
}

//! Hands records on in order, each once and only when it is durable, while a receiver goes on writing.
//!
//! Reads the place where the next record will begin. Where none is and one of a later batch or segment is
//! found, the place is damaged and is passed over; until then it may be a batch that is being written.
//!
//! What is durable the receiver says ([`Horizon`]). Where it does not say it, or says it of another segment,
//! the follower syncs what it hands on itself.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::cursor::{self, Cursor};
use super::envelope::StoredEnvelope;
use super::format::{FRAME_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};
use super::horizon::{DurableEnd, Horizon};
use super::reader::{self, Segment, segments};
use super::scan::{records_at, scan, scan_from};
use crate::sink::file_system::Named;

/// Records that are made durable and handed on together.
const RECORDS_MAX: usize = 256;

/// How often the rest of a segment is searched for what comes after a damaged place.
const SEARCH_EVERY: Duration = Duration::from_secs(2);

/// How long a wait lasts where the receiver wakes us: whoever waits has other things to look at.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What comes after that which the receiver says is durable is looked at so long after something was handed
/// on, or after the last such look, as if it said nothing: mail shall not wait for a page that stands still.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// A record that was handed on.
#[derive(Debug)]
pub struct Followed {
    /// Where it is.
    pub cursor: Cursor,
    /// What is known of the message.
    pub envelope: StoredEnvelope,
    /// Our trace information and the mail data, octet for octet.
    pub content: Vec<u8>,
}

impl Followed {
    /// All of it as one line.
    pub fn json(&self) -> String {
        let facts = self.envelope.facts(self.cursor, self.content.len() as u64);
        facts.json(std::iter::once(self.content.as_slice()))
    }
}

/// Where a follower is in a spool.
#[derive(Debug)]
pub struct Follower {
    directory: PathBuf,
    /// The segment that is read; none before the first one, and between two.
    current: Option<Segment>,
    /// Where in it the next record is expected.
    at: u64,
    /// Segments up to this number are read or passed over.
    passed: Option<u64>,
    /// The rest of the segment was searched then, when it had this time of its last change.
    searched: Option<(Instant, SystemTime)>,
    /// Whether to end where nothing more is.
    once: bool,
    /// What the receiver says.
    horizon: Horizon,
    /// It has said that the segment is durable up to here.
    durable: u64,
    /// When something was handed on last, or looked for without what the receiver says.
    moved_at: Instant,
    /// How often it has synced a segment.
    syncs: u64,
    /// What was read of the segment last.
    buffer: Vec<u8>,
}

impl Follower {
    /// Begins after a record, or with the oldest one there is. A note tells that the record's segment is
    /// gone.
    pub fn new(
        directory: &Path,
        after: Option<Cursor>,
        once: bool,
        note: &mut dyn FnMut(String),
    ) -> io::Result<Self> {
        let mut follower = Self {
            directory: directory.to_owned(),
            current: None,
            at: SEGMENT_HEADER_BYTES,
            passed: after.and_then(|after| after.sequence.checked_sub(1)),
            searched: None,
            once,
            horizon: Horizon::new(directory),
            durable: 0,
            moved_at: Instant::now(),
            syncs: 0,
            buffer: Vec::new(),
        };
        // A directory that cannot be read is told at once.
        let exists =
            |sequence| segments(directory).map(|all| all.iter().any(|(number, _)| *number == sequence));
        let Some(after) = after else { return exists(0).map(|_| follower) };
        if !exists(after.sequence)? {
            note(format!("the segment of {after} is gone; going on with the oldest one behind it"));
        } else if follower.open_next(note)?
            && let Some(segment) = &follower.current
            && segment.scan().segment.sequence == after.sequence
        {
            let header = segment.scan().segment;
            let record = records_at(&segment.file, &header, after.offset, 1).named(&segment.path)?;
            // After a damaged record the search finds the next one.
            let bytes = record.first().map_or(FRAME_BYTES, |record| record.frame_bytes);
            follower.at = after.offset.saturating_add(bytes).max(SEGMENT_HEADER_BYTES);
        }
        Ok(follower)
    }

    /// Begins after the last consumed record. Where nothing was consumed that is the oldest one there is, and
    /// so it is, with a note, where `consumed` names no record: to believe that would pass over mail that
    /// nobody has seen.
    pub fn behind_consumed(directory: &Path, once: bool, note: &mut dyn FnMut(String)) -> io::Result<Self> {
        let said = cursor::read_consumed(directory)?;
        let consumed = reader::last_consumed(directory)?;
        if let (Some(said), None) = (said, consumed) {
            note(format!(
                "`consumed` says {said}, and there is no such record: beginning with the oldest one"
            ));
        }
        Self::new(directory, consumed, once, note)
    }

    /// Hands on what there is now; false when that was nothing.
    ///
    /// An error ends the following: what cannot be synced, and a record that is there but cannot be handed
    /// on, because passing over it in silence would lose it.
    pub fn advance(
        &mut self,
        note: &mut dyn FnMut(String),
        take: &mut dyn FnMut(Followed) -> io::Result<()>,
    ) -> io::Result<bool> {
        // Before anything is read: what is said now is true of what is read then. Who reads once takes what
        // is there, and waits for nobody.
        let said = if self.once { None } else { self.horizon.look() };
        if self.current.is_none() && !self.open_next(note)? {
            return Ok(false);
        }
        let end = self.end_of_durable(said);
        if end.is_some_and(|end| end <= self.at) {
            return Ok(false);
        }
        let Some(segment) = &self.current else { return Ok(false) };
        let records = records_at(&segment.file, &segment.scan().segment, self.at, RECORDS_MAX);
        let mut records = records.named(&segment.path)?;
        if records.is_empty() {
            match self.search(note)? {
                Beyond::Records(found) => records = found,
                Beyond::NextSegment => return Ok(true),
                Beyond::Nothing => return Ok(false),
            }
        }
        records.truncate(RECORDS_MAX);
        if let Some(end) = end {
            let durable = records.iter().take_while(|record| end_of(record) <= end).count();
            records.truncate(durable);
        }
        if records.is_empty() {
            return Ok(false);
        }
        self.moved_at = Instant::now();
        self.hand_on(&records, note, take)
    }

    /// Waits after [`Self::advance`] had nothing to hand on: until the receiver has stored something, or for
    /// a moment; without a receiver that would say so for as long as is given.
    pub fn wait(&self, otherwise: Duration) {
        if !self.horizon.wait(WAIT_MAX) {
            std::thread::sleep(otherwise);
        }
    }

    /// How often it has synced a segment, because nobody said that it is durable.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Where what is durable ends in the segment that is read, if the receiver says it of this one now: what
    /// comes after it is waited for. None where the follower finds out itself.
    fn end_of_durable(&mut self, said: Option<DurableEnd>) -> Option<u64> {
        let header = self.current.as_ref()?.scan().segment;
        let Some(said) = said else {
            self.durable = 0;
            return None;
        };
        if (said.sequence, said.salt) != (header.sequence, header.salt) {
            // It writes to a later one; or it has not said anything of this one, whose first batch it may be
            // writing. What it said of this one before stays true.
            return None;
        }
        self.durable = self.durable.max(said.end);
        let is_alone = self.durable <= self.at && self.moved_at.elapsed() >= ALONE_AFTER;
        if is_alone {
            self.moved_at = Instant::now();
            return None;
        }
        Some(self.durable)
    }

    /// Where the next record is expected; none between two segments.
    pub fn at(&self) -> Option<Cursor> {
        let segment = self.current.as_ref()?;
        Some(Cursor { sequence: segment.scan().segment.sequence, offset: self.at })
    }

    fn hand_on(
        &mut self,
        records: &[RecordHeader],
        note: &mut dyn FnMut(String),
        take: &mut dyn FnMut(Followed) -> io::Result<()>,
    ) -> io::Result<bool> {
        let Some(segment) = &self.current else { return Ok(false) };
        let durable = self.durable;
        let is_durable = |record: &RecordHeader| end_of(record) <= durable;
        let synced = if records.iter().all(is_durable) {
            Ok(())
        } else {
            self.syncs += 1;
            segment.sync()
        };
        let before_file = |record: &RecordHeader, envelope: &StoredEnvelope| {
            if is_durable(record) { Ok(()) } else { segment.sync_message_file(record, envelope) }
        };
        let mut rest = records;
        while !rest.is_empty() {
            // Read again after the sync: what the receiver cut off after a failed write is not there any
            // more.
            let read = segment.read_together(rest, &mut self.buffer, before_file);
            if !segment.is_current()? {
                note(format!(
                    "{}: recycled while it was read: its records were consumed",
                    segment.path.display()
                ));
                self.leave();
                return Ok(true);
            }
            let (now, later) = rest.split_at(read.len());
            rest = later;
            for (record, read) in now.iter().zip(read) {
                let (envelope, content) = match read {
                    Ok(read) => read,
                    Err(_)
                        if records_at(&segment.file, &segment.scan().segment, record.offset, 1)
                            .named(&segment.path)?
                            .is_empty() =>
                    {
                        return Ok(false);
                    }
                    Err(error) => return Err(stopped(segment.cursor(record), &error)),
                };
                let cursor = segment.cursor(record);
                if let Err(error) = &synced {
                    let text = format!("stopped before {cursor}: it cannot be made durable: {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
                take(Followed { cursor, envelope, content })?;
                self.at = end_of(record);
            }
        }
        Ok(true)
    }

    /// Looks at what comes after the place where no record is.
    fn search(&mut self, note: &mut dyn FnMut(String)) -> io::Result<Beyond> {
        if self.is_elsewhere()? {
            self.leave();
            return Ok(Beyond::NextSegment);
        }
        let Some(segment) = &self.current else { return Ok(Beyond::Nothing) };
        let header = segment.scan().segment;
        let facts = segment.file.metadata().and_then(|facts| facts.modified());
        let changed = facts.named(&segment.path)?;
        let is_due = self.once
            || self.searched.is_none_or(|(when, known)| known != changed && when.elapsed() >= SEARCH_EVERY);
        // A later segment is begun only when the write before has ended, so nothing more comes in this one.
        // It may be prepared long before: only a record in it proves that it was begun.
        let is_left = !segment.is_current()? || self.is_later_begun(header.sequence, is_due)?;
        if !is_left && !is_due {
            return Ok(Beyond::Nothing);
        }
        self.searched = Some((Instant::now(), changed));
        let rest = scan_from(&segment.file, header, self.at).named(&segment.path)?;
        let Some(first) = rest.records.first() else {
            if is_left {
                self.leave();
                return Ok(Beyond::NextSegment);
            }
            return Ok(Beyond::Nothing);
        };
        // In the batch of the missing record it may be that the write has not come so far.
        let is_settled = first.offset == self.at || first.batch > self.at || is_left;
        if !is_settled {
            if self.once {
                note(format!(
                    "{}: a write that did not end, or is under way, at octet {}: ended before it",
                    segment.path.display(),
                    self.at
                ));
            }
            return Ok(Beyond::Nothing);
        }
        if first.offset > self.at {
            let path = segment.path.display();
            note(format!("{path}: DAMAGE from octet {} to {}: passed over", self.at, first.offset));
            self.at = first.offset;
        }
        // What follows a further gap is found by a further search.
        let mut expected = self.at;
        let follows = |record: &&RecordHeader| {
            let is_next = record.offset == expected;
            expected = end_of(record);
            is_next
        };
        Ok(Beyond::Records(rest.records.iter().take_while(follows).copied().collect()))
    }

    /// Whether the segment, of which nothing was read, is not the file of that name any more: a receiver that
    /// stops or starts removes what it has not used, and the next one gives the number to another file. That
    /// is one to be read, then.
    fn is_elsewhere(&mut self) -> io::Result<bool> {
        let Some(segment) = self.current.as_ref().filter(|_| self.at == SEGMENT_HEADER_BYTES) else {
            return Ok(false);
        };
        let header = segment.scan().segment;
        let named = absent_is_none(Segment::open_unscanned(&segment.path, header.sequence))?.flatten();
        let is_elsewhere = named.is_none_or(|named| named.scan().segment != header);
        if is_elsewhere {
            self.passed = header.sequence.checked_sub(1);
        }
        Ok(is_elsewhere)
    }

    fn is_later_begun(&self, sequence: u64, thoroughly: bool) -> io::Result<bool> {
        for (number, path) in segments(&self.directory)?.into_iter().filter(|(number, _)| *number > sequence)
        {
            let Some(segment) = absent_is_none(Segment::open_unscanned(&path, number))?.flatten() else {
                continue;
            };
            let header = segment.scan().segment;
            let first = records_at(&segment.file, &header, SEGMENT_HEADER_BYTES, 1).named(&path)?;
            let is_begun = !first.is_empty()
                || thoroughly && scan(&segment.file).named(&path)?.is_ok_and(|scan| !scan.records.is_empty());
            if is_begun {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the oldest segment that was not read; false when there is none.
    fn open_next(&mut self, note: &mut dyn FnMut(String)) -> io::Result<bool> {
        for (sequence, path) in segments(&self.directory)? {
            if Some(sequence) <= self.passed {
                continue;
            }
            // A segment whose header is not its own is being recycled, or damaged: one after it that was
            // begun decides.
            if let Some(segment) = absent_is_none(Segment::open_unscanned(&path, sequence))?.flatten() {
                self.current = Some(segment);
                self.at = SEGMENT_HEADER_BYTES;
                self.passed = Some(sequence);
                self.searched = None;
                self.durable = 0;
                return Ok(true);
            }
            if !self.is_later_begun(sequence, self.once)? {
                return Ok(false);
            }
            self.passed = Some(sequence);
            note(format!("{}: the header is damaged: passed over", path.display()));
        }
        Ok(false)
    }

    fn leave(&mut self) {
        self.current = None;
    }
}

/// What comes after a place where no record is.
enum Beyond {
    Records(Vec<RecordHeader>),
    NextSegment,
    Nothing,
}

/// Where the frame of a record ends.
fn end_of(record: &RecordHeader) -> u64 {
    record.offset.saturating_add(record.frame_bytes)
}

fn stopped(cursor: Cursor, error: &io::Error) -> io::Error {
    let text = format!("stopped before {cursor}: {error} (`--after {cursor}` goes on behind it)");
    io::Error::new(error.kind(), text)
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

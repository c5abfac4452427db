//! Appends records that lie elsewhere already to segments of its own: for whoever keeps messages in the
//! spool's format and is not the receiver.
//!
//! ```text
//!   segment    create n.segment, write its header │ sync directory
//!   batch      [files of large messages] │ write records, sync
//! ```
//!
//! A segment is made when it is needed and grows: it is not filled with zeros. The sync of the first batch
//! saves its header, too: without a record it is nothing. The journal of the file system is not probed: who
//! appends goes on to a change of its own, and probes it after that. After a failure the segment is cut off
//! where the batch began, and nothing more is written to it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::batch::{Batch, measure};
use super::cursor::Cursor;
use super::format::{self, BATCH_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::large::{Content, RecordFile};
use super::message_file::MessageFile;
use super::open_segment::OpenSegment;
use super::salt;
use super::scan::ReadAt;
use crate::limits::ZEROS_BYTES;
use crate::sink::executor::Executor;
use crate::sink::plan::{self, Action, Directory, FilePath, Owners, Plan};
use crate::sink::report::{Report, report_failures};

/// The octets of a header with the zeros after it.
#[allow(clippy::cast_possible_truncation)]
const HEADER_PAGE_BYTES: usize = SEGMENT_HEADER_BYTES as usize;

/// A record as it lies somewhere else.
pub struct Record<'a> {
    /// The envelope, octet for octet.
    pub envelope: &'a [u8],
    /// The content in the record.
    pub content: &'a [u8],
    /// Where the content goes on, if it does.
    pub file: Option<(MessageFile, Source<'a>)>,
}

/// The file in which the content of a record goes on.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// On the same file system: it gets one more name. It must never be written to again.
    Link(&'a File),
    /// Copied piece by piece.
    Copy(&'a dyn ReadAt),
}

/// A record that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where it begins.
    pub cursor: Cursor,
    /// Octets that it takes: of its frame and of its file.
    pub octets: u64,
}

/// Appends to segments in one directory.
pub struct Appender {
    report: Arc<dyn Report>,
    /// Of the executor, for the log.
    root: PathBuf,
    directory: Directory,
    /// Octets of a segment, a multiple of [`BATCH_BYTES`].
    segment_bytes: u64,
    /// Above the numbers of all segments that are and were here.
    next_sequence: u64,
    current: Option<OpenSegment>,
}

impl Appender {
    /// Makes segments of this size in a directory below the executor's root, from this number on.
    pub fn new(
        root: PathBuf,
        directory: Directory,
        segment_bytes: u64,
        next_sequence: u64,
        report: Arc<dyn Report>,
    ) -> Self {
        let segment_bytes =
            segment_bytes.next_multiple_of(BATCH_BYTES).max(SEGMENT_HEADER_BYTES + BATCH_BYTES);
        Self { report, root, directory, segment_bytes, next_sequence, current: None }
    }

    /// The segment that is appended to, if there is one.
    pub fn current(&self) -> Option<u64> {
        self.current.as_ref().map(|segment| segment.header.sequence)
    }

    /// The number of the next segment.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Appends records. They are durable when it succeeds; when it fails none of them is to be believed.
    pub fn append(
        &mut self,
        records: &[Record<'_>],
        executor: &mut dyn Executor,
    ) -> io::Result<Vec<Appended>> {
        let mut appended = Vec::with_capacity(records.len());
        while let Some(rest) = records.get(appended.len()..).filter(|rest| !rest.is_empty()) {
            let content = Content::of_record(rest[0].content, file_of(&rest[0]));
            let needed = measure(rest[0].envelope, content, u64::MAX)?.next_multiple_of(BATCH_BYTES);
            let segment = match self.current.take() {
                Some(segment) if segment.room() >= needed => segment,
                full => {
                    self.close(full, executor);
                    self.make(needed, executor)?
                }
            };
            let (end, mut more) = self.append_to(&segment, rest, executor)?;
            self.current = Some(OpenSegment { end, ..segment });
            appended.append(&mut more);
        }
        Ok(appended)
    }

    /// Appends as many records as one write takes, and tells where the next batch begins.
    fn append_to(
        &self,
        segment: &OpenSegment,
        records: &[Record<'_>],
        executor: &mut dyn Executor,
    ) -> io::Result<(u64, Vec<Appended>)> {
        let contents = records
            .iter()
            .map(|record| (record.envelope, Content::of_record(record.content, file_of(record))));
        let batch = Batch::lay_out(segment, contents, u64::MAX);
        let copied = self.copy_files(segment, records, &batch, executor);
        let plan = batch.plan(segment);
        let written = copied.and_then(|()| self.run(&plan, executor));
        if written.is_err() {
            self.abandon(segment, records, &batch.offsets(), executor);
        }
        written?;
        let sequence = segment.header.sequence;
        let appended = batch.frames().zip(records).map(|((offset, frame), record)| Appended {
            cursor: Cursor { sequence, offset },
            octets: frame + record.file.as_ref().map_or(0, |(file, _)| file.bytes),
        });
        Ok((segment.end + batch.bytes(), appended.collect()))
    }

    /// Makes the files that are not linked, and syncs them; their names are made durable before the batch is
    /// written.
    fn copy_files(
        &self,
        segment: &OpenSegment,
        records: &[Record<'_>],
        batch: &Batch<'_>,
        executor: &mut dyn Executor,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        for ((offset, _), record) in batch.frames().zip(records) {
            let Some((facts, Source::Copy(source))) = record.file else { continue };
            buffer.resize(ZEROS_BYTES, 0);
            let file = segment.message_file(offset);
            let mut crc = 0;
            self.run(&one(Action::Create(Rc::clone(&file))), executor)?;
            let mut at = 0;
            while at < facts.bytes {
                let room = usize::try_from(facts.bytes - at).unwrap_or(usize::MAX).min(buffer.len());
                let count = source.read_at(&mut buffer[..room], at)?;
                if count == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the file of a message is too short",
                    ));
                }
                crc = crc32c::crc32c_append(crc, &buffer[..count]);
                self.run(&one(Action::Write(Rc::clone(&file), at, vec![&buffer[..count]])), executor)?;
                at += count as u64;
            }
            if crc != facts.crc32c {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the file of a message is damaged"));
            }
            let mut plan = one(Action::SyncFile(Rc::clone(&file)));
            plan.push(Owners::One(0), Action::Close(file));
            self.run(&plan, executor)?;
        }
        Ok(())
    }

    /// Makes a segment with room for so many octets.
    fn make(&mut self, needed: u64, executor: &mut dyn Executor) -> io::Result<OpenSegment> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let bytes = self.segment_bytes.max(SEGMENT_HEADER_BYTES.saturating_add(needed));
        let header = SegmentHeader { salt: salt::draw()?, sequence, bytes, is_zeroed: false };
        let mut page = [0; HEADER_PAGE_BYTES];
        let octets = header.encode();
        page[..octets.len()].copy_from_slice(&octets);
        let file = self.file(format::segment_name(sequence));
        let mut plan = one(Action::Create(Rc::clone(&file)));
        plan.push(Owners::One(0), Action::Write(Rc::clone(&file), 0, vec![&page]));
        plan.barrier();
        plan.push(Owners::One(0), Action::SyncDirectory(Rc::clone(&self.directory)));
        let results = executor.run(&plan);
        report_failures(&*self.report, &self.root, &plan, &results);
        if let Some(error) = results.error(0) {
            let error = again(error);
            executor.run(&plan::undo(&plan, &results));
            return Err(error);
        }
        Ok(OpenSegment { file, header, end: SEGMENT_HEADER_BYTES })
    }

    /// Nothing more is written to the segment. No record of the failed batch is named anywhere, so what
    /// cannot be cut off does no harm, and goes with the segment.
    fn abandon(
        &self,
        segment: &OpenSegment,
        records: &[Record<'_>],
        offsets: &[u64],
        executor: &mut dyn Executor,
    ) {
        let mut plan = one(Action::Close(Rc::clone(&segment.file)));
        plan.push(Owners::One(0), Action::Truncate(Rc::clone(&segment.file), segment.end));
        // What a failure of its own stopped is removed when the segment is.
        let _ = self.run(&plan, executor);
        let files = offsets.iter().zip(records).filter(|(_, record)| record.file.is_some());
        let mut plan = Plan::new(offsets.len());
        for (index, (offset, _)) in files.enumerate() {
            plan.push(Owners::One(index), Action::Remove(segment.message_file(*offset)));
        }
        let _ = self.run(&plan, executor);
    }

    fn close(&self, segment: Option<OpenSegment>, executor: &mut dyn Executor) {
        if let Some(segment) = segment {
            // It is synced: closing it changes nothing.
            let _ = self.run(&one(Action::Close(segment.file)), executor);
        }
    }

    fn file(&self, name: String) -> Rc<FilePath> {
        Rc::new(FilePath { directory: Rc::clone(&self.directory), name })
    }

    fn run(&self, plan: &Plan<'_>, executor: &mut dyn Executor) -> io::Result<()> {
        let results = executor.run(plan);
        report_failures(&*self.report, &self.root, plan, &results);
        results.failures(plan).next().map_or(Ok(()), |(_, error)| Err(again(error)))
    }
}

fn file_of<'a>(record: &Record<'a>) -> Option<RecordFile<'a>> {
    record.file.as_ref().map(|(facts, source)| match *source {
        Source::Link(file) => RecordFile::Linked(file, facts.bytes),
        Source::Copy(_) => RecordFile::Made(facts.bytes),
    })
}

fn one(action: Action<'_>) -> Plan<'_> {
    let mut plan = Plan::new(1);
    plan.push(Owners::One(0), action);
    plan
}

/// The same error once more: its kind, number and text.
pub(crate) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

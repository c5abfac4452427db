//! The spool sink: append-only segments, pre-written with zeros, one writer, one write and one sync a batch.
//!
//! ```text
//!   segment   │ header │ batch                          │ batch          │ zeros …
//!   batch     │ record │ record │ record + padding      │                each batch begins at a multiple of 4096
//!   record    │ header │ envelope │ Received: │ mail data │ padding │      each record begins at a multiple of 512
//! ```
//!
//! A batch is one write and one sync; only then the next one begins, behind it. After a failed or short write or sync the segment
//! is abandoned: nothing more is appended to it. A large message has a file of its own
//! beside the segments (`large.rs`). See `docs/spool.md` for the format.

mod background;
pub mod cursor;
pub mod envelope;
pub mod export;
mod fill;
pub mod follow;
pub mod format;
mod large;
pub mod prune;
pub mod reader;
pub mod scan;
pub mod supply;
mod tls_fields;
pub mod verify;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use self::background::Background;
use self::format::{
    BATCH_BYTES, FRAME_BYTES, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use self::large::Content;
use self::supply::{Immediate, Maker, Supply, place};
use super::contract::{Durability, Sink};
use super::executor::Executor;
use super::executor::blocking::Blocking;
use super::file_limit;
use super::opening::{OpenError, Opened, Surroundings};
use super::plan::{self, Action, Done, Owners, Place, Plan, Results};
use super::report::{Report, Site, outcome_of, report_failures};
use super::root::Root;
use super::spill::SpillTo;
use super::trial::{self, Needs};
use crate::handoff::message::Message;
use crate::limits::SPOOL_INLINE_BYTES_MAX;
use crate::mail::outcome::Outcome;

/// The source of padding, which is less than a batch's alignment.
static ZEROS: [u8; 4096] = [0; 4096];

const _: () = assert!(ZEROS.len() as u64 >= BATCH_BYTES);

/// What the lock of a spool says that it is.
const KIND: &str = "spool";

/// How a spool is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Octets of a segment.
    pub(super) segment_bytes: u64,
    /// Whether batches go past the page cache where that is known to be safe.
    pub(super) direct_writes: bool,
}

impl Options {
    fn executor(self, root: OwnedFd) -> Blocking {
        if self.direct_writes { Blocking::with_direct_writes(root) } else { Blocking::new(root) }
    }
}

/// For a segment over RLIMIT_FSIZE.
const SEGMENT_CURE: &str = "raise that limit (in a systemd unit `LimitFSIZE=infinity`, in a shell `ulimit -f unlimited`), or \
                            lower segment_size in [[sink]]";

/// Opens the sink: locks the root, removes segments that never came into use, reads the newest ones for torn tails and damage.
pub(super) fn open(
    path: &Path,
    options: Options,
    workers: usize,
    surroundings: &Surroundings,
) -> Result<Opened, OpenError> {
    let file_bytes_max = file_limit::bytes_max();
    if let Some(why) = file_limit::refuses_segments(options.segment_bytes, file_bytes_max) {
        let (what, site) = ("write segments in", path.display().to_string());
        return Err(OpenError { what, site, why, cure: SEGMENT_CURE });
    }
    let root = Root::open(path, KIND)?;
    let refused = |error: io::Error| OpenError {
        what: "read the spool",
        site: path.display().to_string(),
        why: error.to_string(),
        cure: if error.kind() == io::ErrorKind::InvalidData {
            "correct or remove the file that says so"
        } else {
            "the user that runs ringmx must be able to read and write it"
        },
    };
    let longest_name = envelope::message_file_name(u64::MAX, u64::MAX);
    let needs = Needs { reserves: true, name_bytes_max: longest_name.len() };
    let mut executor = Blocking::new(root.directory().map_err(refused)?);
    let tried = trial::run(&root, needs, &mut executor)?;
    let recovered = reader::recover(path).map_err(refused)?;
    let mut notes = recovered.notes;
    notes.extend(tried);
    if workers > 1 {
        notes.push("a spool has one writer: `workers` is taken as 1".to_owned());
    }
    let report = Arc::clone(&surroundings.report);
    let description = format!("spool {}", path.display());
    supply::remove_unused(path).map_err(refused)?;
    supply::remove_orphans(path, &recovered.unused_from).map_err(refused)?;
    let links = large::can_link(path, &mut executor);
    if !links {
        notes.push(
            "files cannot be linked here: large messages are stored in segments of their own".to_owned(),
        );
    }
    notes.extend(fill::describe(path).map_err(refused)?);
    let durability = Durability::of_store(root.directory().map_err(refused)?);
    let segment_bytes = options.segment_bytes;
    let worker = move || -> io::Result<Box<dyn Sink>> {
        let executor = options.executor(root.directory()?);
        let maker = Maker::new(root.path(), segment_bytes, recovered.next_sequence, Arc::clone(&report));
        let supply = Background::start(maker, options, root.directory()?, root.path(), Arc::clone(&report))?;
        let mut sink = Spool::with_supply(root.path(), Box::new(supply), executor, report);
        sink.write_no_file_beyond(file_bytes_max.unwrap_or(u64::MAX));
        if links {
            sink.keep_files_beyond(SPOOL_INLINE_BYTES_MAX.min(segment_bytes / 2));
        }
        Ok(Box::new(Locked { sink, durability, _root: root }))
    };
    Ok(Opened {
        description,
        durability,
        notes,
        workers: vec![Box::new(worker)],
        inline: None,
        spill: SpillTo::Directory(path.to_owned()),
        mailboxes: None,
    })
}

/// The sink with the lock on its store.
struct Locked<E> {
    sink: Spool<E>,
    durability: Durability,
    _root: Root,
}

impl<E: Executor> Sink for Locked<E> {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn inline_bytes_max(&self) -> Option<u64> {
        self.sink.inline_bytes_max()
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        self.sink.store(batch, outcomes);
    }
}

/// Appends messages to segments.
pub struct Spool<E> {
    executor: E,
    report: Arc<dyn Report>,
    /// For the log.
    root: PathBuf,
    supply: Box<dyn Supply>,
    current: Option<Segment>,
    /// Larger messages keep their spill files; none where these cannot be linked.
    inline_bytes_max: Option<u64>,
    /// The largest file that can be written: a message that needs a larger one fails alone, not with its batch.
    file_bytes_max: u64,
}

/// The segment that is written.
struct Segment {
    file: Rc<Place>,
    header: SegmentHeader,
    /// Where the next batch begins, a multiple of [`BATCH_BYTES`]: all before it is durable. `end <= header.bytes`
    end: u64,
}

impl Segment {
    fn room(&self) -> u64 {
        self.header.bytes - self.end
    }
}

/// Records that go out in one write.
struct Batch<'a> {
    records: Vec<Record<'a>>,
    /// Octets with all padding, a multiple of [`BATCH_BYTES`].
    bytes: u64,
}

/// A record with its place in the segment.
struct Record<'a> {
    /// Where it begins.
    offset: u64,
    /// Octets of it without padding.
    bytes: u64,
    /// Header and envelope.
    head: Vec<u8>,
    content: Content<'a>,
    /// Zeros behind it.
    padding: usize,
}

impl<E: Executor> Sink for Spool<E> {
    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn inline_bytes_max(&self) -> Option<u64> {
        self.inline_bytes_max
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        let envelopes: Vec<Vec<u8>> = batch.iter().map(|message| envelope_of(message)).collect();
        let mut first = 0;
        while first < batch.len() {
            // One that fits no file fails alone, or it would take others with it at each retry.
            if let Err(outcome) = self.check_size(&envelopes[first], &batch[first]) {
                outcomes.push(outcome);
                first += 1;
                continue;
            }
            // Whoever comes behind a failure waits for the next batch: one broken disk is not tried 256 times.
            let (count, failure) = match self.append(batch, &envelopes, first) {
                Ok(count) => (count, None),
                Err(outcome) => (batch.len() - first, Some(outcome)),
            };
            outcomes.extend(std::iter::repeat_n(failure.unwrap_or(Outcome::Stored), count));
            first += count;
        }
    }
}

impl<E: Executor> Spool<E> {
    /// A writer whose segments are made when it needs them, from this number on, in the root that the executor works in.
    pub fn new(
        root: &Path,
        segment_bytes: u64,
        next_sequence: u64,
        executor: E,
        report: Arc<dyn Report>,
    ) -> Self {
        let maker = Maker::new(root, segment_bytes, next_sequence, Arc::clone(&report));
        Self::with_supply(root, Box::new(Immediate(maker)), executor, report)
    }

    /// A writer that takes its segments from this supply.
    pub fn with_supply(root: &Path, supply: Box<dyn Supply>, executor: E, report: Arc<dyn Report>) -> Self {
        Self {
            executor,
            report,
            root: root.to_owned(),
            supply,
            current: None,
            inline_bytes_max: None,
            file_bytes_max: u64::MAX,
        }
    }

    /// Keeps the spill files of messages that are larger than this, which the root's file system must be able to link.
    pub fn keep_files_beyond(&mut self, bytes: u64) {
        self.inline_bytes_max = Some(bytes);
    }

    /// Stores no message for which a larger file would be needed.
    pub fn write_no_file_beyond(&mut self, bytes: u64) {
        self.file_bytes_max = bytes;
    }

    /// Takes the first segment before the first message waits for it. A failure is reported and tried again then.
    pub fn prepare(&mut self) {
        self.current = self.next_segment(0).ok();
    }

    /// Opens the next segment of the supply. One that was made ahead may have been removed since, and the next one is made now:
    /// that is no reason to put mail off. Any other failure is (a full disk, no descriptors).
    fn next_segment(&mut self, needed: u64) -> Result<Segment, Outcome> {
        let mut is_first = true;
        loop {
            let header = self.supply.next(needed, &mut self.executor)?;
            let file = place(format::segment_name(header.sequence));
            let mut plan = Plan::new(1);
            plan.push(Owners::One(0), Action::Open(Rc::clone(&file)));
            let results = self.executor.run(&plan);
            report_failures(&*self.report, &self.root, &plan, &results);
            match results.error(0) {
                None => return Ok(Segment { file, header, end: SEGMENT_HEADER_BYTES }),
                Some(error) if is_first && error.kind() == io::ErrorKind::NotFound => is_first = false,
                Some(error) => return Err(outcome_of(error)),
            }
        }
    }

    /// Whether a message can be stored at all; told where it cannot.
    fn check_size(&self, envelope: &[u8], message: &Message) -> Result<(), Outcome> {
        measure(envelope, message, self.file_bytes_max).map(drop).map_err(|error| {
            self.report.machine_error("store a message in", Site::Path(&self.root), &error);
            outcome_of(&error)
        })
    }

    /// Appends as many messages from `first` on as one write takes, and tells how many; or why none of the rest is stored.
    fn append(
        &mut self,
        batch: &mut [Box<Message>],
        envelopes: &[Vec<u8>],
        first: usize,
    ) -> Result<usize, Outcome> {
        let (_, bytes) = measure(&envelopes[first], &batch[first], self.file_bytes_max)
            .map_err(|error| outcome_of(&error))?;
        let needed = bytes.next_multiple_of(BATCH_BYTES);
        let segment = match self.current.take() {
            Some(segment) if segment.room() >= needed => segment,
            full => {
                self.close(full);
                self.next_segment(needed)?
            }
        };
        let laid_out = lay_out(&segment, batch, envelopes, first, self.file_bytes_max);
        let plan = plan_batch(&segment, &laid_out);
        let results = self.executor.run(&plan);
        if let Some(error) = results.error(0) {
            let outcome = outcome_of(error);
            report_failures(&*self.report, &self.root, &plan, &results);
            let undo = plan::undo(&plan, &results);
            let was_written = has_written(&plan, &results, &segment);
            // A record that may be there keeps its file: it is whole then, and a retry is a duplicate.
            if self.abandon(&segment) || !was_written {
                let undone = self.executor.run(&undo);
                report_failures(&*self.report, &self.root, &undo, &undone);
            }
            return Err(outcome);
        }
        drop(plan);
        let end = segment.end + laid_out.bytes;
        let offsets: Vec<u64> = laid_out.records.iter().map(|record| record.offset).collect();
        for (message, offset) in batch[first..].iter_mut().zip(&offsets) {
            message.place = format!("{:016x}:{offset}", segment.header.sequence);
        }
        self.current = Some(Segment { end, ..segment });
        Ok(offsets.len())
    }

    /// Nothing more is written to the segment. What the failed write left is cut off, so that whoever reads along does not take
    /// messages that were answered 451. False when even that fails: they may be there, whole, and a retry is a duplicate.
    fn abandon(&mut self, segment: &Segment) -> bool {
        let mut plan = Plan::new(1);
        plan.push(Owners::One(0), Action::Close(Rc::clone(&segment.file)));
        plan.push(Owners::One(0), Action::Truncate(Rc::clone(&segment.file), segment.end));
        let results = self.executor.run(&plan);
        report_failures(&*self.report, &self.root, &plan, &results);
        !results.any_failed()
    }

    fn close(&mut self, segment: Option<Segment>) {
        if let Some(segment) = segment {
            let mut plan = Plan::new(1);
            plan.push(Owners::One(0), Action::Close(segment.file));
            self.executor.run(&plan);
        }
    }
}

/// Whether anything of the batch may have reached its segment.
fn has_written(plan: &Plan<'_>, results: &Results, segment: &Segment) -> bool {
    plan.operations().iter().zip(&results.operations).any(|(operation, done)| {
        match (&operation.action, done) {
            (Action::Write(file, ..), Done::Yes | Done::Failed(_)) => *file == segment.file,
            _ => false,
        }
    })
}

/// One write and one sync for all records, after those of the files of large messages.
fn plan_batch<'a>(segment: &Segment, batch: &'a Batch<'_>) -> Plan<'a> {
    let count = batch.records.len();
    let mut slices: Vec<&[u8]> = Vec::with_capacity(count * 4);
    for record in &batch.records {
        slices.push(&record.head);
        slices.extend(record.content.inline());
        slices.push(&ZEROS[..record.padding]);
    }
    let mut plan = Plan::new(count);
    let owners = Owners::Many((0..count).collect());
    let contents = batch.records.iter().map(|record| (record.content, record.offset));
    large::plan_files(&mut plan, &owners, segment.header.sequence, contents);
    plan.push(owners.clone(), Action::Write(Rc::clone(&segment.file), segment.end, slices));
    plan.push(owners, Action::SyncFile(Rc::clone(&segment.file)));
    plan
}

/// Places as many messages from `first` on as the room in the segment takes; at least one, for which the caller made room.
fn lay_out<'a>(
    segment: &Segment,
    batch: &'a [Box<Message>],
    envelopes: &[Vec<u8>],
    first: usize,
    file_bytes_max: u64,
) -> Batch<'a> {
    let mut records: Vec<Record<'_>> = Vec::new();
    let mut bytes = 0_u64;
    for (message, envelope) in batch[first..].iter().zip(&envelopes[first..]) {
        let Ok((content, record)) = measure(envelope, message, file_bytes_max) else { break };
        let after = record.checked_next_multiple_of(FRAME_BYTES).and_then(|frame| frame.checked_add(bytes));
        match after {
            // The room is a multiple of BATCH_BYTES, so what fits it fits with its padding.
            Some(after) if after <= segment.room() => {
                let offset = segment.end + bytes;
                records.push(Record { offset, bytes: record, head: Vec::new(), content, padding: 0 });
                bytes = after;
            }
            Some(_) | None => break,
        }
    }
    assert!(!records.is_empty(), "the caller made room for one message");
    let bytes = bytes.next_multiple_of(BATCH_BYTES);
    // The last record's frame goes on to where the next batch begins.
    let mut end = segment.end + bytes;
    for (record, envelope) in records.iter_mut().zip(&envelopes[first..]).rev() {
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
    Batch { records, bytes }
}

/// The content of a message, and how many octets its record is without padding. What no file could hold is nothing that a client was
/// promised: an error where the record cannot be written down, and where a file of the message alone would be larger than one may be.
fn measure<'a>(envelope: &[u8], message: &'a Message, file_bytes_max: u64) -> io::Result<(Content<'a>, u64)> {
    let content = Content::of(message).map_err(io::Error::other)?;
    let envelope = u32::try_from(envelope.len()).ok().filter(|bytes| *bytes <= format::ENVELOPE_BYTES_MAX);
    let record = envelope.and_then(|envelope| format::record_bytes(envelope, content.inline_bytes()));
    let record = record.ok_or_else(|| io::Error::other("its envelope is larger than a record can hold"))?;
    let in_segment = record.checked_next_multiple_of(BATCH_BYTES).map(|batch| batch + SEGMENT_HEADER_BYTES);
    if in_segment.is_none_or(|bytes| bytes.max(content.file_bytes()) > file_bytes_max) {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok((content, record))
}

fn envelope_of(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    envelope::encode(message, &mut out);
    out
}

fn body_crc(salt: u64, envelope: &[u8], content: Content<'_>) -> u32 {
    let crc = crc32c::crc32c_append(format::body_checksum(salt), envelope);
    content.inline().fold(crc, crc32c::crc32c_append)
}

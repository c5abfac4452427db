//! The writer of a spool: appends batches to segments, one write and one sync each.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::batch::{Batch, measure};
use super::envelope;
use super::format::{self, BATCH_BYTES, SEGMENT_HEADER_BYTES};
use super::horizon::{DurableEnd, HorizonWriter};
use super::large::{self, Content};
use super::open_segment::OpenSegment;
use super::supply::{Immediate, Maker, Supply};
use crate::handoff::message::Message;
use crate::mail::outcome::Outcome;
use crate::metrics::SpoolMetrics;
use crate::sink::contract::Sink;
use crate::sink::executor::Executor;
use crate::sink::plan::{self, Action, Done, FilePath, Owners, Plan, Results};
use crate::sink::report::{Report, Site, outcome_of, report_failures};

/// Appends messages to segments.
pub struct Spool<E> {
    executor: E,
    report: Arc<dyn Report>,
    /// For the log.
    root: PathBuf,
    supply: Box<dyn Supply>,
    current: Option<OpenSegment>,
    /// Larger messages keep their spill files; none where these cannot be linked.
    inline_bytes_max: Option<u64>,
    /// The largest file that can be written: a message that needs a larger one fails alone, not with its
    /// batch.
    file_bytes_max: u64,
    /// Learns what was written; nobody where there is none.
    metrics: Option<Arc<SpoolMetrics>>,
    /// What readers are told; nothing where there is none.
    horizon: Option<HorizonWriter>,
}

impl<E: Executor> Sink for Spool<E> {
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
            // Whoever comes after a failure waits for the next batch: one broken disk is not tried 256 times.
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
    /// A writer whose segments are made when it needs them, from this number on, in the root that the
    /// executor works in.
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
            metrics: None,
            horizon: None,
        }
    }

    /// Keeps the spill files of messages that are larger than this, which the root's file system must be able
    /// to link.
    pub fn keep_files_beyond(&mut self, bytes: u64) {
        self.inline_bytes_max = Some(bytes);
    }

    /// Tells which record was written last.
    pub fn tell_written(&mut self, metrics: Arc<SpoolMetrics>) {
        self.metrics = Some(metrics);
    }

    /// Tells readers how far the log is durable, as soon as it is.
    pub fn tell_readers(&mut self, horizon: HorizonWriter) {
        self.horizon = Some(horizon);
    }

    /// Stores no message for which a larger file would be needed.
    pub fn write_no_file_beyond(&mut self, bytes: u64) {
        self.file_bytes_max = bytes;
    }

    /// Takes the first segment before the first message waits for it. A failure is reported and tried again
    /// then.
    pub fn prepare(&mut self) {
        self.current = self.next_segment(0).ok();
    }

    /// Opens the next segment of the supply. One that was made ahead may have been removed since, and the
    /// next one is made now: that is no reason to put mail off. Any other failure is (a full disk, no
    /// descriptors).
    fn next_segment(&mut self, needed: u64) -> Result<OpenSegment, Outcome> {
        let mut is_first = true;
        loop {
            let header = self.supply.next(needed, &mut self.executor)?;
            let file = FilePath::in_root(format::segment_name(header.sequence));
            let mut plan = Plan::new(1);
            plan.push(Owners::One(0), Action::Open(Rc::clone(&file)));
            let results = self.executor.run(&plan);
            report_failures(&*self.report, &self.root, &plan, &results);
            match results.error(0) {
                None => return Ok(OpenSegment { file, header, end: SEGMENT_HEADER_BYTES }),
                Some(error) if is_first && error.kind() == io::ErrorKind::NotFound => is_first = false,
                Some(error) => return Err(outcome_of(error)),
            }
        }
    }

    /// Whether a message can be stored at all; told where it cannot.
    fn check_size(&self, envelope: &[u8], message: &Message) -> Result<(), Outcome> {
        record_bytes(envelope, message, self.file_bytes_max).map(drop).map_err(|error| {
            self.report.machine_error("store a message in", Site::Path(&self.root), &error);
            outcome_of(&error)
        })
    }

    /// Appends as many messages from `first` on as one write takes, and tells how many; or why none of the
    /// rest is stored.
    fn append(
        &mut self,
        batch: &mut [Box<Message>],
        envelopes: &[Vec<u8>],
        first: usize,
    ) -> Result<usize, Outcome> {
        let bytes = record_bytes(&envelopes[first], &batch[first], self.file_bytes_max)
            .map_err(|error| outcome_of(&error))?;
        let needed = bytes.next_multiple_of(BATCH_BYTES);
        let segment = match self.current.take() {
            Some(segment) if segment.room() >= needed => segment,
            full => {
                self.close(full);
                self.next_segment(needed)?
            }
        };
        let contents = batch[first..].iter().zip(&envelopes[first..]);
        let contents =
            contents.map_while(|(message, envelope)| Some((envelope.as_slice(), Content::of(message).ok()?)));
        let laid_out = Batch::lay_out(&segment, contents, self.file_bytes_max);
        let plan = laid_out.plan(&segment);
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
        let (end, offsets) = (segment.end + laid_out.bytes(), laid_out.offsets());
        for (message, offset) in batch[first..].iter_mut().zip(&offsets) {
            message.place = format!("{:016x}:{offset}", segment.header.sequence);
        }
        if let (Some(metrics), Some(offset)) = (&self.metrics, offsets.last()) {
            metrics.note_written(segment.header.sequence, *offset);
        }
        self.publish(DurableEnd { sequence: segment.header.sequence, salt: segment.header.salt, end });
        self.current = Some(OpenSegment { end, ..segment });
        Ok(offsets.len())
    }

    /// A sync has made a segment durable up to here.
    fn publish(&mut self, end: DurableEnd) {
        if self.horizon.as_ref().is_some_and(|horizon| !horizon.publish(end)) {
            self.horizon = None;
            self.report.note(
                "the file `horizon` of the spool was cut off or written to: whoever reads the spool looks often, and syncs, until \
                 the next start",
            );
        }
    }

    /// Nothing more is written to the segment. What the failed write left is cut off, so that whoever reads
    /// along does not take messages that were answered 451. False when even that fails: they may be there,
    /// whole, and a retry is a duplicate.
    fn abandon(&mut self, segment: &OpenSegment) -> bool {
        let mut plan = Plan::new(1);
        plan.push(Owners::One(0), Action::Close(Rc::clone(&segment.file)));
        plan.push(Owners::One(0), Action::Truncate(Rc::clone(&segment.file), segment.end));
        let results = self.executor.run(&plan);
        report_failures(&*self.report, &self.root, &plan, &results);
        !results.any_failed()
    }

    fn close(&mut self, segment: Option<OpenSegment>) {
        if let Some(segment) = segment {
            let mut plan = Plan::new(1);
            plan.push(Owners::One(0), Action::Close(segment.file));
            self.executor.run(&plan);
        }
    }
}

/// Whether anything of the batch may have reached its segment.
fn has_written(plan: &Plan<'_>, results: &Results, segment: &OpenSegment) -> bool {
    plan.operations().iter().zip(&results.operations).any(|(operation, done)| {
        let was_tried = match done {
            Done::Yes | Done::Failed(_) => true,
            Done::Skipped => false,
        };
        was_tried && matches!(&operation.action, Action::Write(file, ..) if *file == segment.file)
    })
}

/// How many octets the record of a message is without padding, see [`measure`]. An error, too, where its mail
/// data cannot be read from its beginning on.
fn record_bytes(envelope: &[u8], message: &Message, file_bytes_max: u64) -> io::Result<u64> {
    measure(envelope, Content::of(message).map_err(io::Error::other)?, file_bytes_max)
}

fn envelope_of(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    envelope::encode(message, large::facts(message), &mut out);
    out
}

//! Where the writer's segments come from: made of zeros or of a consumed segment's file, and durable with
//! their size, their salt and their name before the writer sees them.
//!
//! ```text
//!   new        create n.new, write zeros and header, sync │ rename to n │ sync directory │ probe the journal
//!   recycled   remove the messages of s │ rename s to s.new │ sync directory │ probe the journal
//!              (these are the spares, several at once)
//!              write a header with a new salt to s.new, sync │ rename to n │ sync directory
//!              │ probe the journal
//! ```
//!
//! Each step waits for the one before. A power cut leaves a segment whole under its number, or under a name
//! that no reader looks at and that the next start removes. No record of the old use can be read as one of
//! the new: the new salt is durable before the new name is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::format::{self, BATCH_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::reader;
use super::salt;
use super::scan::scan;
use crate::huge_pages::HugePages;
use crate::limits::ZEROS_BYTES;
use crate::mail::outcome::Outcome;
use crate::sink::executor::Executor;
use crate::sink::plan::{self, Action, FilePath, Owners, Plan};
use crate::sink::report::{Report, Site, outcome_of, report_failures};

/// Consumed segments whose files wait for their next use, where nobody asks for more. The others are removed,
/// so that the disk gets its space back.
pub(super) const SPARES_MIN: usize = 2;

/// Gives the writer its segments.
pub trait Supply {
    /// A segment with room for so many octets after its header, with a number above all numbers before. It is
    /// durable, and nothing was written to it. The executor is the writer's, for a supply that has none of
    /// its own.
    fn next(&mut self, needed: u64, executor: &mut dyn Executor) -> Result<SegmentHeader, Outcome>;
}

/// Makes each segment when it is needed.
pub struct Immediate(pub Maker);

impl Supply for Immediate {
    fn next(&mut self, needed: u64, executor: &mut dyn Executor) -> Result<SegmentHeader, Outcome> {
        self.0.make(needed, executor)
    }
}

/// A consumed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Its number.
    pub sequence: u64,
    /// Octets of its file.
    pub bytes: u64,
    /// Names of the files with its large messages.
    pub messages: Vec<String>,
}

/// Makes segments.
pub struct Maker {
    report: Arc<dyn Report>,
    /// For the log.
    root: PathBuf,
    /// Octets of a segment, a multiple of [`BATCH_BYTES`].
    segment_bytes: u64,
    next_sequence: u64,
    /// Files of this size under prepared names, by the number of their last use.
    spares: Vec<u64>,
    /// Beyond that no more files are kept.
    spares_max: usize,
    /// A piece of zeros; none before the first one is needed.
    zeros: Option<HugePages>,
    /// Each piece is synced, or the page cache would hand a whole segment to the disk at once.
    syncs_pieces: bool,
}

impl Maker {
    /// Makes segments of this size from this number on.
    pub fn new(root: &Path, segment_bytes: u64, next_sequence: u64, report: Arc<dyn Report>) -> Self {
        let segment_bytes =
            segment_bytes.next_multiple_of(BATCH_BYTES).max(SEGMENT_HEADER_BYTES + BATCH_BYTES);
        Self {
            report,
            root: root.to_owned(),
            segment_bytes,
            next_sequence,
            spares: Vec::new(),
            spares_max: SPARES_MIN,
            zeros: None,
            syncs_pieces: true,
        }
    }

    /// For an executor whose pieces do not gather in the page cache.
    #[must_use]
    pub fn with_direct_writes(self) -> Self {
        Self { syncs_pieces: false, ..self }
    }

    /// Whether the next segment is made of zeros.
    pub(super) fn has_no_spare(&self) -> bool {
        self.spares.is_empty()
    }

    /// Keeps this many spares from now on, and removes those that are more. False when that has to be tried
    /// again.
    pub fn keep_spares(&mut self, count: usize, executor: &mut dyn Executor) -> bool {
        self.spares_max = count;
        while self.spares.len() > count
            && let Some(spare) = self.spares.pop()
        {
            let report = Arc::clone(&self.report);
            if !self.remove(prepared(spare), executor, &*report) {
                self.spares.push(spare);
                return false;
            }
        }
        true
    }

    /// Makes a segment with room for `needed` octets. A failure is reported, and nothing is left of the
    /// segment.
    pub fn make(&mut self, needed: u64, executor: &mut dyn Executor) -> Result<SegmentHeader, Outcome> {
        let report = Arc::clone(&self.report);
        self.make_telling(needed, executor, &*report)
    }

    /// As [`Self::make`], with somebody else to report to.
    pub(super) fn make_telling(
        &mut self,
        needed: u64,
        executor: &mut dyn Executor,
        report: &dyn Report,
    ) -> Result<SegmentHeader, Outcome> {
        let salt = salt::draw().map_err(|error| {
            report.machine_error("draw a salt for a segment in", Site::Path(&self.root), &error);
            outcome_of(&error)
        })?;
        let bytes = self.segment_bytes.max(SEGMENT_HEADER_BYTES.saturating_add(needed));
        let spare = if bytes == self.segment_bytes { self.spares.pop() } else { None };
        if spare.is_none() && self.zeros.is_none() {
            let zeros = HugePages::new(ZEROS_BYTES).map_err(|error| {
                report.machine_error("have memory for a segment in", Site::Path(&self.root), &error);
                outcome_of(&error)
            })?;
            self.zeros = Some(zeros);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let header = SegmentHeader { salt, sequence, bytes, is_zeroed: spare.is_none() };
        let page = HeaderPage::of(&header);
        let prepared = prepared(spare.unwrap_or(sequence));
        let plan = self.plan(&header, &page, &prepared);
        let results = executor.run(&plan);
        let Some(error) = results.error(0) else { return Ok(header) };
        let outcome = outcome_of(error);
        report_failures(report, &self.root, &plan, &results);
        let undo = plan::undo(&plan, &results);
        let undone = executor.run(&undo);
        report_failures(report, &self.root, &undo, &undone);
        // A spare that did not get its name was not created by the plan.
        self.remove(prepared, executor, report);
        Err(outcome)
    }

    /// A segment in its prepared file, which is new where the header tells that it is zeroed and a spare
    /// else, and its name.
    fn plan<'p>(&'p self, header: &SegmentHeader, page: &'p HeaderPage, prepared: &Rc<FilePath>) -> Plan<'p> {
        let mut plan = Plan::new(1);
        let mut push = |action| plan.push(Owners::One(0), action);
        if header.is_zeroed {
            let zeros = self.zeros.as_deref().expect("made before");
            push(Action::Create(Rc::clone(prepared)));
            // A full disk says so here, before it is filled to the brim.
            push(Action::Reserve(Rc::clone(prepared), header.bytes));
            push(Action::Write(Rc::clone(prepared), 0, vec![&page.0]));
            let mut at = SEGMENT_HEADER_BYTES;
            while at < header.bytes {
                let piece = usize::try_from(header.bytes - at).unwrap_or(usize::MAX).min(ZEROS_BYTES);
                push(Action::Write(Rc::clone(prepared), at, vec![&zeros[..piece]]));
                at += piece as u64;
                if self.syncs_pieces || at == header.bytes {
                    push(Action::SyncFile(Rc::clone(prepared)));
                }
            }
        } else {
            push(Action::Open(Rc::clone(prepared)));
            push(Action::Write(Rc::clone(prepared), 0, vec![&page.0]));
            push(Action::SyncFile(Rc::clone(prepared)));
        }
        push(Action::Close(Rc::clone(prepared)));
        plan.barrier();
        let file = FilePath::in_root(format::segment_name(header.sequence));
        let directory = Rc::clone(&file.directory);
        plan.push(Owners::One(0), Action::Rename(Rc::clone(prepared), file));
        plan.barrier();
        plan.push(Owners::One(0), Action::SyncDirectory(Rc::clone(&directory)));
        plan.barrier();
        // Batches change nothing that goes through the journal: this is the only time that a segment without
        // it is found out.
        plan.push(Owners::One(0), Action::ProbeJournal(directory));
        plan
    }

    /// The number of the next segment: all that there are and were are below it.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Removes a segment that was made and that nobody wrote to.
    pub(super) fn discard(&mut self, header: &SegmentHeader, executor: &mut dyn Executor) {
        let report = Arc::clone(&self.report);
        self.remove(FilePath::in_root(format::segment_name(header.sequence)), executor, &*report);
    }

    /// Keeps the files of segments for their next use, or removes them where there are enough. The caller
    /// knows that all their records were consumed, and that nobody writes to them. False when some have to be
    /// tried again.
    pub fn recycle(&mut self, all: &[Used], executor: &mut dyn Executor) -> bool {
        let mut plan = Plan::new(all.len());
        for (index, used) in all.iter().enumerate() {
            for message in &used.messages {
                plan.push(Owners::One(index), Action::Remove(FilePath::in_root(message.clone())));
            }
        }
        plan.barrier();
        let mut kept = Vec::new();
        for (index, used) in all.iter().enumerate() {
            let file = FilePath::in_root(format::segment_name(used.sequence));
            // What a failed write cut short, and what was made for one large message, is of no use.
            if self.spares.len() + kept.len() < self.spares_max && used.bytes == self.segment_bytes {
                kept.push(index);
                plan.push(Owners::One(index), Action::Rename(file, prepared(used.sequence)));
            } else {
                plan.push(Owners::One(index), Action::Remove(file));
            }
        }
        plan.barrier();
        if !kept.is_empty() {
            // Before the new headers are written, in place and by no journal: no file must come back under
            // its old number with one.
            plan.push(Owners::Many(kept.clone()), Action::SyncDirectory(Rc::from("")));
            plan.barrier();
            plan.push(Owners::Many(kept.clone()), Action::ProbeJournal(Rc::from("")));
        }
        let results = executor.run(&plan);
        self.spares.extend(
            kept.iter().filter(|index| results.error(**index).is_none()).map(|index| all[*index].sequence),
        );
        if results.any_failed() {
            report_failures(&*self.report, &self.root, &plan, &results);
            // A name of which nobody knows whether it is durable is of no use either.
            let undo = plan::undo(&plan, &results);
            let undone = executor.run(&undo);
            report_failures(&*self.report, &self.root, &undo, &undone);
        }
        !results.any_failed()
    }

    /// Makes the names in the root durable. False when that fails. The journal is not probed: who calls this
    /// goes on to rename or to remove something, which is a change of its own.
    pub(super) fn sync_names(&mut self, executor: &mut dyn Executor) -> bool {
        let mut plan = Plan::new(1);
        plan.push(Owners::One(0), Action::SyncDirectory(Rc::from("")));
        let results = executor.run(&plan);
        report_failures(&*self.report, &self.root, &plan, &results);
        !results.any_failed()
    }

    /// False when that fails.
    fn remove(&self, file: Rc<FilePath>, executor: &mut dyn Executor, report: &dyn Report) -> bool {
        let mut plan = Plan::new(1);
        plan.push(Owners::One(0), Action::Remove(file));
        let results = executor.run(&plan);
        report_failures(report, &self.root, &plan, &results);
        !results.any_failed()
    }
}

/// The segments before this number, oldest first, with the files that go with them.
pub(super) fn used_before(directory: &Path, sequence: u64) -> io::Result<Vec<Used>> {
    let mut used = Vec::new();
    let mut messages = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(sequence) = format::segment_sequence(name) {
            used.push(Used { sequence, bytes: entry.metadata()?.len(), messages: Vec::new() });
        } else if let Some((sequence, _)) = format::message_place(name) {
            messages.push((sequence, name.to_owned()));
        }
    }
    used.retain(|used| used.sequence < sequence);
    used.sort_unstable_by_key(|used| used.sequence);
    for (sequence, name) in messages {
        if let Ok(index) = used.binary_search_by_key(&sequence, |used| used.sequence) {
            used[index].messages.push(name);
        }
    }
    Ok(used)
}

/// Removes the files of large messages that no record names: their segment is gone, because a stop came
/// between the two removals; or it never had their record, because a stop came before that was written.
/// Called at start.
///
/// `unused_from` tells for some segments from where on nothing was ever written to them. In a gap a record
/// may have been lost to damage, and what an earlier use left may hide one, too: a file that belongs there
/// stays until its segment is recycled.
pub(super) fn remove_orphans(directory: &Path, unused_from: &BTreeMap<u64, u64>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((sequence, offset)) = name.to_str().and_then(format::message_place) else { continue };
        let was_never_written = unused_from.get(&sequence).is_some_and(|unused| offset >= *unused);
        if was_never_written || !directory.join(format::segment_name(sequence)).try_exists()? {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the newest segments while nothing was ever written to them: a kill leaves the one that was ready,
/// 64 MiB each time. Only where every octet after the header is there and still zero, which nothing that was
/// accepted can be. Called at start, when the number to go on with is known.
pub(super) fn remove_unused(directory: &Path) -> io::Result<()> {
    for (_, path) in reader::segments(directory)?.iter().rev() {
        let file = fs::File::open(path)?;
        let bytes = file.metadata()?.len();
        let is_unused = scan(&file)?.is_ok_and(|scan| {
            let is_whole = scan.segment.is_zeroed && bytes >= scan.segment.bytes;
            is_whole && scan.records.is_empty() && scan.gaps.is_empty()
        });
        if !is_unused {
            break;
        }
        fs::remove_file(path)?;
    }
    Ok(())
}

fn prepared(sequence: u64) -> Rc<FilePath> {
    FilePath::in_root(format!("{sequence:016x}{}", format::PREPARED_SUFFIX))
}

#[allow(clippy::cast_possible_truncation)]
const HEADER_PAGE_BYTES: usize = SEGMENT_HEADER_BYTES as usize;

/// A segment's header with the zeros after it, aligned so that it can be written directly as it is.
#[repr(C, align(4096))]
struct HeaderPage([u8; HEADER_PAGE_BYTES]);

impl HeaderPage {
    fn of(header: &SegmentHeader) -> Box<Self> {
        let octets = header.encode();
        let mut page = Box::new(Self([0; HEADER_PAGE_BYTES]));
        page.0[..octets.len()].copy_from_slice(&octets);
        page
    }
}

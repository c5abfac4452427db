//! The thread that has the next segment ready before the writer needs it, and recycles what was consumed.
//!
//! It owns the names of the spool's root: it alone makes, renames and removes segments. It never touches the
//! one that is written, nor any after the cursor in `consumed`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::cursor::{self, Cursor};
use super::fill;
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::options::Options;
use super::reader;
use super::supply::{Maker, SPARES_MIN, Supply, used_before};
use super::watch::Watch;
use crate::mail::outcome::Outcome;
use crate::metrics::SpoolMetrics;
use crate::sink::executor::Executor;
use crate::sink::executor::blocking::Blocking;
use crate::sink::file_system::sync_directory;
use crate::sink::report::{Report, Site};

/// How often `consumed` is looked at, and a segment that could not be made is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Recycling that failed is tried again after this time, so that a disk that fails for good does not fill the
/// log.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Files of consumed segments are kept for as many as the writer took in this time: a consumer that looks
/// once a second keeps up with any load, and nothing is written with zeros then.
const SPARES_FOR: Duration = Duration::from_secs(4);

/// But not more than this: 2 GiB of segments of the usual size.
const SPARES_MAX: usize = 32;

/// How often the log tells how full the spool is.
const TELL_EVERY: Duration = Duration::from_hours(1);

/// The writer's end of the thread.
pub(super) struct Background {
    /// Octets that the next segment must have room for; none once the thread shall end.
    requests: Option<Sender<u64>>,
    replies: Receiver<Result<SegmentHeader, Outcome>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the thread and waits until it has tried to make the first segment: no message shall wait for
    /// that.
    pub(super) fn start(
        maker: Maker,
        options: Options,
        directory: OwnedFd,
        root: &Path,
        report: Arc<dyn Report>,
        metrics: Arc<SpoolMetrics>,
    ) -> io::Result<Self> {
        let (requests, wanted) = bounded(1);
        let (give, replies) = bounded(1);
        let (begun, has_begun) = bounded(1);
        let root = root.to_owned();
        let run = move || {
            let executor = options.executor(directory);
            let maker = if executor.writes_directly() { maker.with_direct_writes() } else { maker };
            Preparer {
                maker,
                executor,
                root,
                report,
                ready: None,
                failing: false,
                taken_at: VecDeque::new(),
                seen: None,
                spares_after: None,
                recycle_after: None,
                trouble: false,
                unsynced: false,
                refused: None,
                watch: Watch::new(metrics),
            }
            .run(&wanted, &give, &begun);
        };
        let thread = std::thread::Builder::new().name("ringmx-spool".to_owned()).spawn(run)?;
        has_begun.recv().map_err(io::Error::other)?;
        Ok(Self { requests: Some(requests), replies, thread: Some(thread) })
    }
}

impl Supply for Background {
    fn next(&mut self, needed: u64, _: &mut dyn Executor) -> Result<SegmentHeader, Outcome> {
        let sent = self.requests.as_ref().map(|requests| requests.send(needed));
        let reply = self.replies.recv();
        assert!(sent.is_some_and(|sent| sent.is_ok()), "the thread lives as long as the writer");
        reply.expect("the thread answers each request")
    }
}

impl Drop for Background {
    /// The store stays locked until the thread has ended.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told on standard error, and nothing depends on it any more.
            let _ = thread.join();
        }
    }
}

/// The thread's own state.
struct Preparer {
    maker: Maker,
    executor: Blocking,
    root: PathBuf,
    report: Arc<dyn Report>,
    /// The next segment, of the usual size.
    ready: Option<SegmentHeader>,
    /// The last try to make one failed: that was told once, and what fails while nobody waits is not told
    /// again.
    failing: bool,
    /// When the writer took the last ones. `taken_at.len() <= SPARES_MAX`
    taken_at: VecDeque<Instant>,
    /// What `consumed` said at the last look, and what becomes of it.
    seen: Option<(Cursor, Seen)>,
    /// The removal of spares failed and was told: not before this time again.
    spares_after: Option<Instant>,
    /// Recycling failed and was told: not before this time again.
    recycle_after: Option<Instant>,
    /// It cannot be found out what was consumed, or a cursor cannot be put aside, and that was told.
    trouble: bool,
    /// `consumed` may have been put aside, and its directory not synced.
    unsynced: bool,
    /// The last cursor of nothing, which was told.
    refused: Option<Cursor>,
    watch: Watch,
}

impl Preparer {
    fn run(
        mut self,
        wanted: &Receiver<u64>,
        give: &Sender<Result<SegmentHeader, Outcome>>,
        begun: &Sender<()>,
    ) {
        let mut looked_at = Instant::now();
        let mut told_at = Instant::now();
        self.look();
        self.prepare();
        self.watch.measure_if_due(&self.root, looked_at);
        // Whoever started the thread waits for this.
        let _ = begun.send(());
        loop {
            if self.ready.is_none() {
                self.prepare();
            }
            match wanted.recv_timeout(LOOK_EVERY) {
                Ok(needed) => {
                    let reply = self.take(needed);
                    if give.send(reply).is_err() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked_at.elapsed() >= LOOK_EVERY {
                self.keep_spares();
                self.look();
                looked_at = Instant::now();
                self.watch.measure_if_due(&self.root, looked_at);
            }
            if told_at.elapsed() >= TELL_EVERY {
                if let Ok(Some(text)) = fill::describe(&self.root) {
                    self.report.note(&text);
                }
                told_at = Instant::now();
            }
        }
        // Otherwise each restart would leave a segment of zeros, and space in use while nothing runs.
        if let Some(ready) = self.ready.take() {
            self.maker.discard(&ready, &mut self.executor);
        }
        self.maker.keep_spares(0, &mut self.executor);
    }

    /// The segment that is ready, or one that is made now: the writer waits.
    fn take(&mut self, needed: u64) -> Result<SegmentHeader, Outcome> {
        let fits = |ready: &SegmentHeader| ready.bytes - SEGMENT_HEADER_BYTES >= needed;
        let segment = match self.ready.take() {
            Some(ready) if fits(&ready) => Ok(ready),
            unfit => {
                // Numbers tell the order of use, so it cannot come after the larger one.
                if let Some(ready) = unfit {
                    self.maker.discard(&ready, &mut self.executor);
                }
                self.maker.make(needed, &mut self.executor)
            }
        };
        if segment.is_ok() {
            self.taken_at.push_back(Instant::now());
            if self.taken_at.len() > SPARES_MAX {
                self.taken_at.pop_front();
            }
        }
        self.failing = segment.is_err();
        segment
    }

    fn prepare(&mut self) {
        if self.maker.has_no_spare() {
            self.keep_spares();
            self.look();
        }
        let made = if self.failing {
            self.maker.make_telling(0, &mut self.executor, &Silent)
        } else {
            self.maker.make(0, &mut self.executor)
        };
        self.failing = made.is_err();
        self.ready = made.ok();
    }

    /// Keeps as many spares as the load of the last seconds needs.
    fn keep_spares(&mut self) {
        self.taken_at.retain(|at| at.elapsed() < SPARES_FOR);
        if is_later(self.spares_after) {
            return;
        }
        let is_done = self.maker.keep_spares(self.taken_at.len().max(SPARES_MIN), &mut self.executor);
        self.spares_after = (!is_done).then(|| Instant::now() + RETRY_AFTER);
    }

    /// Recycles what was consumed since the last look.
    fn look(&mut self) {
        let Err(error) = self.look_at_consumed() else {
            self.trouble = false;
            return;
        };
        if !std::mem::replace(&mut self.trouble, true) {
            self.report.machine_error(
                "go by what was consumed, so nothing is recycled:",
                Site::Path(&self.root.join(cursor::CONSUMED)),
                &error,
            );
        }
    }

    fn look_at_consumed(&mut self) -> io::Result<()> {
        if self.unsynced {
            sync_directory(&self.root)?;
            self.unsynced = false;
        }
        let Some(consumed) = cursor::read_consumed(&self.root)? else {
            self.seen = None;
            return Ok(());
        };
        let seen = match self.seen {
            Some((cursor, seen)) if cursor == consumed => seen,
            Some(_) | None => self.judge(consumed)?,
        };
        self.seen = Some((consumed, seen));
        match seen {
            Seen::Believed if !is_later(self.recycle_after) => {
                let is_done = self.recycle_before(consumed.sequence).unwrap_or_else(|error| {
                    self.report.machine_error("look at what was consumed of", Site::Path(&self.root), &error);
                    false
                });
                self.recycle_after = (!is_done).then(|| Instant::now() + RETRY_AFTER);
                if is_done {
                    self.seen = Some((consumed, Seen::Recycled));
                }
            }
            Seen::Refused => {
                self.unsynced = true;
                let is_aside = cursor::refuse_consumed(&self.root, consumed)?;
                self.unsynced = false;
                if is_aside {
                    // The same once more is another one: what is there then counts.
                    self.seen = None;
                }
            }
            Seen::Believed | Seen::Recycled => {}
        }
        Ok(())
    }

    /// What is to become of a cursor. One of nothing is a slip: to believe it would give segments away that
    /// nobody has seen.
    fn judge(&mut self, consumed: Cursor) -> io::Result<Seen> {
        if reader::holds_record(&self.root, consumed)? {
            return Ok(Seen::Believed);
        }
        // One whose segment is gone, and all before it, gives nothing away, and nothing comes to be there.
        let is_number_past = consumed.sequence < self.maker.next_sequence();
        if is_number_past
            && reader::segments(&self.root)?.iter().all(|(number, _)| *number > consumed.sequence)
        {
            return Ok(Seen::Recycled);
        }
        if self.refused.replace(consumed) != Some(consumed) {
            self.report.note(&format!(
                "`consumed` says {consumed}, and there is no such record: it becomes `{}`, and nothing is recycled until a consumer says something else",
                cursor::REFUSED
            ));
        }
        Ok(Seen::Refused)
    }

    /// Recycles the segments before this number. False when that failed, which was told, and has to be tried
    /// again.
    fn recycle_before(&mut self, sequence: u64) -> io::Result<bool> {
        let used = used_before(&self.root, sequence)?;
        // The cursor is durable before what it frees is destroyed: it may have been renamed into place just
        // now.
        Ok(used.is_empty()
            || self.maker.sync_names(&mut self.executor) && self.maker.recycle(&used, &mut self.executor))
    }
}

/// What becomes of a cursor in `consumed`.
#[derive(Clone, Copy)]
enum Seen {
    /// It is that of a record: what lies before it is to be recycled.
    Believed,
    /// Nothing is left to do for it.
    Recycled,
    /// It is that of no record and is to be put aside. It stays one of nothing when a record comes to be
    /// there meanwhile.
    Refused,
}

/// Whether a time is still to come.
fn is_later(time: Option<Instant>) -> bool {
    time.is_some_and(|time| Instant::now() < time)
}

/// Swallows what was told before.
struct Silent;

impl Report for Silent {
    fn machine_error(&self, _: &str, _: Site<'_>, _: &io::Error) {}
}

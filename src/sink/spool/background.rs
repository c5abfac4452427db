//! The thread that has the next segment ready before the writer needs it, and recycles what was consumed.
//!
//! It owns the names of the spool's root: it alone makes, renames and removes segments. It never touches the one that is written,
//! nor any behind the cursor in `consumed`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Options;
use super::cursor::{self, Cursor};
use super::fill;
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::supply::{Maker, SPARES_MIN, Supply, used_before};
use crate::handoff::message::Outcome;
use crate::sink::Report;
use crate::sink::executor::Executor;
use crate::sink::executor::blocking::Blocking;

/// How often `consumed` is looked at, and a segment that could not be made is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Recycling that failed is tried again after this time, so that a disk that fails for good does not fill the log.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Files of consumed segments are kept for as many as the writer took in this time: a consumer that looks once a second keeps up with
/// any load, and nothing is written with zeros then.
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
    /// Starts the thread and waits until it has tried to make the first segment: no message shall wait for that.
    pub(super) fn start(
        maker: Maker,
        options: Options,
        directory: OwnedFd,
        root: &Path,
        report: Arc<dyn Report>,
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
                recycled: None,
                retry_at: None,
                trouble: false,
                disbelieved: None,
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
    /// The last try to make one failed: that was told once, and what fails while nobody waits is not told again.
    failing: bool,
    /// When the writer took the last ones. `taken_at.len() <= SPARES_MAX`
    taken_at: VecDeque<Instant>,
    /// Everything before this number was recycled.
    recycled: Option<u64>,
    /// Recycling failed and was told: not before this time again.
    retry_at: Option<Instant>,
    /// `consumed` cannot be read, and that was told.
    trouble: bool,
    /// A cursor of nothing, which was told. It stays one when something is written there later, but only until the next start, which
    /// cannot tell it from a true one.
    disbelieved: Option<Cursor>,
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
            }
            if told_at.elapsed() >= TELL_EVERY {
                if let Ok(Some(text)) = fill::describe(&self.root) {
                    self.report.note(&text);
                }
                told_at = Instant::now();
            }
        }
        // Or each restart would leave a segment of zeros behind, and space in use while nothing runs.
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
        if self.waits_to_retry() {
            return;
        }
        if !self.maker.keep_spares(self.taken_at.len().max(SPARES_MIN), &mut self.executor) {
            self.retry_at = Some(Instant::now() + RETRY_AFTER);
        }
    }

    fn waits_to_retry(&self) -> bool {
        self.retry_at.is_some_and(|at| Instant::now() < at)
    }

    /// Recycles what was consumed since the last look.
    fn look(&mut self) {
        let consumed = match cursor::read_consumed(&self.root) {
            Ok(Some(consumed)) => consumed,
            Ok(None) => return,
            Err(error) => {
                if !std::mem::replace(&mut self.trouble, true) {
                    self.report.machine_error(
                        "read; nothing is recycled until it can be read:",
                        &self.root.join("consumed"),
                        &error,
                    );
                }
                return;
            }
        };
        self.trouble = false;
        if self.disbelieved == Some(consumed) {
            return;
        }
        // A cursor beyond everything written is a slip: to believe it would give segments away that nobody has seen. The segment that a
        // true one names is there, for it is never recycled, and it holds a record, which the one that is ready does not.
        let is_ready = self.ready.as_ref().is_some_and(|ready| ready.sequence == consumed.sequence);
        match self.root.join(consumed.segment_name()).try_exists() {
            Ok(true) if !is_ready => {}
            Ok(_) => {
                self.disbelieved = Some(consumed);
                self.report.note(&format!(
                    "`consumed` says {consumed}, and there is no such record; nothing is recycled until it says something else"
                ));
                return;
            }
            // Looked at again in a second.
            Err(_) => return,
        }
        let consumed = consumed.sequence;
        if self.recycled == Some(consumed) || self.waits_to_retry() {
            return;
        }
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        match used_before(&self.root, consumed) {
            Ok(used) => {
                // The cursor is durable before what it frees is destroyed: it may have been renamed into place just now.
                if !used.is_empty() && !self.maker.sync_names(&mut self.executor) {
                    return;
                }
                if self.maker.recycle(&used, &mut self.executor) {
                    self.recycled = Some(consumed);
                    self.retry_at = None;
                }
            }
            Err(error) => self.report.machine_error("read the directory", &self.root, &error),
        }
    }
}

/// Swallows what was told before.
struct Silent;

impl Report for Silent {
    fn machine_error(&self, _: &str, _: &Path, _: &io::Error) {}
}

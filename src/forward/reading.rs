//! The thread that reads the spool: each message in its order, once it is durable. It runs ahead of the
//! engine by no more than a bounded number of octets.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::keep::{self, Folder};
use crate::handoff::channel::Sender;
use crate::metrics::ReaderMetrics;
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::follow::{Followed, Follower};
use crate::sink::{Report, Site};

/// Messages on their way to the engine.
pub const AHEAD_MESSAGES: usize = 1024;

/// Octets of them; one message may be larger.
const AHEAD_BYTES: u64 = 16 * 1024 * 1024;

/// How often it looks for mail where no receiver wakes it, while some came in the last second, and while none
/// did.
const LOOK_OFTEN: Duration = Duration::from_millis(1);
const LOOK_RARELY: Duration = Duration::from_millis(25);

/// After an error it looks again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What was read.
#[derive(Debug)]
pub enum Read {
    /// A message.
    Message(Box<Followed>),
    /// A record that is there and cannot be read: its file is gone, or its octets have changed.
    Unreadable(Unreadable),
}

/// A record that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Where it is.
    pub cursor: Cursor,
    /// How many recipients it has, as [`Change::Read`](super::keep::Change::Read) tells it.
    pub recipients: u32,
    /// Why.
    pub why: String,
}

/// What the reader and the engine share.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Octets that were read and not taken.
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Ahead {
    /// The engine took a message.
    pub fn take(&self, found: &Read) {
        self.bytes.fetch_sub(bytes_of(found), Ordering::Relaxed);
    }

    /// The reader ends.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn bytes_of(found: &Read) -> u64 {
    match found {
        Read::Message(found) => found.content.len() as u64,
        Read::Unreadable(_) => 0,
    }
}

/// Reads on after this record, or from the oldest one on, until it is stopped.
pub fn run(
    spool: &Path,
    after: Option<Cursor>,
    to: &Sender<Read>,
    ahead: &Ahead,
    report: &Arc<dyn Report>,
    metrics: &ReaderMetrics,
) {
    let mut last = after;
    // The record that could not be read before.
    let mut failed = None;
    while !ahead.is_stopped() {
        let Err((at, error)) = follow(spool, &mut last, to, ahead, &**report, metrics) else { continue };
        report.machine_error("read the spool", Site::Path(spool), &error);
        let is_damage = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound);
        if let Some(cursor) = at.filter(|at| is_damage && failed == Some(*at)) {
            let examined = keep::examine(&Folder(spool.to_owned()), cursor);
            let recipients = examined.recipients();
            let why = examined.why.unwrap_or_else(|| error.to_string());
            let found = Unreadable { cursor, recipients, why };
            // The engine has to know of it before it knows of what comes after.
            if hand_on(Read::Unreadable(found), to, ahead, metrics).is_ok() {
                last = Some(cursor);
            }
        }
        failed = at;
        let until = Instant::now() + AGAIN_AFTER;
        while Instant::now() < until && !ahead.is_stopped() {
            metrics.steps.add(1);
            std::thread::sleep(LOOK_RARELY);
        }
    }
}

/// An error comes with where it was met.
fn follow(
    spool: &Path,
    last: &mut Option<Cursor>,
    to: &Sender<Read>,
    ahead: &Ahead,
    report: &dyn Report,
    metrics: &ReaderMetrics,
) -> Result<(), (Option<Cursor>, io::Error)> {
    let mut note = |text: String| report.note(&text);
    let mut follower = Follower::new(spool, *last, false, &mut note).map_err(|error| (None, error))?;
    let mut came_at = Instant::now();
    while !ahead.is_stopped() {
        metrics.steps.add(1);
        let moved = follower.advance(&mut note, &mut |found| {
            let cursor = found.cursor;
            metrics.see(found.envelope.received_at);
            hand_on(Read::Message(Box::new(found)), to, ahead, metrics)?;
            *last = Some(cursor);
            Ok(())
        });
        match moved {
            Ok(true) => came_at = Instant::now(),
            Ok(false) => {
                metrics.is_at_end();
                let is_busy = came_at.elapsed() < Duration::from_secs(1);
                follower.wait(if is_busy { LOOK_OFTEN } else { LOOK_RARELY });
            }
            Err(_) if ahead.is_stopped() => return Ok(()),
            Err(error) => return Err((follower.at(), error)),
        }
    }
    Ok(())
}

/// Waits for room: nobody else is kept by this thread.
fn hand_on(found: Read, to: &Sender<Read>, ahead: &Ahead, metrics: &ReaderMetrics) -> io::Result<()> {
    let bytes = bytes_of(&found);
    let mut found = found;
    loop {
        metrics.steps.add(1);
        let held = ahead.bytes.load(Ordering::Relaxed);
        if held == 0 || held.saturating_add(bytes) <= AHEAD_BYTES {
            ahead.bytes.fetch_add(bytes, Ordering::Relaxed);
            match to.send_and_ring(found) {
                Ok(()) => return Ok(()),
                Err(back) => {
                    ahead.bytes.fetch_sub(bytes, Ordering::Relaxed);
                    found = back;
                }
            }
        }
        if ahead.is_stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        std::thread::sleep(LOOK_OFTEN);
    }
}

//! The stdout sink: one JSON object a line, or one mbox entry, a message. Promises nothing.
//!
//! When its reader has closed or does not read, mail is answered 451, never 250. When a message was written
//! in part, its rest goes out before anything else, so that no octet of another message can pass for a part
//! of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::contract::{Durability, Sink};
use super::facts::Facts;
use super::kind::Kind;
use super::opening::{OpenError, Opened, Surroundings};
use super::report::{Report, Site, outcome_of};
use super::spill_file::SpillTo;
use crate::config::{self, StdoutFormat};
use crate::handoff::message::Message;
use crate::mail::outcome::Outcome;
use crate::metrics::Pulse;

/// A reader that takes nothing for so long has stalled.
const STALL_MAX: Duration = Duration::from_secs(10);

/// What a pipe or terminal that says it is writable takes without blocking (`PIPE_BUF`).
const SAFE_WRITE_BYTES: usize = 4096;

impl Kind for config::Stdout {
    fn writes_in(&self) -> Option<PathBuf> {
        Some(std::env::temp_dir())
    }

    /// Opens the sink on standard output.
    fn open(&self, _workers: usize, surroundings: &Surroundings) -> Result<Opened, OpenError> {
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(|error| OpenError {
            what: "use the standard output of",
            site: "ringmx".to_owned(),
            why: error.to_string(),
            cure: "start it with standard output open",
        })?;
        let report = Arc::clone(&surroundings.report);
        let format = self.format;
        let name = match format {
            StdoutFormat::Json => "stdout json",
            StdoutFormat::Mbox => "stdout mbox",
        };
        Ok(Opened {
            description: name.to_owned(),
            durability: Durability::None,
            notes: vec!["stdout promises nothing: what its reader loses is lost".to_owned()],
            // One worker: lines of two would mix.
            workers: vec![Box::new(move || Ok(Box::new(Stdout::new(output, format, STALL_MAX, report))))],
            inline: None,
            spill: SpillTo::Directory(std::env::temp_dir()),
            mailboxes: None,
        })
    }
}

/// Writes messages to a file descriptor.
pub struct Stdout {
    output: OwnedFd,
    /// Whether `output` never blocks, so that writes may be of any size.
    never_blocks: bool,
    format: StdoutFormat,
    stall_max: Duration,
    report: Arc<dyn Report>,
    pulse: Arc<Pulse>,
    /// What is being written, `written` octets of which are out. Not empty after a failure in mid-message.
    text: Vec<u8>,
    /// `written <= text.len()`
    written: usize,
}

impl Stdout {
    /// Writes to `output`, whose reader may not stall for longer than `stall_max`.
    pub fn new(output: OwnedFd, format: StdoutFormat, stall_max: Duration, report: Arc<dyn Report>) -> Self {
        let (output, never_blocks) = without_blocking(output);
        let pulse = Arc::default();
        Self { output, never_blocks, format, stall_max, report, pulse, text: Vec::new(), written: 0 }
    }

    /// Writes what is left of `text`.
    fn flush(&mut self) -> io::Result<()> {
        let mut deadline = Instant::now() + self.stall_max;
        while let Some(rest) = self.text.get(self.written..).filter(|rest| !rest.is_empty()) {
            if !self.never_blocks {
                wait(&self.output, deadline)?;
            }
            let bytes = if self.never_blocks { rest.len() } else { rest.len().min(SAFE_WRITE_BYTES) };
            match rustix::io::write(&self.output, &rest[..bytes]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    // A slow reader is none that hangs.
                    self.pulse.advance();
                    deadline = Instant::now() + self.stall_max;
                }
                Err(Errno::AGAIN) => wait(&self.output, deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.text.clear();
        self.written = 0;
        Ok(())
    }

    fn store_one(&mut self, message: &Message) -> io::Result<()> {
        // The rest of a message that was cut short.
        self.flush()?;
        let data = message.data.whole().map_err(io::Error::other)?;
        match self.format {
            StdoutFormat::Json => {
                let content = std::iter::once(message.received.as_slice()).chain(data.pieces());
                self.text.extend_from_slice(Facts::of(message).json(content).as_bytes());
            }
            StdoutFormat::Mbox => {
                let mut content = message.received.clone();
                data.pieces().for_each(|piece| content.extend_from_slice(piece));
                Facts::of(message).mbox(&content, b"\r\n", &mut self.text);
            }
        }
        let result = self.flush();
        if result.is_err() && self.written == 0 {
            // Nothing of it is out, so nothing of it has to follow.
            self.text.clear();
        }
        result
    }
}

impl Sink for Stdout {
    fn watched(&mut self, pulse: &Arc<Pulse>) {
        self.pulse = Arc::clone(pulse);
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        let mut stalled = None;
        for message in batch {
            // One wait a batch is enough: a reader that stalled for the first message does not get the time
            // of all of them.
            let outcome = stalled.unwrap_or_else(|| match self.store_one(message) {
                Ok(()) => Outcome::Stored,
                Err(error) => {
                    self.report.machine_error("write to", Site::Named("standard output"), &error);
                    *stalled.insert(outcome_of(&error))
                }
            });
            message.place.clear();
            message.place.push_str("stdout");
            outcomes.push(outcome);
        }
    }
}

/// A pipe is opened anew so that it does not block us: to set that on the descriptor we were given would set
/// it for everybody who shares it, the shell included.
fn without_blocking(output: OwnedFd) -> (OwnedFd, bool) {
    let kind = rustix::fs::fstat(&output).map(|facts| FileType::from_raw_mode(facts.st_mode));
    if kind != Ok(FileType::Fifo) {
        return (output, false);
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&output));
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => (opened, true),
        Err(_) => (output, false),
    }
}

/// Waits until the reader takes something, or the deadline.
fn wait(output: &OwnedFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut waits = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::OUT)];
        match poll(&mut waits, Some(&left)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader has stalled")),
            // An error or a closed reader shows in the write that follows.
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

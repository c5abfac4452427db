//! Sinks: where completed messages go.
//!
//! A sink takes a batch and gives one outcome a message: all or nothing for a message. What it promises is part of its
//! type and logged at start. A disk sink makes a [`plan`] and an [`executor`] carries it out, so the code that keeps the
//! promise is the code that the power-cut tests run.
//!
//! A new sink is one file (or folder) and one row in [`open`]'s table.

pub mod discard;
pub mod executor;
mod facts;
pub mod file_limit;
pub mod file_system;
pub mod mailbox;
pub mod maildir;
pub mod optional;
pub mod plan;
mod root;
pub mod space;
pub mod spill;
pub mod spool;
pub mod stdout;
mod trial;
pub mod volatile;
pub mod worker;

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::mailbox::Mailboxes;
use self::space::Space;
use self::spill::SpillTo;
use crate::config::{self, SinkKind};
use crate::handoff::message::Message;
use crate::mail::envelope::Mailbox;
use crate::mail::outcome::{Outcome, TryAgain};

/// What [`Outcome::Stored`] of a sink means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message survives a stop of the process and of the machine.
    Disk,
    /// The message survives a stop of the process and not one of the machine: the store is in memory.
    Memory,
    /// The sink promises nothing.
    None,
}

impl Durability {
    /// What a message is worth that is stored in this directory.
    fn of_store(directory: impl AsFd) -> Self {
        if volatile::why(directory).is_some() { Self::Memory } else { Self::Disk }
    }
}

/// What a message costs the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Octets to be written.
    pub bytes: u64,
    /// Files to be made.
    pub files: usize,
}

/// A place where messages go. Lives on one worker thread, or on the shard when it never blocks.
pub trait Sink {
    /// What `Stored` means here.
    fn durability(&self) -> Durability;

    /// A message that is larger than so many octets and whose mail data begins in a spill file comes to [`Self::store`] with
    /// that file ([`spill_file`](crate::buffer::MailData::spill_file)). None: all mail data is wanted in memory.
    fn inline_bytes_max(&self) -> Option<u64> {
        None
    }

    /// What it takes to store this message. Said of every message, so it is quick.
    fn cost(&self, message: &Message) -> Cost {
        Cost { bytes: message.data.bytes(), files: 0 }
    }

    /// Stores a batch and appends exactly one outcome a message, in the order of the batch. May block.
    ///
    /// Writes where each message went to its `place`. An error of the machine becomes `TryAgain`, logged once with errno and
    /// path; a message whose outcome is not `Stored` leaves nothing visible behind.
    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>);
}

/// Takes a sink's errors of the machine to the log.
pub trait Report: Send + Sync {
    /// `what` was tried with `path` and failed with `error`.
    fn machine_error(&self, what: &str, path: &Path, error: &io::Error);

    /// Something that the operator should know and that is no failure.
    fn note(&self, _text: &str) {}
}

/// What a sink knows of the world besides its own settings.
#[derive(Clone)]
pub struct Surroundings {
    /// The name of this host, for the names of files.
    pub hostname: String,
    /// Whether local-parts that differ in case are different recipients.
    pub local_part_case_sensitive: bool,
    /// Where errors of the machine go.
    pub report: Arc<dyn Report>,
    /// Whether a mailbox is known by its name and not only by a catch-all, so that a directory may be made for it.
    pub is_named: Arc<dyn Fn(Mailbox<'_>) -> bool + Send + Sync>,
}

/// Makes the sink of one worker, on the worker's own thread.
pub type Worker = Box<dyn FnOnce() -> io::Result<Box<dyn Sink>> + Send>;

/// A sink whose store is locked and recovered.
pub struct Opened {
    /// Its kind and place, for the start banner.
    pub description: String,
    /// What `Stored` means here.
    pub durability: Durability,
    /// What the operator should know: what recovery found, what is not promised.
    pub notes: Vec<String>,
    /// One a worker thread. The lock on the store is held until all of them and their sinks are gone.
    pub workers: Vec<Worker>,
    /// Makes one for each shard, for a sink that never blocks; then there are no workers.
    pub inline: Option<fn() -> Box<dyn Sink>>,
    /// Where mail data goes that is too much to stay in memory.
    pub spill: SpillTo,
    /// Who is asked about recipients before the 250 to RCPT; none where all of them have one place.
    pub mailboxes: Option<Mailboxes>,
}

/// A sink cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    /// What was tried.
    what: &'static str,
    /// With what.
    path: PathBuf,
    /// Why it failed.
    why: String,
    /// What to do.
    cure: &'static str,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, why, cure } = self;
        write!(f, "cannot {what} {}: {why}; {cure}", path.display())
    }
}

impl std::error::Error for OpenError {}

/// What can be known of a sink before it is opened.
#[derive(Debug, Default)]
pub struct Examined {
    /// Why it cannot be opened.
    pub errors: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// Looks whether the configured sink can be opened. Changes nothing; says what, of which path, and what to
/// do.
pub fn examine(config: &config::Sink) -> Examined {
    let mut examined = Examined::default();
    match &config.kind {
        SinkKind::Maildir { path, sync, .. } => {
            if let Some(directory) = root::examine(path, &mut examined) {
                examined.errors.extend(maildir::examine(path, &directory, *sync));
            }
        }
        SinkKind::Spool { path, segment_bytes, .. } => {
            root::examine(path, &mut examined);
            examined.errors.extend(file_limit::refuses_segments(*segment_bytes, file_limit::bytes_max()));
        }
        SinkKind::Stdout { .. } | SinkKind::Discard => {}
    }
    examined.warnings.extend(volatile::warning(config));
    examined
}

/// Tells of recipients, by local-part and domain, what stands in the way of a place in the store with their name: such a recipient is
/// refused at RCPT (`550 5.1.3`). None where recipients have no places of their own.
pub fn unnameable(
    config: &config::Sink,
    case_sensitive: bool,
) -> Option<impl Fn(&str, &str) -> Option<String>> {
    match &config.kind {
        SinkKind::Maildir { template, .. } => maildir::unnameable(template, case_sensitive),
        SinkKind::Spool { .. } | SinkKind::Stdout { .. } | SinkKind::Discard => None,
    }
}

/// Opens the configured sink: locks its store, makes its directories, recovers.
pub fn open(config: &config::Sink, surroundings: &Surroundings) -> Result<Opened, OpenError> {
    // The table of sinks, one row a kind.
    match &config.kind {
        SinkKind::Maildir { path, template, create, line_endings, sync } => {
            maildir::open(path, template, *create, *line_endings, *sync, config.workers, surroundings)
        }
        SinkKind::Spool { path, segment_bytes, direct_writes } => {
            let options = spool::Options { segment_bytes: *segment_bytes, direct_writes: *direct_writes };
            spool::open(path, options, config.workers, surroundings)
        }
        SinkKind::Stdout { format } => stdout::open(*format, surroundings),
        SinkKind::Discard => Ok(discard::open()),
    }
}

/// Watches the space of a disk sink's file system; none for other sinks.
pub fn watch_space(config: &config::Sink, surroundings: &Surroundings) -> io::Result<Option<Arc<Space>>> {
    match &config.kind {
        SinkKind::Maildir { path, .. } | SinkKind::Spool { path, .. } => {
            Space::watch(path, config.space_reserve, Arc::clone(&surroundings.report)).map(Some)
        }
        SinkKind::Stdout { .. } | SinkKind::Discard => Ok(None),
    }
}

/// The outcome for an error of the machine. Never `Refused`: the message is not to blame (EACCES, EROFS and their like pass).
pub(crate) fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        // A file that is too large (EFBIG) is one over RLIMIT_FSIZE: there is room for it once that is raised.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Outcome::TryAgain(TryAgain::NoSpace)
        }
        _ => Outcome::TryAgain(TryAgain::Local),
    }
}

/// Reports each operation of a plan that failed, once.
fn report_failures(report: &dyn Report, root: &Path, plan: &plan::Plan<'_>, results: &plan::Results) {
    for (action, error) in results.failures(plan) {
        report.machine_error(action.verb(), &root.join(action.path()), error);
    }
}

//! The spool sink: append-only segments, pre-written with zeros, one writer, one write and one sync a batch.
//!
//! ```text
//!   segment   │ header │ batch                          │ batch          │ zeros …
//!   batch     │ record │ record │ record + padding      │  each begins at a multiple of 4096
//!   record    │ header │ envelope │ Received: │ mail data │ padding │  each begins at a multiple of 512
//! ```
//!
//! A batch is one write and one sync; only then the next one begins, after it. After a failed or short write
//! or sync the segment is abandoned: nothing more is appended to it. A large message has a file of its own
//! beside the segments (`large.rs`). See `docs/spool.md` for the format.

pub mod appender;
mod background;
mod batch;
pub mod cursor;
pub mod envelope;
pub mod export;
mod fill;
pub mod follow;
pub mod format;
pub mod horizon;
mod large;
mod message_file;
mod open_segment;
mod options;
pub mod prune;
pub mod reader;
mod recovery;
pub(crate) mod salt;
pub mod scan;
pub mod supply;
mod tls_fields;
pub mod verify;
mod watch;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::background::Background;
use self::horizon::HorizonWriter;
use self::options::Options;
use self::supply::Maker;
pub use self::writer::Spool;
use super::contract::{Durability, Sink};
use super::executor::Executor;
use super::executor::blocking::Blocking;
use super::file_limit;
use super::kind::Kind;
use super::opening::{Examined, OpenError, Opened, Surroundings};
use super::root::{self, Owner, Root};
use super::spill_file::SpillTo;
use super::trial::{self, Needs};
use crate::config;
use crate::handoff::message::Message;
use crate::limits::SPOOL_INLINE_BYTES_MAX;
use crate::mail::outcome::Outcome;

/// For a segment over RLIMIT_FSIZE.
const SEGMENT_CURE: &str = "raise that limit (in a systemd unit `LimitFSIZE=infinity`, in a shell `ulimit -f unlimited`), or \
                            lower segment_size in [[sink]]";

impl Kind for config::Spool {
    fn open(&self, workers: usize, surroundings: &Surroundings) -> Result<Opened, OpenError> {
        let options = Options { segment_bytes: self.segment_bytes, direct_writes: self.direct_writes };
        open(&self.path, options, workers, surroundings)
    }

    fn make_store(&self, owner: Option<Owner>) -> Result<(), OpenError> {
        root::make(&self.path, None, owner)
    }

    fn writes_in(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    fn examine(&self, examined: &mut Examined) {
        root::examine(&self.path, examined);
        if let Some(why) = file_limit::refuses_segments(self.segment_bytes, file_limit::bytes_max()) {
            examined.error("path", why);
        }
    }
}

/// Opens the sink: locks the root, removes segments that never came into use, reads the newest ones for torn
/// tails and damage.
fn open(
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
    let root = Root::open(path, format::STORE_KIND)?;
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
    let needs = Needs { reserves: true, name_bytes_max: longest_name.len(), permission: None };
    let mut executor = Blocking::new(root.directory().map_err(refused)?);
    let tried = trial::run(&root, needs, &mut executor)?;
    let recovered = recovery::recover(path).map_err(refused)?;
    let mut notes = recovered.notes;
    notes.extend(tried);
    if workers > 1 {
        notes.push("a spool has one writer: `workers` is taken as 1".to_owned());
    }
    let report = Arc::clone(&surroundings.report);
    let metrics = Arc::clone(&surroundings.spool);
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
    let horizon = horizon(&root, &mut notes);
    let worker = move || -> io::Result<Box<dyn Sink>> {
        let executor = options.executor(root.directory()?);
        let maker = Maker::new(root.path(), segment_bytes, recovered.next_sequence, Arc::clone(&report));
        let supply = Background::start(
            maker,
            options,
            root.directory()?,
            root.path(),
            Arc::clone(&report),
            Arc::clone(&metrics),
        )?;
        let mut sink = Spool::with_supply(root.path(), Box::new(supply), executor, report);
        sink.tell_written(metrics);
        if let Some(horizon) = horizon {
            sink.tell_readers(horizon);
        }
        sink.write_no_file_beyond(file_bytes_max.unwrap_or(u64::MAX));
        if links {
            sink.keep_files_beyond(SPOOL_INLINE_BYTES_MAX.min(segment_bytes / 2));
        }
        Ok(Box::new(Locked { sink, _root: root }))
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

/// The page for readers. They can do without, so what stands in its way stops nothing.
fn horizon(root: &Root, notes: &mut Vec<String>) -> Option<HorizonWriter> {
    match root.directory().and_then(HorizonWriter::make) {
        Ok(horizon) => Some(horizon),
        Err(error) => {
            if error.kind() != io::ErrorKind::Unsupported {
                notes.push(format!(
                    "the file `horizon` cannot be made ({error}): whoever reads the spool looks often, and syncs"
                ));
            }
            None
        }
    }
}

/// The sink with the lock on its store.
struct Locked<E> {
    sink: Spool<E>,
    _root: Root,
}

impl<E: Executor> Sink for Locked<E> {
    fn inline_bytes_max(&self) -> Option<u64> {
        self.sink.inline_bytes_max()
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        self.sink.store(batch, outcomes);
    }
}

//! Sinks: where completed messages go.
//!
//! A sink takes a batch and gives one outcome a message: all or nothing for a message. What it promises is
//! known when it is opened ([`Opened::durability`]), and logged then. A disk sink makes a [`plan`] and an
//! [`executor`] carries it out, so the code that keeps the promise is the code that the power-cut tests run.
//!
//! A new sink is one file (or folder) here with its `Kind` and one row in the table below; its settings are
//! one file and one row in `config/sink`.

mod contract;
pub mod discard;
pub mod executor;
mod facts;
pub mod file_limit;
pub mod file_system;
mod kind;
pub mod mailbox;
pub mod maildir;
pub mod nats;
mod opening;
pub mod optional;
pub mod permission;
pub mod plan;
mod report;
mod root;
pub mod space;
pub mod spill_file;
pub mod spiller;
pub mod spool;
pub mod stdout;
mod trial;
pub mod volatile;
pub mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::contract::{Cost, Durability, Sink};
pub use self::facts::envelope_json;
use self::kind::Kind;
pub use self::kind::Unnameable;
pub use self::opening::{Examined, OpenError, Opened, Remark, Surroundings, Worker};
pub(crate) use self::report::report_failures;
pub use self::report::{Report, Site};
pub use self::root::{Owner, Root, is_in_use};
use self::space::Space;
use crate::config::{self, SinkKind};

/// The table of sinks, one row a kind.
fn kind_of(config: &config::Sink) -> &dyn Kind {
    match &config.kind {
        SinkKind::Maildir(maildir) => maildir,
        SinkKind::Spool(spool) => spool,
        SinkKind::Stdout(stdout) => stdout,
        SinkKind::Nats(nats) => &**nats,
        SinkKind::Discard => &discard::Discard,
    }
}

/// Looks whether the configured sink can be opened. Changes nothing; says what, of which path, and what to
/// do.
pub fn examine(config: &config::Sink) -> Examined {
    let mut examined = Examined::default();
    kind_of(config).examine(&mut examined);
    if let Some(text) = volatile::warning(config) {
        examined.warn("path", text);
    }
    examined
}

/// Tells of recipients what stands in the way of a place in the store with their name: such a recipient is
/// refused at RCPT (`550 5.1.3`). None where recipients have no places of their own.
pub fn unnameable(config: &config::Sink, case_sensitive: bool) -> Option<Unnameable> {
    kind_of(config).unnameable(case_sensitive)
}

/// Who is asked about recipients, of the store of the configured sink, whoever has it open. Changes nothing.
/// `None` where all recipients have one place.
pub fn look_into(
    config: &config::Sink,
    surroundings: &Surroundings,
) -> Result<Option<mailbox::Mailboxes>, OpenError> {
    kind_of(config).look_into(surroundings)
}

/// Makes the directory of a disk sink where it is missing, for the user that will open it.
pub fn make_store(config: &config::Sink, owner: Option<Owner>) -> Result<(), OpenError> {
    kind_of(config).make_store(owner)
}

/// Where the configured sink makes files. None for one that makes no files.
pub fn writes_in(config: &config::Sink) -> Option<PathBuf> {
    kind_of(config).writes_in()
}

/// Opens the configured sink: locks its store, makes its directories, recovers.
pub fn open(config: &config::Sink, surroundings: &Surroundings) -> Result<Opened, OpenError> {
    kind_of(config).open(config.workers, surroundings)
}

/// Watches the space of a disk sink's file system. `None` for other sinks.
pub fn watch_space(config: &config::Sink, surroundings: &Surroundings) -> io::Result<Option<Arc<Space>>> {
    let Some(path) = config.facts().directory() else { return Ok(None) };
    Space::watch(path, config.space_reserve, Arc::clone(&surroundings.report)).map(Some)
}

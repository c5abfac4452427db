//! Sinks: where completed messages go.
//!
//! A sink takes a batch and gives one outcome a message: all or nothing for a message. What it promises is part of its
//! type and logged at start. A disk sink makes a [`plan`] and an [`executor`] carries it out, so the code that keeps the
//! promise is the code that the power-cut tests run.
//!
//! A new sink is one file (or folder) and one row in [`open`]'s table.

mod contract;
pub mod discard;
pub mod executor;
mod facts;
pub mod file_limit;
pub mod file_system;
pub mod mailbox;
pub mod maildir;
mod opening;
pub mod optional;
pub mod plan;
mod report;
mod root;
pub mod space;
pub mod spill;
pub mod spool;
pub mod stdout;
mod trial;
pub mod volatile;
pub mod worker;

use std::io;
use std::sync::Arc;

pub use self::contract::{Cost, Durability, Sink};
pub use self::opening::{Examined, OpenError, Opened, Surroundings, Worker};
pub use self::report::{Report, Site};
use self::space::Space;
use crate::config::{self, SinkKind};

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

//! What opening a sink takes and gives: its surroundings, the opened sink, or why there is none.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::contract::{Durability, Sink};
use super::mailbox::Mailboxes;
use super::report::Report;
use super::spill_file::SpillTo;
use crate::mail::envelope::Mailbox;
use crate::mail::tag::Delimiters;
use crate::metrics::SpoolMetrics;

/// What a sink knows of the world besides its own settings.
#[derive(Clone)]
pub struct Surroundings {
    /// The name of this host, for the names of files.
    pub hostname: String,
    /// Whether local-parts that differ in case are different recipients.
    pub local_part_case_sensitive: bool,
    /// What sets tags of local-parts off.
    pub recipient_delimiter: Delimiters,
    /// Where errors of the machine go.
    pub report: Arc<dyn Report>,
    /// Where a spool tells how full it is.
    pub spool: Arc<SpoolMetrics>,
    /// Whether a mailbox is known by its name and not only by a catch-all, so that a directory may be made
    /// for it. For workers: it may wait for a lock, which no shard does.
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
    /// Who is asked about recipients before the 250 to RCPT. `None` where all of them have one place.
    pub mailboxes: Option<Mailboxes>,
}

/// A sink cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    /// What was tried.
    pub(super) what: &'static str,
    /// With what, as the operator is shown it: a path, a URL.
    pub(super) site: String,
    /// Why it failed.
    pub(super) why: String,
    /// What to do.
    pub(super) cure: &'static str,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, site, why, cure } = self;
        write!(f, "cannot {what} {site}: {why}; {cure}")
    }
}

impl std::error::Error for OpenError {}

/// What can be known of a sink before it is opened.
#[derive(Debug, Default)]
pub struct Examined {
    /// Why it cannot be opened.
    pub errors: Vec<Remark>,
    /// What is probably not meant.
    pub warnings: Vec<Remark>,
}

/// What was found out about a key.
#[derive(Debug)]
pub struct Remark {
    /// The key of `[[sink]]`.
    pub key: &'static str,
    /// What is to be said of it.
    pub text: String,
}

impl Examined {
    /// Why the sink cannot be opened.
    pub(super) fn error(&mut self, key: &'static str, text: String) {
        self.errors.push(Remark { key, text });
    }

    /// What is probably not meant.
    pub(super) fn warn(&mut self, key: &'static str, text: String) {
        self.warnings.push(Remark { key, text });
    }
}

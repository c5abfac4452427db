//! The spiller, the thread that writes spill files: mail data of large and slow messages, on the sink's file
//! system.
//!
//! It writes to the page cache and syncs nothing: the sink makes the message durable in its own way when it
//! is complete. The spool gives a large file a name; for the others the worker reads it back. Until then the
//! files have no name, so nobody sees them and nothing is left of them.

use std::path::PathBuf;
use std::sync::Arc;

use super::report::{Report, Site, outcome_of};
use super::space::Space;
use super::spill_file;
use super::worker::AbortOnPanic;
use crate::buffer::{SpillBudget, SpillError, SpillFile};
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::part::{Errand, Part, Written};
use crate::mail::outcome::{Outcome, TryAgain};

/// Writes spill files in one directory.
pub struct Spiller {
    directory: PathBuf,
    budget: Arc<SpillBudget>,
    /// What the sink's disk can take beyond its reserve; none where nobody watches it.
    space: Option<Arc<Space>>,
    report: Arc<dyn Report>,
}

impl Spiller {
    /// For this directory, within this budget.
    pub fn new(directory: PathBuf, budget: Arc<SpillBudget>, report: Arc<dyn Report>) -> Self {
        Self { directory, budget, space: None, report }
    }

    /// Heeds the reserve of the file system that this space is of.
    #[must_use]
    pub fn with_space(self, space: Option<Arc<Space>>) -> Self {
        Self { space, ..self }
    }

    /// Runs until every shard has dropped its end. Each shard's own end for what is written is at its number.
    pub fn run(&self, consumer: &Consumer, errands: &Receiver<Errand>, shards: &[Sender<Written>]) {
        // Without this thread messages would only time out, and their memory would never come home.
        let _guard = AbortOnPanic;
        loop {
            match errands.take() {
                Waiting::Item(Errand::Close(file)) => self.close(file),
                Waiting::Item(Errand::Write(part)) => {
                    let shard = &shards[usize::from(part.origin.shard)];
                    shard.answer(self.write(part));
                    shard.ring_if_parked();
                }
                Waiting::Nothing => consumer.sleep(None, || errands.is_empty()),
                Waiting::Ended => break,
            }
        }
    }

    /// Writes one part out. A file that failed is given up, never tried again.
    pub fn write(&self, mut part: Box<Part>) -> Written {
        let result = self.take_space(&part).and_then(|()| {
            part.data.write_out(&self.budget, part.client, || spill_file::open(&self.directory))
        });
        let is_scarce = matches!(result, Err(SpillError::Budget | SpillError::Space));
        let result = result.map_err(|error| {
            // A file that was not touched goes now, because others wait for its space.
            let bytes = part.data.spill_file().map_or(0, SpillFile::bytes);
            part.data.let_go();
            self.give_back(bytes);
            self.why(error)
        });
        Written { part, result, is_scarce }
    }

    /// Spill files never take what `space_reserve` keeps for others, and for the messages that are complete.
    fn take_space(&self, part: &Part) -> Result<(), SpillError> {
        let Some(space) = &self.space else { return Ok(()) };
        self.budget.see_room(space.beyond_reserve());
        if space.take(part.data.bytes_in_memory()) { Ok(()) } else { Err(SpillError::Space) }
    }

    /// Closes the file of a message that came to nothing.
    pub fn close(&self, file: SpillFile) {
        let bytes = file.bytes();
        drop(file);
        self.give_back(bytes);
    }

    /// At once, not with the next look at the disk: until then all other messages that grow would be lost,
    /// too.
    fn give_back(&self, bytes: u64) {
        if let Some(space) = &self.space {
            space.give_back(bytes);
        }
    }

    fn why(&self, error: SpillError) -> TryAgain {
        match error {
            SpillError::Budget | SpillError::Share => TryAgain::Overload,
            SpillError::Space => TryAgain::NoSpace,
            SpillError::Machine(error) => {
                self.report.machine_error("move mail data to a file in", Site::Path(&self.directory), &error);
                match outcome_of(&error) {
                    Outcome::TryAgain(why) => why,
                    Outcome::Stored | Outcome::Refused(_) => TryAgain::Local,
                }
            }
        }
    }
}

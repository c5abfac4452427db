//! What a kind of sink does with its settings. Each kind does it in its own file, beside the sink itself.

use std::path::PathBuf;

use super::mailbox::Mailboxes;
use super::opening::{Examined, OpenError, Opened, Surroundings};
use super::root::Owner;

/// Tells of a recipient, by local-part and domain, what stands in the way of a place in the store with its
/// name.
pub type Unnameable = Box<dyn Fn(&str, &str) -> Option<String>>;

/// The settings of one kind.
pub(super) trait Kind {
    /// Opens the sink, for so many workers: locks its store, makes its directories, recovers.
    fn open(&self, workers: usize, surroundings: &Surroundings) -> Result<Opened, OpenError>;

    /// Makes the directory of its store where that is missing, for who will open it.
    fn make_store(&self, _owner: Option<Owner>) -> Result<(), OpenError> {
        Ok(())
    }

    /// Where it makes files: its store, or, for one without a store, where spill files are made.
    fn writes_in(&self) -> Option<PathBuf> {
        None
    }

    /// Looks whether it can be opened, and changes nothing.
    fn examine(&self, _examined: &mut Examined) {}

    /// Who is asked about recipients, of a store that another process may have opened: it is looked into, and
    /// nothing is changed. `None` where all recipients have one place.
    fn look_into(&self, _surroundings: &Surroundings) -> Result<Option<Mailboxes>, OpenError> {
        Ok(None)
    }

    /// `None` where recipients have no places of their own.
    fn unnameable(&self, _case_sensitive: bool) -> Option<Unnameable> {
        None
    }
}

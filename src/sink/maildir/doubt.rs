//! Directories whose sync failed, and how the doubt about their names ends.
//!
//! The kernel tells a failed sync once and forgets it: the next sync of the same directory may find nothing
//! to do and succeed, though a name made before never becomes durable. So no mail is stored below a name in
//! doubt. What settles it is a *new* change in the directory, a marker file of our own, a sync of that, and
//! one more change: a journaled file system commits changes in their order, so a commit that succeeds carries
//! or follows all earlier ones, and one that could not write its journal gives it up, which takes no change
//! any more (syncs may still say that all is well). On network file systems the server answers each change of
//! a name for itself. A file system without a journal proves nothing here, and nothing after a start either.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::limits::MAILDIRS_DOUBTED_MAX;
use crate::mail::outcome::Outcome;
use crate::sink::executor::Executor;
use crate::sink::plan::{self, Action, Directory, FilePath, Owners, Plan};
use crate::sink::report::{Report, outcome_of, report_failures};

/// Directories in doubt. Names made in them before may never become durable.
pub(super) struct Doubts {
    /// Those in doubt; where all are, those that were settled since.
    /// `directories.len() <= MAILDIRS_DOUBTED_MAX`
    directories: HashSet<Directory>,
    /// All are, but those.
    all: bool,
    /// The name of our own marker file. One that a stop left behind is removed when the next doubt is settled
    /// there.
    marker: String,
}

impl Doubts {
    /// None yet. The number is another one for each worker.
    pub(super) fn new(number: u64) -> Self {
        Self { directories: HashSet::new(), all: false, marker: format!(".ringmx-marker-{number}") }
    }

    /// The sync of this directory failed.
    pub(super) fn add(&mut self, directory: Directory) {
        if self.all {
            self.directories.remove(&directory);
        } else if self.directories.len() < MAILDIRS_DOUBTED_MAX {
            self.directories.insert(directory);
        } else {
            self.add_all();
        }
    }

    /// The sync of the file system failed. That puts more directories in doubt than the batch's own: one that
    /// a message made before it failed for another reason waits for whichever sync comes next. It holds until
    /// the next start: each directory is settled when it is needed, and nobody can tell when the last one
    /// was.
    pub(super) fn add_all(&mut self) {
        self.all = true;
        self.directories.clear();
    }

    /// A new change in this directory was synced, or it is gone.
    fn remove(&mut self, directory: &Directory) {
        if !self.all {
            self.directories.remove(directory);
            return;
        }
        // What is forgotten is settled once more.
        if self.directories.len() >= MAILDIRS_DOUBTED_MAX {
            self.directories.clear();
        }
        self.directories.insert(Rc::clone(directory));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty() && !self.all
    }

    pub(super) fn contains(&self, directory: &Directory) -> bool {
        self.all != self.directories.contains(directory)
    }

    /// Makes a change in each directory and syncs it. Gives what mail gets below those where that failed:
    /// they stay in doubt.
    pub(super) fn settle(
        &mut self,
        directories: &BTreeSet<Directory>,
        executor: &mut dyn Executor,
        report: &dyn Report,
        root: &Path,
    ) -> HashMap<Directory, Outcome> {
        let plan = self.plan(directories);
        let results = executor.run(&plan);
        let mut unsettled = HashMap::new();
        for (index, directory) in directories.iter().enumerate() {
            match results.error(index) {
                // With a directory its names are gone.
                Some(error) if error.kind() != io::ErrorKind::NotFound => {
                    unsettled.insert(Rc::clone(directory), outcome_of(error));
                }
                Some(_) | None => self.remove(directory),
            }
        }
        if results.any_failed() {
            report_failures(report, root, &plan, &results);
            executor.run(&plan::undo(&plan, &results));
        }
        unsettled
    }

    fn plan(&self, directories: &BTreeSet<Directory>) -> Plan<'static> {
        let markers: Vec<Rc<FilePath>> = directories
            .iter()
            .map(|directory| Rc::new(FilePath { directory: Rc::clone(directory), name: self.marker.clone() }))
            .collect();
        let mut plan = Plan::new(markers.len());
        for (index, marker) in markers.iter().enumerate() {
            plan.push(Owners::One(index), Action::Remove(Rc::clone(marker)));
        }
        plan.barrier();
        for (index, marker) in markers.iter().enumerate() {
            plan.push(Owners::One(index), Action::Create(Rc::clone(marker)));
            plan.push(Owners::One(index), Action::Close(Rc::clone(marker)));
        }
        plan.barrier();
        for (index, marker) in markers.iter().enumerate() {
            plan.push(Owners::One(index), Action::SyncDirectory(Rc::clone(&marker.directory)));
        }
        plan.barrier();
        // The change after the sync.
        for (index, marker) in markers.iter().enumerate() {
            plan.push(Owners::One(index), Action::Remove(Rc::clone(marker)));
        }
        plan
    }
}

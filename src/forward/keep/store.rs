//! One directory of messages, `later/` or `dead/`: its segments, which of them are needed, and the appender.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::copy::Copied;
use super::files::Files;
use super::settings::Settings;
use super::shelf::Shelf;
use super::state::State;
use super::writer::Disk;
use super::{DEAD, LATER};
use crate::sink::plan::{Action, Directory, FilePath, Owners, Plan};
use crate::sink::spool::appender::{Appended, Appender, Record};
use crate::sink::spool::format::{message_place, segment_name, segment_sequence};
use crate::sink::{Site, optional};

const DAMAGED_SUFFIX: &str = ".damaged";

/// A directory of messages.
pub(super) struct Store {
    directory: Directory,
    appender: Appender,
    /// The segments that are there, and how many octets they have with their files.
    octets: BTreeMap<u64, u64>,
    /// Segments with a record that cannot be read: they are not compacted.
    stuck: Vec<u64>,
    /// Whether files are linked; not where that failed once.
    links: bool,
}

impl Store {
    /// Removes what no record of the state needs, and goes on with a segment of this number.
    pub(super) fn open(
        directory: &'static str,
        next_sequence: u64,
        state: &State,
        settings: Settings,
        files: &dyn Files,
        disk: &mut Disk,
    ) -> io::Result<Self> {
        let path: Directory = Rc::from(directory);
        let (root, report) = (files.root(), Arc::clone(disk.report()));
        let appender = Appender::new(root, Rc::clone(&path), settings.segment_bytes, next_sequence, report);
        let mut store =
            Self { directory: path, appender, octets: BTreeMap::new(), stuck: Vec::new(), links: true };
        let names = files.names(directory)?;
        let kept: BTreeSet<u64> = names.iter().filter_map(|(name, _)| damaged_sequence(name)).collect();
        let mut removed = Vec::new();
        for (name, bytes) in names {
            let sequence =
                segment_sequence(&name).or_else(|| message_place(&name).map(|(sequence, _)| sequence));
            match sequence {
                Some(sequence) if store.shelf(state).octets(sequence).is_some() => {
                    *store.octets.entry(sequence).or_default() += bytes;
                }
                Some(sequence) if !kept.contains(&sequence) => removed.push(name),
                // Put aside, or not ours.
                Some(_) | None => {}
            }
        }
        store.remove(removed, disk);
        Ok(store)
    }

    /// Whether it is `dead/`.
    pub(super) fn is_dead(&self) -> bool {
        debug_assert!([LATER, DEAD].contains(&&*self.directory));
        &*self.directory == DEAD
    }

    /// The shelf of its records.
    pub(super) fn shelf<'s>(&self, state: &'s State) -> &'s Shelf {
        state.shelf(self.is_dead())
    }

    /// Whether files of large messages are linked.
    pub(super) fn links(&self) -> bool {
        self.links
    }

    /// Appends records. They are durable when it succeeds.
    pub(super) fn append(&mut self, copied: &[&Copied], disk: &mut Disk) -> io::Result<Vec<Appended>> {
        let first_new = self.appender.next_sequence();
        let appended = match self.append_records(copied, disk) {
            // Another file system, or a sandbox.
            Err(error) if self.links && cannot_link(&error) => {
                self.links = false;
                self.append_records(copied, disk)
            }
            appended => appended,
        };
        // Those that were made for what failed, too: they are removed again.
        for sequence in first_new..self.appender.next_sequence() {
            self.octets.entry(sequence).or_default();
        }
        for appended in appended.iter().flatten() {
            *self.octets.entry(appended.cursor.sequence).or_default() += appended.octets;
        }
        appended
    }

    fn append_records(&mut self, copied: &[&Copied], disk: &mut Disk) -> io::Result<Vec<Appended>> {
        let records: Vec<Record<'_>> = copied.iter().map(|copied| copied.record(self.links)).collect();
        self.appender.append(&records, disk.executor())
    }

    /// The oldest segment of which less than half is needed, and which is not written to.
    pub(super) fn mostly_garbage(&self, state: &State) -> Option<u64> {
        let shelf = self.shelf(state);
        let needed = |sequence| shelf.octets(sequence).unwrap_or_default();
        let found = self.octets.iter().find(|(sequence, octets)| {
            let is_closed = self.appender.current() != Some(**sequence) && !self.stuck.contains(sequence);
            is_closed && needed(**sequence) > 0 && needed(**sequence) < **octets / 2
        });
        found.map(|(sequence, _)| *sequence)
    }

    /// Leaves a segment as it is: a record of it cannot be read.
    pub(super) fn leave(&mut self, sequence: u64) {
        self.stuck.push(sequence);
    }

    /// Removes the segments that nobody needs a record of. What cannot be removed is left to the next start.
    pub(super) fn clear(&mut self, state: &State, files: &dyn Files, disk: &mut Disk) {
        let current = self.appender.current();
        let shelf = self.shelf(state);
        let is_needed = |sequence| Some(sequence) == current || shelf.octets(sequence).is_some();
        let gone: Vec<u64> = self.octets.keys().copied().filter(|sequence| !is_needed(*sequence)).collect();
        if gone.is_empty() {
            return;
        }
        self.octets.retain(|sequence, _| !gone.contains(sequence));
        self.stuck.retain(|sequence| !gone.contains(sequence));
        let is_gone = |name: &str| message_place(name).is_some_and(|(sequence, _)| gone.contains(&sequence));
        let messages = files.names(&self.directory).unwrap_or_else(|error| {
            // The next start removes them.
            disk.report().machine_error("list", Site::Path(&files.root().join(&*self.directory)), &error);
            Vec::new()
        });
        let messages = messages.into_iter().map(|(name, _)| name).filter(|name| is_gone(name));
        let names = messages.chain(gone.iter().map(|sequence| segment_name(*sequence))).collect();
        self.remove(names, disk);
    }

    /// Removes files; each removal stands for itself.
    fn remove(&self, names: Vec<String>, disk: &mut Disk) {
        if names.is_empty() {
            return;
        }
        let mut plan = Plan::new(names.len());
        for (index, name) in names.into_iter().enumerate() {
            let file = Rc::new(FilePath { directory: Rc::clone(&self.directory), name });
            plan.push(Owners::One(index), Action::Remove(file));
        }
        // It was reported, and the next start tries again.
        let _ = disk.run(&plan);
    }
}

/// The name of a segment that cannot be read, put aside with the files of its records for whoever can.
pub(super) fn damaged_name(sequence: u64) -> String {
    format!("{}{DAMAGED_SUFFIX}", segment_name(sequence))
}

/// The number in such a name; none for other files.
pub(super) fn damaged_sequence(name: &str) -> Option<u64> {
    name.strip_suffix(DAMAGED_SUFFIX).and_then(segment_sequence)
}

/// Also where there is no `/proc`, through which an open file is linked.
fn cannot_link(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::CrossesDevices
        || error.kind() == io::ErrorKind::TooManyLinks
        || error.kind() == io::ErrorKind::PermissionDenied
        || optional::says_missing(error)
}

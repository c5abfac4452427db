//! Writes the journal: appends commits, and puts a snapshot in its place.
//!
//! ```text
//!   commit     write, sync │ probe the journal of the file system
//!   snapshot   create journal.new, write, sync, close │ take the place of `journal` │ sync directory │ open
//! ```
//!
//! Where the file system gave up its own journal this one cannot grow. So the probe after a commit stands for
//! all that was written before it: the copies in `later/` and `dead/`, and the snapshot.
//!
//! After a failure nothing more is appended to the file: what of it is durable nobody knows. The next commit
//! waits for a snapshot in a file of its own, which holds what was believed before.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::entry::Entry;
use super::journal::{self, BLOCK_BYTES, ENTRIES_BYTES};
use super::state::State;
use super::{FORWARD, JOURNAL};
use crate::sink::executor::Executor;
use crate::sink::plan::{Action, Directory, FilePath, Owners, Plan};
use crate::sink::spool::appender::again;
use crate::sink::spool::salt;
use crate::sink::{Report, report_failures};

/// A journal up to this size is never too large.
const BYTES_LEAST: u64 = 4 * 1024 * 1024;

/// A snapshot is synced each time that so many commits were written, some 16 MiB: one sync of all of a large
/// one could take so long that the disk seemed to hang.
const SYNC_EVERY: u64 = 16;

/// Carries plans out, and reports what fails.
pub(super) struct Disk {
    executor: Box<dyn Executor>,
    report: Arc<dyn Report>,
    /// For the log.
    root: PathBuf,
}

impl Disk {
    pub(super) fn new(executor: Box<dyn Executor>, report: Arc<dyn Report>, root: PathBuf) -> Self {
        Self { executor, report, root }
    }

    /// Runs a plan of one owner.
    pub(super) fn run(&mut self, plan: &Plan<'_>) -> io::Result<()> {
        let results = self.executor.run(plan);
        report_failures(&*self.report, &self.root, plan, &results);
        match results.failures(plan).next() {
            None => Ok(()),
            Some((_, error)) => Err(again(error)),
        }
    }

    pub(super) fn executor(&mut self) -> &mut dyn Executor {
        &mut *self.executor
    }

    pub(super) fn report(&self) -> &Arc<dyn Report> {
        &self.report
    }
}

/// A plan of one owner: stages of actions.
pub(super) fn stages<'a>(stages: impl IntoIterator<Item = Vec<Action<'a>>>) -> Plan<'a> {
    let mut plan = Plan::new(1);
    for stage in stages {
        for action in stage {
            plan.push(Owners::One(0), action);
        }
        plan.barrier();
    }
    plan
}

/// The journal that is appended to.
pub(super) struct Writer {
    file: Rc<FilePath>,
    new: Rc<FilePath>,
    directory: Directory,
    /// None before the first snapshot, and after a failure.
    open: Option<Open>,
}

struct Open {
    salt: u64,
    /// Where the next commit begins: all before it is durable.
    end: u64,
    /// Its number.
    number: u64,
    /// Where the snapshot at its beginning ends.
    snapshot_end: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        let directory: Directory = Rc::from(FORWARD);
        let file = |name: &str| Rc::new(FilePath { directory: Rc::clone(&directory), name: name.to_owned() });
        Self { file: file(JOURNAL), new: file(&format!("{JOURNAL}.new")), directory, open: None }
    }

    /// Whether commits can be appended.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether as much was appended as the snapshot has octets, so that writing it anew is paid for.
    pub(super) fn has_doubled(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.end > BYTES_LEAST && open.end / 2 > open.snapshot_end)
    }

    /// Appends entries in one commit. Durable when it succeeds; when it fails none of them is to be believed,
    /// and a snapshot has to come first.
    pub(super) fn append(&mut self, entries: &[u8], disk: &mut Disk) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Err(io::Error::other("the journal was given up after a failure"));
        };
        let octets = journal::commit(open.salt, open.number, open.end, entries);
        let plan = stages([
            vec![
                Action::Write(Rc::clone(&self.file), open.end, vec![&octets]),
                Action::SyncFile(Rc::clone(&self.file)),
            ],
            vec![Action::ProbeJournal(Rc::clone(&self.directory))],
        ]);
        if let Err(error) = disk.run(&plan) {
            // Only its descriptor is given back.
            let _ = disk.run(&stages([vec![Action::Close(Rc::clone(&self.file))]]));
            return Err(error);
        }
        self.open = Some(Open { end: open.end + octets.len() as u64, number: open.number + 1, ..open });
        Ok(())
    }

    /// Writes the whole state into a file of its own, which takes the place of the journal. Durable when it
    /// succeeds; when it fails the old journal or the new one is there, and either says what was believed.
    pub(super) fn snapshot(&mut self, state: &State, disk: &mut Disk) -> io::Result<()> {
        let salt = salt::draw()?;
        if self.open.take().is_some() {
            disk.run(&stages([vec![Action::Close(Rc::clone(&self.file))]]))?;
        }
        let written = self.write_new(state, salt, disk);
        let (end, number) = match written {
            Ok(written) => written,
            Err(error) => {
                let (close, remove) =
                    (Action::Close(Rc::clone(&self.new)), Action::Remove(Rc::clone(&self.new)));
                // The next snapshot removes it, if this does not.
                let _ = disk.run(&stages([vec![close], vec![remove]]));
                return Err(error);
            }
        };
        disk.run(&stages([
            vec![Action::Replace(Rc::clone(&self.new), Rc::clone(&self.file))],
            vec![Action::SyncDirectory(Rc::clone(&self.directory))],
            vec![Action::Open(Rc::clone(&self.file))],
        ]))?;
        self.open = Some(Open { salt, end, number, snapshot_end: end });
        Ok(())
    }

    /// The new file, synced and closed; where its next commit would begin, and its number.
    fn write_new(&self, state: &State, salt: u64, disk: &mut Disk) -> io::Result<(u64, u64)> {
        let new = || Rc::clone(&self.new);
        let header = journal::header(salt);
        let (mut end, mut number) = (BLOCK_BYTES, 0);
        disk.run(&stages([
            vec![Action::Remove(new())],
            vec![Action::Create(new()), Action::Write(new(), 0, vec![&header])],
        ]))?;
        let mut octets = Vec::new();
        let mut write = |octets: &mut Vec<u8>, disk: &mut Disk| {
            let commit = journal::commit(salt, number, end, octets);
            octets.clear();
            disk.run(&stages([vec![Action::Write(new(), end, vec![&commit])]]))?;
            end += commit.len() as u64;
            number += 1;
            if number.is_multiple_of(SYNC_EVERY) {
                disk.run(&stages([vec![Action::SyncFile(new())]]))?;
            }
            io::Result::Ok(())
        };
        for entry in state.entries() {
            entry.encode(&mut octets);
            if octets.len() >= ENTRIES_BYTES || matches!(entry, Entry::Whole { .. }) {
                write(&mut octets, disk)?;
            }
        }
        disk.run(&stages([vec![Action::SyncFile(new()), Action::Close(new())]]))?;
        Ok((end, number))
    }
}

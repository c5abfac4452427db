//! What a disk sink is about to do, as plain data: operations in stages, each owned by the messages that
//! depend on it.
//!
//! A sink makes a plan, an executor carries it out, and the sink reads from the results which messages are
//! safe. So the same code is driven by the kernel, by power-cut tests and by the simulation. A plan touches
//! no file.
//!
//! ```text
//!   stage 0          barrier   stage 1                        barrier   stage 2 …
//!   make directory      │      create a, write a, sync a         │      rename a
//!   sync directory      │      create b, write b, sync b         │      rename b
//! ```
//!
//! Within a stage, operations that follow one another on the same file are a *chain* and run in this order;
//! all else runs in any order or at once. A stage begins when the one before has ended. An operation that
//! fails fails the messages that own it, and no others; an operation whose owners have all failed is skipped,
//! but a file whose `Close` is skipped is closed all the same.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use super::permission::Permission;

/// A directory by its path below the root of the store; empty for the root itself.
pub type Directory = Rc<str>;

/// The name of a file in a directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath {
    /// Where.
    pub directory: Directory,
    /// The name in there.
    pub name: String,
}

impl FilePath {
    /// A file in the root itself.
    pub fn in_root(name: String) -> Rc<Self> {
        Rc::new(Self { directory: Rc::from(""), name })
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.directory.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.directory, self.name)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Action<'a> {
    /// Makes a directory of mode 0700; one that is there already is fine.
    MakeDirectory(Directory),
    /// Creates a file of mode 0600, which must not exist, and keeps it open until `Close` or a failure.
    Create(Rc<FilePath>),
    /// Gives an open file this mode and group. The file was made for its owner alone, so nobody else can
    /// have opened it before. Durable with [`Self::SyncFileWhole`] or [`Self::SyncFilesystem`].
    Permit(Rc<FilePath>, Permission),
    /// Gives a directory this mode and group; one that belongs to another user stays as it is. Durable with a
    /// sync of this directory.
    PermitDirectory(Directory, Permission),
    /// Opens a file that exists, to write, and keeps it open until `Close` or a failure.
    Open(Rc<FilePath>),
    /// Gives a file without a name this one, which must be free, and keeps it open until `Close` or a
    /// failure. What the file holds is as durable as before: not at all until it is synced.
    Link(&'a File, Rc<FilePath>),
    /// Takes space for a file of this many octets; does nothing where the file system cannot.
    Reserve(Rc<FilePath>, u64),
    /// Writes the slices one after the other from this offset. A short write is a failed write.
    Write(Rc<FilePath>, u64, Vec<&'a [u8]>),
    /// Begins to write back to the disk what the file holds, and does not wait.
    StartWriteback(Rc<FilePath>),
    /// Waits until all that the file holds was written back. It may still be in the disk's own cache, and how
    /// to find it may be nowhere: durable it is after [`Self::SyncFilesystem`]. But on XFS and on ext4 with a
    /// journal a name that is made later is never durable without it.
    AwaitWriteback(Rc<FilePath>),
    /// Makes durable what the file holds and what is needed to read it back. Fails for a file, kept open over
    /// plans, that has no name any more: whatever it holds goes with its last close.
    SyncFile(Rc<FilePath>),
    /// As [`Self::SyncFile`], and makes durable with it what the file's mode and group are.
    SyncFileWhole(Rc<FilePath>),
    /// Cuts a file; it need not be open.
    Truncate(Rc<FilePath>, u64),
    /// Closes a file.
    Close(Rc<FilePath>),
    /// Renames and never replaces.
    Rename(Rc<FilePath>, Rc<FilePath>),
    /// Renames a file that is closed and takes the place of one that is there: whoever opens the name finds
    /// the one or the other, also after a power cut.
    Replace(Rc<FilePath>, Rc<FilePath>),
    /// Makes durable which names a directory holds.
    SyncDirectory(Directory),
    /// Removes a file; one that is gone is fine.
    Remove(Rc<FilePath>),
    /// Makes durable everything on the file system of the root: every file and every name that is there when
    /// it begins.
    SyncFilesystem,
    /// Fails where the file system of a directory gave up its journal, or takes no new file for another
    /// reason. A sync need not tell (see [`probe_journal`](super::file_system::probe_journal)), so it comes
    /// after the last one that makes new files and names durable, in a stage of its own.
    ProbeJournal(Directory),
}

impl Action<'_> {
    /// What it does, for the log.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::MakeDirectory(_) => "make directory",
            Self::Create(_) => "create",
            Self::Permit(..) | Self::PermitDirectory(..) => "give its mode and group to",
            Self::Open(_) => "open",
            Self::Link(..) => "give a spill file the name",
            Self::Reserve(..) => "reserve space for",
            Self::Write(..) => "write",
            Self::StartWriteback(_) | Self::AwaitWriteback(_) => "write back",
            Self::SyncFile(_) | Self::SyncFileWhole(_) => "sync",
            Self::Truncate(..) => "truncate",
            Self::Close(_) => "close",
            Self::Rename(..) | Self::Replace(..) => "rename to",
            Self::SyncDirectory(_) => "sync directory",
            Self::Remove(_) => "remove",
            Self::SyncFilesystem => "sync the file system of",
            Self::ProbeJournal(_) => {
                "probe the journal (where it was given up: unmount the file system, check it, mount it again) in"
            }
        }
    }

    /// What it does it to, below the root.
    pub fn path(&self) -> String {
        match self {
            Self::MakeDirectory(directory)
            | Self::PermitDirectory(directory, _)
            | Self::SyncDirectory(directory)
            | Self::ProbeJournal(directory) => directory.to_string(),
            Self::Create(file)
            | Self::Permit(file, _)
            | Self::Open(file)
            | Self::Link(_, file)
            | Self::Reserve(file, _)
            | Self::Write(file, ..)
            | Self::StartWriteback(file)
            | Self::AwaitWriteback(file)
            | Self::SyncFile(file)
            | Self::SyncFileWhole(file)
            | Self::Truncate(file, _)
            | Self::Close(file)
            | Self::Rename(_, file)
            | Self::Replace(_, file)
            | Self::Remove(file) => file.to_string(),
            Self::SyncFilesystem => String::new(),
        }
    }

    /// The file whose chain it belongs to; none when it belongs to no chain.
    fn chain(&self) -> Option<&Rc<FilePath>> {
        match self {
            Self::Create(file)
            | Self::Permit(file, _)
            | Self::Open(file)
            | Self::Link(_, file)
            | Self::Reserve(file, _)
            | Self::Write(file, ..)
            | Self::StartWriteback(file)
            | Self::AwaitWriteback(file)
            | Self::SyncFile(file)
            | Self::SyncFileWhole(file)
            | Self::Truncate(file, _)
            | Self::Close(file) => Some(file),
            Self::MakeDirectory(_)
            | Self::PermitDirectory(..)
            | Self::Rename(..)
            | Self::Replace(..)
            | Self::SyncDirectory(_)
            | Self::Remove(_)
            | Self::SyncFilesystem
            | Self::ProbeJournal(_) => None,
        }
    }
}

/// The messages of the batch, by index, that are not safe unless an operation succeeds.
#[derive(Debug, Clone)]
pub enum Owners {
    /// One.
    One(usize),
    /// Several.
    Many(Vec<usize>),
}

impl Owners {
    /// Their indices.
    pub fn indices(&self) -> &[usize] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Many(messages) => messages,
        }
    }
}

/// An action and who depends on it.
#[derive(Debug, Clone)]
pub struct Operation<'a> {
    /// What is done.
    pub action: Action<'a>,
    /// For whom.
    pub owners: Owners,
}

/// Operations in stages. See the module's drawing.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Messages in the batch; owners are below it.
    messages: usize,
    operations: Vec<Operation<'a>>,
    /// Where stages end: increasing indices into `operations`. The last stage may be open.
    stage_ends: Vec<usize>,
}

impl<'a> Plan<'a> {
    /// An empty plan for a batch.
    pub fn new(messages: usize) -> Self {
        Self { messages, operations: Vec::new(), stage_ends: Vec::new() }
    }

    /// Adds an operation to the stage that is open.
    pub fn push(&mut self, owners: Owners, action: Action<'a>) {
        debug_assert!(owners.indices().iter().all(|owner| *owner < self.messages));
        self.operations.push(Operation { action, owners });
    }

    /// Ends the stage: what follows begins only after all before it has ended.
    pub fn barrier(&mut self) {
        if self.stage_ends.last().copied().unwrap_or_default() < self.operations.len() {
            self.stage_ends.push(self.operations.len());
        }
    }

    /// All operations in order.
    pub fn operations(&self) -> &[Operation<'a>] {
        &self.operations
    }

    /// The stages, as ranges of operations.
    pub fn stages(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.stage_ends.iter().copied());
        let ends = self.stage_ends.iter().copied().chain([self.operations.len()]);
        starts.zip(ends).map(|(start, end)| start..end).filter(|stage| !stage.is_empty())
    }

    /// The chains of a stage, as ranges of operations; an operation that belongs to no file's chain is one by
    /// itself.
    pub fn chains(&self, stage: Range<usize>) -> Vec<Range<usize>> {
        let mut chains: Vec<Range<usize>> = Vec::new();
        for index in stage {
            let file = self.operations[index].action.chain();
            match chains.last_mut() {
                Some(last) if file.is_some() && file == self.operations[last.start].action.chain() => {
                    last.end = index + 1;
                }
                Some(_) | None => chains.push(index..index + 1),
            }
        }
        chains
    }
}

/// What became of one operation.
#[derive(Debug)]
pub enum Done {
    /// It succeeded.
    Yes,
    /// It failed.
    Failed(io::Error),
    /// Nobody needed it any more, or it was not reached.
    Skipped,
}

/// What became of a plan.
#[derive(Debug)]
pub struct Results {
    /// One an operation, in the order of the plan.
    pub operations: Vec<Done>,
    /// One a message: the operation that failed it, none when all its operations succeeded.
    failed_by: Vec<Option<usize>>,
}

impl Results {
    /// Nothing done yet.
    pub fn new(plan: &Plan<'_>) -> Self {
        Self {
            operations: plan.operations.iter().map(|_| Done::Skipped).collect(),
            failed_by: vec![None; plan.messages],
        }
    }

    /// Whether anybody still needs an operation.
    pub fn is_wanted(&self, plan: &Plan<'_>, operation: usize) -> bool {
        let owners = plan.operations[operation].owners.indices();
        owners.iter().any(|owner| self.failed_by[*owner].is_none())
    }

    /// Notes how an operation ended; a failure fails its owners.
    pub fn finish(&mut self, plan: &Plan<'_>, operation: usize, result: io::Result<()>) {
        self.operations[operation] = match result {
            Ok(()) => Done::Yes,
            Err(error) => {
                for owner in plan.operations[operation].owners.indices() {
                    self.failed_by[*owner].get_or_insert(operation);
                }
                Done::Failed(error)
            }
        };
    }

    /// Why a message is not safe; none when it is.
    pub fn error(&self, message: usize) -> Option<&io::Error> {
        match self.operations.get(self.failed_by[message]?) {
            Some(Done::Failed(error)) => Some(error),
            Some(Done::Yes | Done::Skipped) | None => {
                unreachable!("a message is failed by a failed operation")
            }
        }
    }

    /// Whether any message failed.
    pub fn any_failed(&self) -> bool {
        self.failed_by.iter().any(Option::is_some)
    }

    /// The operations that failed.
    pub fn failures<'p, 'a>(
        &'p self,
        plan: &'p Plan<'a>,
    ) -> impl Iterator<Item = (&'p Action<'a>, &'p io::Error)> {
        plan.operations.iter().zip(&self.operations).filter_map(|(operation, done)| match done {
            Done::Failed(error) => Some((&operation.action, error)),
            Done::Yes | Done::Skipped => None,
        })
    }
}

/// Removes the files that a plan made for messages that failed. Best effort: it needs no sync, because a
/// message that was not answered 250 may be there or not.
///
/// A file is removed when all its owners failed, and only where it is certain to be ours: not where `Create`,
/// `Link` or `Rename` met one that was there before.
pub fn undo(plan: &Plan<'_>, results: &Results) -> Plan<'static> {
    let mut files = Vec::new();
    for (operation, done) in plan.operations.iter().zip(&results.operations) {
        if operation.owners.indices().iter().any(|owner| results.failed_by[*owner].is_none()) {
            continue;
        }
        match (&operation.action, done) {
            (Action::Create(file) | Action::Link(_, file) | Action::Rename(_, file), Done::Yes) => {
                files.push(Rc::clone(file));
            }
            // It may have happened all the same.
            (Action::Link(_, file) | Action::Rename(_, file), Done::Failed(error))
                if error.kind() != io::ErrorKind::AlreadyExists =>
            {
                files.push(Rc::clone(file));
            }
            (
                Action::Create(_) | Action::Link(..) | Action::Rename(..),
                Done::Failed(_) | Done::Skipped,
            )
            // They make no file.
            | (
                Action::MakeDirectory(_)
                | Action::Permit(..)
                | Action::PermitDirectory(..)
                | Action::Open(_)
                | Action::Reserve(..)
                | Action::Write(..)
                | Action::StartWriteback(_)
                | Action::AwaitWriteback(_)
                | Action::SyncFile(_)
                | Action::SyncFileWhole(_)
                | Action::Truncate(..)
                | Action::Close(_)
                // What it took the place of is gone: one of the two has to stay.
                | Action::Replace(..)
                | Action::SyncDirectory(_)
                | Action::Remove(_)
                | Action::SyncFilesystem
                | Action::ProbeJournal(_),
                Done::Yes | Done::Failed(_) | Done::Skipped,
            ) => {}
        }
    }
    // Each removal stands for itself: one that fails does not keep the others from being tried.
    let mut undo = Plan::new(files.len());
    for (index, file) in files.into_iter().enumerate() {
        undo.push(Owners::One(index), Action::Remove(file));
    }
    undo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Rc<FilePath> {
        Rc::new(FilePath { directory: Rc::from("d"), name: name.to_owned() })
    }

    #[test]
    fn stages_and_chains_are_found() {
        let mut plan = Plan::new(2);
        plan.barrier();
        plan.push(Owners::One(0), Action::Create(place("a")));
        plan.push(Owners::One(0), Action::SyncFile(place("a")));
        plan.push(Owners::One(1), Action::Create(place("b")));
        plan.barrier();
        plan.barrier();
        plan.push(Owners::One(0), Action::Rename(place("a"), place("c")));
        plan.push(Owners::One(1), Action::Rename(place("b"), place("d")));
        let stages: Vec<_> = plan.stages().collect();
        assert_eq!(stages, [0..3, 3..5]);
        assert_eq!(plan.chains(0..3), [0..2, 2..3]);
        assert_eq!(plan.chains(3..5), [3..4, 4..5]);
    }

    #[test]
    fn a_failure_fails_its_owners_only() {
        let mut plan = Plan::new(2);
        plan.push(Owners::One(0), Action::Create(place("a")));
        plan.push(Owners::One(1), Action::Create(place("b")));
        plan.barrier();
        plan.push(Owners::One(0), Action::Rename(place("a"), place("c")));
        plan.push(Owners::Many(vec![0, 1]), Action::SyncDirectory(Rc::from("d")));
        let mut results = Results::new(&plan);
        results.finish(&plan, 0, Err(io::ErrorKind::StorageFull.into()));
        results.finish(&plan, 1, Ok(()));
        assert!(!results.is_wanted(&plan, 2) && results.is_wanted(&plan, 3));
        assert!(results.error(0).is_some() && results.error(1).is_none());
        results.finish(&plan, 3, Err(io::ErrorKind::Other.into()));
        assert_eq!(
            results.error(0).map(io::Error::kind),
            Some(io::ErrorKind::StorageFull),
            "the first one tells"
        );
        assert_eq!(results.error(1).map(io::Error::kind), Some(io::ErrorKind::Other));
    }

    #[test]
    fn undo_never_removes_what_was_there_before() {
        let mut plan = Plan::new(1);
        plan.push(Owners::One(0), Action::Create(place("tmp")));
        plan.barrier();
        plan.push(Owners::One(0), Action::Rename(place("tmp"), place("taken")));
        let mut results = Results::new(&plan);
        results.finish(&plan, 0, Ok(()));
        results.finish(&plan, 1, Err(io::ErrorKind::AlreadyExists.into()));
        let undo = undo(&plan, &results);
        let paths: Vec<String> = undo.operations().iter().map(|operation| operation.action.path()).collect();
        assert_eq!(paths, ["d/tmp"]);
    }
}

//! The executor for a sink with one write in flight: plain system calls, one after the other.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::Executor;
use super::direct::{OpenFile, Staging};
use super::directories::Directories;
use super::writeback;
use crate::sink::file_system::FileSystem;
use crate::sink::optional;
use crate::sink::plan::{Action, FilePath, Plan, Results};

/// Runs plans by plain system calls below a root.
#[derive(Debug)]
pub struct Blocking {
    directories: Directories,
    /// Files between `Create` and `Close`.
    files: HashMap<Rc<FilePath>, OpenFile>,
    /// Whole blocks go past the page cache.
    direct: bool,
    staging: Staging,
}

impl Blocking {
    /// For the store whose root directory this is.
    pub fn new(root: OwnedFd) -> Self {
        Self {
            directories: Directories::new(root),
            files: HashMap::new(),
            direct: false,
            staging: Staging::default(),
        }
    }

    /// Writes whole blocks past the page cache where that is known to be as safe: on ext4 and XFS, whose
    /// `RWF_DSYNC` is an `fdatasync` of the range. Other file systems may not know it (a FUSE server), or
    /// gain nothing by it.
    pub fn with_direct_writes(root: OwnedFd) -> Self {
        let direct = matches!(FileSystem::of(&root), Ok(FileSystem::Ext4 | FileSystem::Xfs));
        Self { direct, ..Self::new(root) }
    }

    /// Whether whole blocks go past the page cache, and so never wait there in numbers for a sync.
    pub fn writes_directly(&self) -> bool {
        self.direct
    }

    /// For a store all of which is on the file system of its root: nothing beyond a mount point below it is
    /// used.
    pub fn on_one_file_system(root: OwnedFd) -> Self {
        let mut executor = Self::new(root);
        executor.directories.stay_on_file_system();
        executor
    }

    /// Does one thing. `next` is what the plan does after it.
    fn perform(&mut self, action: &Action<'_>, next: Option<&Action<'_>>) -> io::Result<()> {
        match action {
            Action::MakeDirectory(directory) => self.directories.make(directory),
            Action::Create(file) => {
                let opened = self.directories.create(file)?;
                self.insert(file, opened);
                Ok(())
            }
            Action::Permit(file, permission) => permission.give(self.files.get(file).ok_or_else(not_open)?),
            Action::PermitDirectory(directory, permission) => self.directories.permit(directory, *permission),
            Action::Open(file) => {
                let opened = self.directories.open_file(file)?;
                self.insert(file, opened);
                Ok(())
            }
            Action::Link(source, file) => {
                self.directories.link(source, file)?;
                self.files.insert(Rc::clone(file), OpenFile::cached(source.try_clone()?.into()));
                Ok(())
            }
            Action::Reserve(file, bytes) => reserve(self.files.get(file).ok_or_else(not_open)?, *bytes),
            Action::Write(file, offset, slices) => {
                let is_synced_next = matches!(next, Some(Action::SyncFile(synced)) if synced == file);
                let open = self.files.get_mut(file).ok_or_else(not_open)?;
                open.write(*offset, slices, is_synced_next, &mut self.staging)
            }
            Action::StartWriteback(file) => {
                writeback::start(&self.files.get(file).ok_or_else(not_open)?.as_fd())
            }
            Action::AwaitWriteback(file) => {
                writeback::finish(&self.files.get(file).ok_or_else(not_open)?.as_fd())
            }
            Action::SyncFile(file) => self.files.get_mut(file).ok_or_else(not_open)?.sync(),
            Action::SyncFileWhole(file) => self.files.get_mut(file).ok_or_else(not_open)?.sync_whole(),
            Action::Truncate(file, bytes) => {
                Ok(rustix::fs::ftruncate(self.directories.open_file(file)?, *bytes)?)
            }
            Action::Close(file) => {
                self.files.remove(file);
                Ok(())
            }
            Action::Rename(from, to) => {
                self.directories.rename(from, to)?;
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(Rc::clone(to), file);
                }
                Ok(())
            }
            Action::Replace(from, to) => self.directories.replace(from, to),
            Action::SyncDirectory(directory) => Ok(rustix::fs::fsync(&*self.directories.open(directory)?)?),
            Action::Remove(file) => {
                self.files.remove(file);
                self.directories.remove(file)
            }
            Action::SyncFilesystem => self.directories.sync_file_system(),
            Action::ProbeJournal(directory) => self.directories.probe_journal(directory),
        }
    }

    fn insert(&mut self, file: &Rc<FilePath>, opened: OwnedFd) {
        let open = if self.direct { OpenFile::direct_if_whole(opened) } else { OpenFile::cached(opened) };
        self.files.insert(Rc::clone(file), open);
    }
}

impl Executor for Blocking {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        self.directories.expire();
        let mut results = Results::new(plan);
        for (index, operation) in plan.operations().iter().enumerate() {
            if !results.is_wanted(plan, index) {
                // Of a message that failed by another of its files.
                if let Action::Close(file) = &operation.action {
                    self.files.remove(file);
                }
                continue;
            }
            let next = plan.operations().get(index + 1).map(|next| &next.action);
            let result = self.perform(&operation.action, next);
            if result.is_err() {
                self.directories.forget();
                close_after_failure(&mut self.files, &operation.action);
            }
            results.finish(plan, index, result);
        }
        results
    }
}

fn close_after_failure(files: &mut HashMap<Rc<FilePath>, OpenFile>, action: &Action<'_>) {
    match action {
        Action::Create(file)
        | Action::Permit(file, _)
        | Action::Open(file)
        | Action::Link(_, file)
        | Action::Reserve(file, _)
        | Action::Write(file, ..)
        | Action::StartWriteback(file)
        | Action::AwaitWriteback(file)
        | Action::SyncFile(file)
        | Action::SyncFileWhole(file)
        | Action::Truncate(file, _)
        | Action::Close(file)
        | Action::Rename(file, _)
        | Action::Replace(file, _)
        | Action::Remove(file) => {
            files.remove(file);
        }
        Action::MakeDirectory(_)
        | Action::PermitDirectory(..)
        | Action::SyncDirectory(_)
        | Action::SyncFilesystem
        | Action::ProbeJournal(_) => {}
    }
}

fn not_open() -> io::Error {
    io::Error::other("the file is not open")
}

/// Takes space. Where the file system cannot, the writes that follow find out.
pub(super) fn reserve(file: impl AsFd, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(error) if optional::is_missing(error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

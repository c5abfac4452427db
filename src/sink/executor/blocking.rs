//! The executor for a sink with one write in flight: plain system calls, one after the other.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::Executor;
use super::directories::{Directories, runs, short_write, still_linked};
use crate::sink::plan::{Action, Place, Plan, Results};

/// Runs plans by plain system calls below a root.
#[derive(Debug)]
pub struct Blocking {
    directories: Directories,
    /// Files between `Create` and `Close`.
    files: HashMap<Rc<Place>, OwnedFd>,
}

impl Blocking {
    /// For the store whose root directory this is.
    pub fn new(root: OwnedFd) -> Self {
        Self { directories: Directories::new(root), files: HashMap::new() }
    }

    /// For a store all of which is on the file system of its root: nothing behind a mount point below it is used.
    pub fn on_one_file_system(root: OwnedFd) -> Self {
        let mut executor = Self::new(root);
        executor.directories.stay_on_file_system();
        executor
    }

    fn perform(&mut self, action: &Action<'_>) -> io::Result<()> {
        match action {
            Action::MakeDirectory(directory) => self.directories.make(directory),
            Action::Create(file) => {
                let opened = self.directories.create(file)?;
                self.files.insert(Rc::clone(file), opened);
                Ok(())
            }
            Action::Open(file) => {
                let opened = self.directories.open_file(file)?;
                self.files.insert(Rc::clone(file), opened);
                Ok(())
            }
            Action::Link(source, file) => {
                self.directories.link(source, file)?;
                self.files.insert(Rc::clone(file), source.try_clone()?.into());
                Ok(())
            }
            Action::Reserve(file, bytes) => reserve(self.file(file)?, *bytes),
            Action::Write(file, offset, slices) => write(self.file(file)?, *offset, slices),
            Action::SyncFile(file) => {
                let file = self.file(file)?;
                rustix::fs::fdatasync(file)?;
                still_linked(file)
            }
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
            Action::SyncDirectory(directory) => Ok(rustix::fs::fsync(&*self.directories.open(directory)?)?),
            Action::Remove(file) => {
                self.files.remove(file);
                self.directories.remove(file)
            }
            Action::SyncFilesystem => self.directories.sync_file_system(),
        }
    }

    fn file(&self, file: &Rc<Place>) -> io::Result<&OwnedFd> {
        self.files.get(file).ok_or_else(|| io::Error::other("the file is not open"))
    }
}

impl Executor for Blocking {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        self.directories.expire();
        let mut results = Results::new(plan);
        for (index, operation) in plan.operations().iter().enumerate() {
            if !results.is_wanted(plan, index) {
                continue;
            }
            let result = self.perform(&operation.action);
            if result.is_err() {
                self.directories.forget();
                close_after_failure(&mut self.files, &operation.action);
            }
            results.finish(plan, index, result);
        }
        results
    }
}

fn close_after_failure(files: &mut HashMap<Rc<Place>, OwnedFd>, action: &Action<'_>) {
    match action {
        Action::Create(file)
        | Action::Open(file)
        | Action::Link(_, file)
        | Action::Reserve(file, _)
        | Action::Write(file, ..)
        | Action::SyncFile(file)
        | Action::Truncate(file, _)
        | Action::Close(file)
        | Action::Rename(file, _)
        | Action::Remove(file) => {
            files.remove(file);
        }
        Action::MakeDirectory(_) | Action::SyncDirectory(_) | Action::SyncFilesystem => {}
    }
}

/// Takes space. Where the file system cannot, the writes that follow find out.
pub(super) fn reserve(file: &OwnedFd, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn write(file: &OwnedFd, mut offset: u64, slices: &[&[u8]]) -> io::Result<()> {
    for (run, bytes) in runs(slices) {
        let vectors: Vec<IoSlice<'_>> = run.iter().map(|slice| IoSlice::new(slice)).collect();
        let written = loop {
            match rustix::io::pwritev(file, &vectors, offset) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        offset += written as u64;
        if written < bytes {
            return Err(reason(file, offset));
        }
    }
    Ok(())
}

/// Why a write was short: one octet more is tried at its end, in a file that is given up anyway. A full disk says so then.
pub(super) fn reason(file: &OwnedFd, offset: u64) -> io::Error {
    match rustix::io::pwrite(file, &[0], offset) {
        Ok(_) => short_write(),
        Err(error) => error.into(),
    }
}

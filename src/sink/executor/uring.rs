//! The executor for a sink with many files in flight: writes and syncs of up to `CHAINS_IN_FLIGHT_MAX` files
//! ride in one ring.
//!
//! Syncs are what takes time, and syncs that are under way at once share a commit of the file system's
//! journal. Names are made, renamed and removed by plain system calls through directory handles: io_uring
//! would hand those to a kernel thread each anyway, and its wrapper takes paths only.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use futures_util::stream::{self, StreamExt};
use tokio_uring::Runtime;
use tokio_uring::fs::File;

use super::Executor;
use super::directories::{Directories, runs, short_write};
use crate::sink::optional;
use crate::sink::plan::{Action, Plan, Results};

/// Files, or directories, worked on at a time by one worker: a bound on its open files.
const CHAINS_IN_FLIGHT_MAX: usize = 128;

/// Runs plans on a `tokio-uring` runtime below a root. Stays on the thread it was made on.
pub struct Uring {
    runtime: Runtime,
    directories: RefCell<Directories>,
}

impl Uring {
    /// For the store whose root directory this is.
    pub fn new(root: OwnedFd) -> io::Result<Self> {
        let runtime = Runtime::new(&tokio_uring::builder())?;
        Ok(Self { runtime, directories: RefCell::new(Directories::new(root)) })
    }

    async fn run_chain(&self, plan: &Plan<'_>, chain: Range<usize>, results: &RefCell<Results>) {
        let mut file = None;
        for index in chain {
            if !results.borrow().is_wanted(plan, index) {
                continue;
            }
            let result = self.perform(&plan.operations()[index].action, &mut file).await;
            if result.is_err() {
                self.directories.borrow_mut().forget();
                file = None;
            }
            results.borrow_mut().finish(plan, index, result);
        }
    }

    /// Does one thing. `file` is the open file of the chain.
    async fn perform(&self, action: &Action<'_>, file: &mut Option<File>) -> io::Result<()> {
        let not_open = || io::Error::other("the file is not open");
        let directories = || self.directories.borrow_mut();
        match action {
            Action::MakeDirectory(directory) => directories().make(directory),
            Action::Create(place) => {
                let created = directories().create(place)?;
                *file = Some(File::from_std(created.into()));
                Ok(())
            }
            Action::Permit(_, permission) => {
                permission.give(borrowed::descriptor(file.as_ref().ok_or_else(not_open)?))
            }
            Action::PermitDirectory(directory, permission) => directories().permit(directory, *permission),
            Action::Open(place) => {
                let opened = directories().open_file(place)?;
                *file = Some(File::from_std(opened.into()));
                Ok(())
            }
            Action::Link(source, place) => {
                directories().link(source, place)?;
                *file = Some(File::from_std(source.try_clone()?));
                Ok(())
            }
            Action::Reserve(_, bytes) => {
                match file.as_ref().ok_or_else(not_open)?.fallocate(0, *bytes, 0).await {
                    Err(error) if optional::says_missing(&error) => Ok(()),
                    other => other,
                }
            }
            Action::Write(_, offset, slices) => {
                write(file.as_ref().ok_or_else(not_open)?, *offset, slices).await
            }
            // They are for files that stay open from one stage to the next; here a file is open in its chain
            // only.
            Action::StartWriteback(_) | Action::AwaitWriteback(_) => Err(io::ErrorKind::Unsupported.into()),
            Action::SyncFile(_) => file.as_ref().ok_or_else(not_open)?.sync_data().await,
            Action::SyncFileWhole(_) => file.as_ref().ok_or_else(not_open)?.sync_all().await,
            Action::Truncate(place, bytes) => {
                let opened = directories().open_file(place)?;
                Ok(rustix::fs::ftruncate(opened, *bytes)?)
            }
            Action::Close(_) => {
                *file = None;
                Ok(())
            }
            Action::Rename(from, to) => directories().rename(from, to),
            Action::Replace(from, to) => directories().replace(from, to),
            Action::SyncDirectory(directory) => {
                let handle = directories().open(directory)?.try_clone()?;
                File::from_std(handle.into()).sync_all().await
            }
            Action::Remove(place) => directories().remove(place),
            // io_uring has no operation for it.
            Action::SyncFilesystem => directories().sync_file_system(),
            Action::ProbeJournal(directory) => directories().probe_journal(directory),
        }
    }
}

impl Executor for Uring {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        self.directories.get_mut().expire();
        let results = RefCell::new(Results::new(plan));
        let abort = AbortOnUnwind;
        self.runtime.block_on(async {
            for stage in plan.stages() {
                stream::iter(plan.chains(stage))
                    .for_each_concurrent(CHAINS_IN_FLIGHT_MAX, |chain| self.run_chain(plan, chain, &results))
                    .await;
            }
        });
        std::mem::forget(abort);
        results.into_inner()
    }
}

/// Unwinding would drop futures whose writes the kernel still reads for: the process ends instead. Nothing is
/// lost, for no 250 was sent for what this plan stores.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

async fn write(file: &File, mut offset: u64, slices: &[&[u8]]) -> io::Result<()> {
    for (run, bytes) in runs(slices) {
        let (result, _) = file.writev_at(borrowed::lend(run), offset).await;
        let written = result?;
        offset += written as u64;
        if written < bytes {
            return Err(reason(file, offset).await);
        }
    }
    Ok(())
}

/// Why a write was short: one octet more is tried at its end, in a file that is given up anyway. A full disk
/// says so then.
async fn reason(file: &File, offset: u64) -> io::Error {
    file.write_at(vec![0_u8], offset).submit().await.0.err().unwrap_or_else(short_write)
}

/// Borrowed memory for a crate that wants to own what it writes.
#[allow(unsafe_code)]
mod borrowed {
    use std::os::fd::{AsRawFd, BorrowedFd};

    use tokio_uring::buf::IoBuf;
    use tokio_uring::fs::File;

    /// The descriptor of an open file, for a system call of our own.
    pub(super) fn descriptor(file: &File) -> BorrowedFd<'_> {
        // SAFETY: the file owns the descriptor, and it is borrowed for as long as the descriptor is.
        unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) }
    }

    /// A slice whose borrow ended at the type, not in fact. Made and used in this file only.
    pub(super) struct Lent {
        start: *const u8,
        bytes: usize,
    }

    /// Lends slices to one write.
    pub(super) fn lend(slices: &[&[u8]]) -> Vec<Lent> {
        slices.iter().map(|slice| Lent { start: slice.as_ptr(), bytes: slice.len() }).collect()
    }

    // SAFETY: the pointer and length come from a slice of the plan that `Uring::run` borrows for its whole
    // call. The kernel reads through it only until the write completes, and `run` does not return before
    // that: `block_on` drives every chain to its end, no chain drops a write it began (nothing in this file
    // selects, times out or cancels), and should something panic on the way, `AbortOnUnwind` ends the process
    // before the plan's memory is given back. The memory does not move, because it is borrowed.
    unsafe impl IoBuf for Lent {
        fn stable_ptr(&self) -> *const u8 {
            self.start
        }

        fn bytes_init(&self) -> usize {
            self.bytes
        }

        fn bytes_total(&self) -> usize {
            self.bytes
        }
    }
}

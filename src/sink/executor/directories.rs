//! Open directories below the root of a store, and the operations on names that are plain system calls.
//!
//! A path is opened beneath the root and through no symbolic link (`optional::open_beneath`), so nobody who
//! can write below the root can lead us out of it. Handles are kept, bounded in number and age.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};

use crate::sink::permission::Permission;
use crate::sink::plan::{Directory, FilePath};
use crate::sink::{file_system, optional};

/// Handles kept at a time.
const HANDLES_MAX: usize = 512;

/// Handles are opened anew after this time, so that a directory that was moved away is noticed.
const HANDLE_AGE_MAX: Duration = Duration::from_secs(10);

/// What the log says of a maildir beyond a mount point.
const MOUNT_POINT: &str =
    "a mount point below `path` is not covered by sync = \"batch\"; take sync = \"each\"";

/// The root, and handles of directories below it.
#[derive(Debug)]
pub(in crate::sink) struct Directories {
    root: Rc<OwnedFd>,
    /// `handles.len() <= HANDLES_MAX`
    handles: HashMap<Directory, Rc<OwnedFd>>,
    opened_at: Instant,
    /// How directories are opened besides beneath the root and through no link.
    resolve: ResolveFlags,
    /// The root once more. The kernel tells an error of writing back once per open description (Linux 5.8 and
    /// later), so this one is our own, open from the start and used for every `syncfs`; none when it could
    /// not be opened.
    for_sync: Option<OwnedFd>,
}

impl Directories {
    pub(in crate::sink) fn new(root: OwnedFd) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            for_sync: rustix::fs::openat(&root, ".", flags, Mode::empty()).ok(),
            root: Rc::new(root),
            handles: HashMap::new(),
            opened_at: Instant::now(),
            resolve: ResolveFlags::empty(),
        }
    }

    /// Refuses directories beyond a mount point from now on, so that [`Self::sync_file_system`] covers all
    /// that is used.
    pub(in crate::sink) fn stay_on_file_system(&mut self) {
        self.resolve |= ResolveFlags::NO_XDEV;
    }

    /// Makes everything durable on the file system of the root.
    pub(super) fn sync_file_system(&self) -> io::Result<()> {
        let Some(root) = &self.for_sync else {
            return Err(io::Error::other("the root could not be opened at start"));
        };
        Ok(rustix::fs::syncfs(root)?)
    }

    /// Fails where the file system of a directory gave up its journal.
    pub(super) fn probe_journal(&mut self, directory: &Directory) -> io::Result<()> {
        file_system::probe_journal(&*self.open(directory)?)
    }

    /// The handle of a directory.
    pub(in crate::sink) fn open(&mut self, directory: &Directory) -> io::Result<Rc<OwnedFd>> {
        if directory.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(handle) = self.handles.get(directory) {
            return Ok(Rc::clone(handle));
        }
        let handle = Rc::new(match optional::open_beneath(&self.root, directory, self.resolve) {
            Err(rustix::io::Errno::XDEV) if self.resolve.contains(ResolveFlags::NO_XDEV) => {
                return Err(io::Error::new(io::ErrorKind::CrossesDevices, MOUNT_POINT));
            }
            other => other?,
        });
        if self.handles.len() >= HANDLES_MAX {
            self.handles.clear();
        }
        self.handles.insert(Rc::clone(directory), Rc::clone(&handle));
        Ok(handle)
    }

    /// Opens a directory in an open one, on the same mount.
    pub(in crate::sink) fn open_within(&self, parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        Ok(optional::open_beneath(parent, name, self.resolve | ResolveFlags::NO_XDEV)?)
    }

    /// Forgets all handles: after a failure none of them is believed.
    pub(in crate::sink) fn forget(&mut self) {
        self.handles.clear();
    }

    /// Forgets handles that are too old.
    pub(super) fn expire(&mut self) {
        if self.opened_at.elapsed() > HANDLE_AGE_MAX {
            self.handles.clear();
            self.opened_at = Instant::now();
        }
    }

    /// Makes a directory; one that is there already is fine.
    pub(super) fn make(&mut self, directory: &Directory) -> io::Result<()> {
        let (parent, name) = directory.rsplit_once('/').unwrap_or(("", directory));
        let parent = self.open(&Rc::from(parent))?;
        match rustix::fs::mkdirat(&*parent, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a directory of our own a mode and a group. One that we may not even look into is not ours.
    pub(super) fn permit(&mut self, directory: &Directory, permission: Permission) -> io::Result<()> {
        match self.open(directory) {
            Ok(opened) => permission.give_to_own(&*opened),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Creates a file that must not exist.
    pub(super) fn create(&mut self, file: &FilePath) -> io::Result<OwnedFd> {
        let directory = self.open(&file.directory)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*directory, &*file.name, flags, Mode::RUSR | Mode::WUSR)?)
    }

    /// Opens a file that exists, to write.
    pub(super) fn open_file(&mut self, file: &FilePath) -> io::Result<OwnedFd> {
        let directory = self.open(&file.directory)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*directory, &*file.name, flags, Mode::empty())?)
    }

    /// Gives a file without a name this one, and never replaces.
    pub(super) fn link(&mut self, source: &File, file: &FilePath) -> io::Result<()> {
        let directory = self.open(&file.directory)?;
        // By descriptor alone (`AT_EMPTY_PATH`) most kernels let only root do it.
        let path = format!("/proc/self/fd/{}", source.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, path, &*directory, &*file.name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Renames and never replaces.
    pub(super) fn rename(&mut self, from: &FilePath, to: &FilePath) -> io::Result<()> {
        let source = self.open(&from.directory)?;
        let target = self.open(&to.directory)?;
        optional::rename(&*source, &from.name, &*target, &to.name)
    }

    /// Renames, and takes the place of what is there.
    pub(super) fn replace(&mut self, from: &FilePath, to: &FilePath) -> io::Result<()> {
        let source = self.open(&from.directory)?;
        let target = self.open(&to.directory)?;
        Ok(rustix::fs::renameat(&*source, &*from.name, &*target, &*to.name)?)
    }

    /// Removes a file; one that is gone is fine, also with its directory.
    pub(super) fn remove(&mut self, file: &FilePath) -> io::Result<()> {
        let directory = match self.open(&file.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(&*directory, &*file.name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Refuses a file that has no name any more: what it holds is gone at the last close, synced or not.
pub(super) fn still_linked(file: impl std::os::fd::AsFd) -> io::Result<()> {
    if rustix::fs::fstat(file)?.st_nlink == 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while in use"));
    }
    Ok(())
}

/// Octets in one system call; more is split, so that a count below what was asked for is always a short
/// write.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 30;

/// Slices in one system call (`IOV_MAX`).
pub(super) const WRITE_SLICES_MAX: usize = 1024;

/// Splits slices into runs that one system call takes, and tells the octets in each.
pub(super) fn runs<'s, 'a>(slices: &'s [&'a [u8]]) -> impl Iterator<Item = (&'s [&'a [u8]], usize)> {
    let mut rest = slices;
    std::iter::from_fn(move || {
        let (mut count, mut bytes) = (0, 0);
        for slice in rest.iter().take(WRITE_SLICES_MAX) {
            if count > 0 && bytes + slice.len() > WRITE_BYTES_MAX {
                break;
            }
            count += 1;
            bytes += slice.len();
        }
        let (run, others) = rest.split_at(count);
        rest = others;
        (count > 0).then_some((run, bytes))
    })
}

/// The error of a write that took fewer octets than it was given and gives no reason of its own: the disk was
/// full and is not any more, as where another worker has just removed what did not fit.
pub(super) fn short_write() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "short write: there was no space for the rest")
}

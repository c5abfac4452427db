//! The root directory of a store: made, made durable, and locked.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::{OpenError, file_system, optional};

/// The file whose lock says that a store is in use; it holds the number of the process. Its name is no domain and no
/// address, so no template makes a directory of it.
const LOCK_NAME: &str = ".ringmx.lock";

/// A locked store. The lock goes with the value, and with the process.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    directory: OwnedFd,
    _lock: fs::File,
}

impl Root {
    /// Makes the directory where it is missing, and takes the lock.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        make_durable(path).map_err(|error| OpenError {
            what: "make the store",
            path: path.to_owned(),
            why: error.to_string(),
            cure: if error.kind() == io::ErrorKind::Unsupported {
                "put it where directories can be synced, such as a local ext4 or XFS"
            } else {
                "make the directory yourself and give it to the user that runs ringmx"
            },
        })?;
        let refused = |error: io::Error| OpenError {
            what: "open the store",
            path: path.to_owned(),
            why: error.to_string(),
            cure: "the user that runs ringmx must be able to read and write it",
        };
        let directory: OwnedFd = fs::File::open(path).map_err(refused)?.into();
        // Open to read only, so that the store's file system can be made read-only while we run.
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = path.join(LOCK_NAME);
        let mut locked: fs::File = rustix::fs::open(&lock, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| refused(error.into()))?
            .into();
        let mut taken = flock(&locked, FlockOperation::NonBlockingLockExclusive);
        if taken == Err(Errno::BADF) {
            // NFS makes a lock of a range of it, for which the file must be open to write.
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::open(&lock, flags, Mode::empty());
            locked = opened.map_err(|error| refused(error.into()))?.into();
            taken = flock(&locked, FlockOperation::NonBlockingLockExclusive);
        }
        match taken {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(in_use(path, &mut locked)),
            Err(error) => return Err(without_locks(path, &directory, error)),
        }
        // Only for whoever is refused later; the lock holds without it.
        let _ = fs::write(&lock, format!("{}\n", std::process::id()));
        Ok(Self { path: path.to_owned(), directory, _lock: locked })
    }

    /// Its path as configured.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A handle of the directory for an executor.
    pub(super) fn directory(&self) -> io::Result<OwnedFd> {
        self.directory.try_clone()
    }
}

fn in_use(path: &Path, lock: &mut fs::File) -> OpenError {
    let mut holder = String::new();
    let read = lock.take(20).read_to_string(&mut holder);
    let holder = holder.trim();
    let who = match read {
        Ok(_) if !holder.is_empty() && holder.bytes().all(|octet| octet.is_ascii_digit()) => {
            format!(" (process {holder})")
        }
        Ok(_) | Err(_) => String::new(),
    };
    OpenError {
        what: "lock the store",
        path: path.to_owned(),
        why: format!("another ringmx{who} uses it"),
        cure: "stop that one, or give this one a `path` of its own",
    }
}

/// Two receivers in one store would write over each other, so there is no way round.
fn without_locks(path: &Path, directory: &OwnedFd, error: Errno) -> OpenError {
    OpenError {
        what: "lock the store",
        path: path.to_owned(),
        why: format!("{} cannot lock files ({})", file_system::name_of(directory), io::Error::from(error)),
        cure: "mount it with locks (NFS: without `nolock`; Lustre: with `flock`), let no seccomp filter forbid flock(2), or put \
               the store elsewhere",
    }
}

/// Makes a directory and what is missing above it, each entry synced in its parent: a store that a power cut could take away
/// whole keeps no promise.
fn make_durable(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if !path.is_dir() {
        make_durable(parent)?;
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    // The entry may have been made by a start that was cut short before its sync. A parent that we may not read was not made by us.
    match fs::File::open(parent) {
        Ok(directory) => directory.sync_all().map_err(|error| without_sync(parent, &directory, error)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// An error of the kind `Unsupported` where directories cannot be synced at all.
fn without_sync(path: &Path, directory: &fs::File, error: io::Error) -> io::Error {
    if !optional::says_missing(&error) {
        return error;
    }
    let (kind, path) = (file_system::name_of(directory), path.display());
    io::Error::new(io::ErrorKind::Unsupported, format!("{kind} cannot sync the directory {path} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_use_is_refused_with_its_path_and_a_cure() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a/b");
        let first = Root::open(&path).expect("a free store");
        let refused = Root::open(&path).expect_err("a store in use").to_string();
        let process = std::process::id();
        assert!(refused.contains(&path.display().to_string()), "{refused}");
        assert!(
            refused.contains(&format!("another ringmx (process {process}) uses it; stop that one")),
            "{refused}"
        );
        drop(first);
        Root::open(&path).expect("free again");
    }

    #[test]
    fn a_store_that_cannot_be_made_says_why() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("a file");
        let refused = Root::open(&file.join("store")).expect_err("below a file").to_string();
        assert!(refused.starts_with("cannot make the store "), "{refused}");
    }
}

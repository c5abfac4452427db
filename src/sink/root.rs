//! The root directory of a store: made, made durable, and locked.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::OpenError;

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
            cure: "make the directory yourself and give it to the user that runs ringmx",
        })?;
        let refused = |error: io::Error| OpenError {
            what: "open the store",
            path: path.to_owned(),
            why: error.to_string(),
            cure: "the user that runs ringmx must be able to read and write it",
        };
        let directory = fs::File::open(path).map_err(refused)?.into();
        // Open to read only, so that the store's file system can be made read-only while we run.
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = path.join(LOCK_NAME);
        let mut locked: fs::File = rustix::fs::open(&lock, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| refused(error.into()))?
            .into();
        match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(path, &mut locked)),
            Err(error) => return Err(refused(error.into())),
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
        Ok(parent) => parent.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
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

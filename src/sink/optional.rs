//! Operations that not every file system, kernel or sandbox has, each with its way round.
//!
//! A file system that lacks one says EINVAL, EOPNOTSUPP or ENOSYS, a seccomp filter ENOSYS or EPERM
//! (systemd's `SystemCallErrorNumber=EPERM`, container runtimes). What has no way round stops the start
//! (`sink/trial.rs`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, accessat, flock};
use rustix::io::Errno;
use rustix::path::Arg;

/// Whether a failure says that there is no such operation here, instead of that it failed. EPERM may say
/// either: whoever goes another way then finds out.
pub fn is_missing(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM)
}

/// As [`is_missing`], of an error that came by way of the standard library.
pub fn says_missing(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| is_missing(Errno::from_raw_os_error(number)))
}

/// Renames a file within a file system and never replaces: EEXIST where the name is taken.
///
/// The way round is a link and the removal of the old name (NFS, 9p and GlusterFS take no RENAME_NOREPLACE).
/// A power cut, or a failed removal, leaves the whole file under both names; nothing of ours takes a name for
/// the only one.
pub fn rename<P: Arg + Copy>(
    from_directory: impl AsFd,
    from: P,
    to_directory: impl AsFd,
    to: P,
) -> io::Result<()> {
    let (from_directory, to_directory) = (from_directory.as_fd(), to_directory.as_fd());
    match rustix::fs::renameat_with(from_directory, from, to_directory, to, RenameFlags::NOREPLACE) {
        Err(error) if is_missing(error) => {}
        other => return Ok(other?),
    }
    match rustix::fs::linkat(from_directory, from, to_directory, to, AtFlags::empty()) {
        Ok(()) => {}
        // A network file system may send a request twice: the first one made the link.
        Err(Errno::EXIST) if is_one_file(from_directory, from, to_directory, to) => {}
        Err(error) if is_missing(error) => {
            let why = "the file system can neither rename without replacing nor link";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(from_directory, from, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether two names are those of one file.
fn is_one_file<P: Arg + Copy>(from_directory: impl AsFd, from: P, to_directory: impl AsFd, to: P) -> bool {
    let facts = |directory, name: P| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    let (from, to) = (facts(from_directory.as_fd(), from), facts(to_directory.as_fd(), to));
    from.zip(to).is_some_and(|(from, to)| (from.st_dev, from.st_ino) == (to.st_dev, to.st_ino))
}

/// Opens a directory by its path below a root, through no symbolic link. `resolve` holds what openat2(2) is
/// told besides: with `NO_XDEV` a directory on another file system fails with EXDEV.
///
/// The way round opens one name after the other, which no link and no `..` can lead out of the root either.
/// It takes a mount of the same file system for no mount, which a sync of that file system reaches all the
/// same.
pub fn open_beneath(root: &OwnedFd, path: &str, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let safe = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve | safe) {
        Err(error) if is_missing(error) => {}
        other => return other,
    }
    let mut directory: Option<OwnedFd> = None;
    for name in path.split('/') {
        if matches!(name, "" | "." | "..") {
            return Err(Errno::INVAL);
        }
        let parent = directory.as_ref().unwrap_or(root);
        directory = Some(rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    let directory = directory.ok_or(Errno::INVAL)?;
    let device = |directory: &OwnedFd| rustix::fs::fstat(directory).map(|facts| facts.st_dev);
    if resolve.contains(ResolveFlags::NO_XDEV) && device(root)? != device(&directory)? {
        return Err(Errno::XDEV);
    }
    Ok(directory)
}

/// Whether this process may use a path so, by the rights that it has now, as an `open` has them.
///
/// The way round asks by the rights of the user who started it, who is the same unless the program is
/// set-user-ID. Where nothing can be asked the answer is yes: whoever tries finds out.
pub fn may_use<P: Arg + Copy>(directory: impl AsFd, path: P, access: Access) -> Result<(), Errno> {
    let directory = directory.as_fd();
    let ask = |access, flags| accessat(directory, path, access, flags);
    let asked = match ask(access, AtFlags::EACCESS) {
        Err(error) if is_missing(error) => ask(access, AtFlags::empty()),
        answer => answer,
    };
    match asked {
        // EPERM is also what a directory says that nobody may change (`chattr +i`).
        Err(error) if is_missing(error) && ask(Access::EXISTS, AtFlags::empty()).is_err_and(is_missing) => {
            Ok(())
        }
        answer => answer,
    }
}

/// Locks a directory against others that write the same file in it, until the descriptor is closed. False
/// when somebody else has the lock and `waits` is not set.
///
/// Where there are no locks it is locked for nobody, and two that write at once overwrite each other: the
/// reader of that file then goes by the one that came last.
pub fn lock_directory(directory: impl AsFd, waits: bool) -> io::Result<bool> {
    let operation =
        if waits { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
    match flock(directory, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) if is_missing(error) || matches!(error, Errno::NOLCK | Errno::BADF) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether there is a syncfs(2): asked of a descriptor that it cannot take, because the sync itself may take
/// long.
pub fn has_syncfs(directory: impl AsFd) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(path) = rustix::fs::openat(directory, ".", flags, Mode::empty()) else { return true };
    !rustix::fs::syncfs(path).is_err_and(is_missing)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn only_a_name_that_is_free_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = File::open(folder.path()).expect("a folder");
        fs::write(folder.path().join("a"), "a").expect("a file");
        fs::write(folder.path().join("b"), "b").expect("a file");
        let taken = rename(&directory, "a", &directory, "b").expect_err("taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        rename(&directory, "a", &directory, "c").expect("renamed");
        assert_eq!(fs::read(folder.path().join("c")).expect("a file"), b"a");
        assert_eq!(fs::metadata(folder.path().join("c")).expect("a file").nlink(), 1);
    }

    #[test]
    fn two_names_of_one_file_are_told_from_two_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = File::open(folder.path()).expect("a folder");
        fs::write(folder.path().join("a"), "a").expect("a file");
        fs::write(folder.path().join("b"), "a").expect("a file");
        fs::hard_link(folder.path().join("a"), folder.path().join("c")).expect("a link");
        assert!(is_one_file(&directory, "a", &directory, "c"));
        assert!(!is_one_file(&directory, "a", &directory, "b"));
        assert!(!is_one_file(&directory, "a", &directory, "none"));
    }

    #[test]
    fn syncfs_is_asked_for_without_a_sync() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(has_syncfs(File::open(folder.path()).expect("a folder")));
    }
}

//! The root directory of a store: examined, made, made durable, and locked.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    Access, CWD, FlockOperation, Gid, Mode, OFlags, Uid, fchown, flock, fstat, mkdirat, openat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::file_system::Named;
use super::opening::{Examined, OpenError};
use super::permission::Permission;
use super::{file_system, optional};
use crate::config::file::user;

/// The file whose lock says that a store is in use; it holds the number of the process and the kind of the
/// store. Its name is no domain and no address, so no template makes a directory of it.
pub(super) const LOCK_NAME: &str = ".ringmx.lock";

/// How often a lock that somebody else has is asked for again, and after how long each time.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A locked store. The lock goes with the value, and with the process.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
    _lock: fs::File,
}

impl Root {
    /// Makes the directory where it is missing, and takes the lock. `kind` is one word for whoever reads the
    /// store.
    pub fn open(path: &Path, kind: &str) -> Result<Self, OpenError> {
        Self::open_shared(path, kind, None)
    }

    /// As [`Self::open`]; directories that are made get this permission.
    pub(super) fn open_shared(
        path: &Path,
        kind: &str,
        permission: Option<Permission>,
    ) -> Result<Self, OpenError> {
        make(path, permission, None)?;
        let refused = |error: io::Error| OpenError {
            what: "open the store",
            site: path.display().to_string(),
            why: error.to_string(),
            cure: "the user that runs ringmx must be able to read and write it, and what is in it (`chown -R`)",
        };
        let directory: OwnedFd = fs::File::open(path).map_err(refused)?.into();
        // Open to read only, so that the store's file system can be made read-only while we run.
        let mut locked = open_lock(&directory, OFlags::RDONLY | OFlags::CREATE).map_err(refused)?;
        let mut taken = lock(&locked);
        if taken == Err(Errno::BADF) {
            // NFS makes a lock of a range of it, for which the file must be open to write.
            locked = open_lock(&directory, OFlags::RDWR).map_err(refused)?;
            taken = lock(&locked);
        }
        match taken {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(in_use(path, &mut locked)),
            Err(error) => return Err(without_locks(path, &directory, error)),
        }
        // Only for whoever is refused later, or reads the store; the lock holds without it.
        let _ = sign_lock(&directory, &locked, kind);
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

/// Opens the lock of a store. Whoever owns the directory may have put anything there: no link is followed,
/// and nothing that is no file is waited for.
fn open_lock(directory: &OwnedFd, how: OFlags) -> io::Result<fs::File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = openat(directory, LOCK_NAME, flags, Mode::RUSR | Mode::WUSR);
    let file = fs::File::from(opened.named(Path::new(LOCK_NAME))?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{LOCK_NAME} in it is no file: remove it")))
}

/// Writes who holds the lock and what the store is. Only where the name still leads to the locked file, and
/// that has no other name: it might be the name of a file elsewhere.
fn sign_lock(directory: &OwnedFd, locked: &fs::File, kind: &str) -> io::Result<()> {
    let mut file = open_lock(directory, OFlags::WRONLY)?;
    let (ours, now) = (locked.metadata()?, file.metadata()?);
    if (ours.dev(), ours.ino()) != (now.dev(), now.ino()) || now.nlink() != 1 {
        return Ok(());
    }
    file.set_len(0)?;
    writeln!(file, "{} {kind}", std::process::id())
}

/// The kind of a store that was opened once, as its lock says. None where it does not: a ringmx before this
/// one wrote it, or the disk was full, or it cannot be read.
pub(super) fn kind_of(path: &Path) -> Option<String> {
    let mut text = String::new();
    file_system::open_own_at(&path.join(LOCK_NAME)).ok()?.take(40).read_to_string(&mut text).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

/// Whether somebody has the lock of a store. For that moment it is shared with whoever else looks, and
/// [`Root::open`] waits longer.
pub fn is_in_use(path: &Path) -> bool {
    let lock = file_system::open_own_at(&path.join(LOCK_NAME));
    lock.is_ok_and(|lock| flock(lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
}

/// Looks whether [`Root::open`] will succeed, as far as that can be known, and changes nothing. Gives the
/// directory that is there: the root, or the nearest one above that it would be made in.
pub(super) fn examine(path: &Path, examined: &mut Examined) -> Option<PathBuf> {
    let shown = path.display();
    let (existing, missing) = match nearest_existing(path) {
        Ok(found) => found,
        Err((at, why)) => {
            examined.error("path", format!("{shown}: {} {why}", at.display()));
            return None;
        }
    };
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let needed = if missing.is_empty() { access } else { Access::WRITE_OK | Access::EXEC_OK };
    if let Err(error) = optional::may_use(CWD, &existing, needed) {
        let error = io::Error::from(error);
        let place = existing.display();
        examined.error("path", match error.kind() {
            io::ErrorKind::PermissionDenied if missing.is_empty() => format!(
                "{shown}: user {} may not read and write this directory: {error}; give it to the user that ringmx runs as, and run \
                 ringmx as that user",
                user()
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{shown} does not exist, and user {} may not make it in {place}: {error}; make it yourself and give it to the user that \
                 ringmx runs as",
                user()
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                format!("{shown}: {place} is on a file system that is mounted read-only: mount it for writing, or store elsewhere")
            }
            _ => format!("{shown}: {place} cannot be used: {error}; store elsewhere"),
        });
        return None;
    }
    if missing.len() > 1 {
        let mut text = format!("{shown} does not exist, and these above it do not either:");
        for directory in missing.iter().skip(1) {
            let _ = write!(text, " {}", directory.display());
        }
        text.push_str("; `serve` makes them all, unless the path is wrong, or a file system is not mounted");
        examined.warn("path", text);
    }
    Some(existing)
}

/// The nearest directory that exists, and what is missing below it, the deepest first. Otherwise what is no
/// directory, and why.
fn nearest_existing(path: &Path) -> Result<(PathBuf, Vec<&Path>), (&Path, String)> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match fs::metadata(ancestor) {
            Ok(facts) if facts.is_dir() => return Ok((ancestor.to_owned(), missing)),
            Ok(_) => {
                return Err((
                    ancestor,
                    "is a file, not a directory: name another path, or remove it".to_owned(),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(ancestor).is_ok() {
                    let why = "is a symbolic link to nothing: make what it leads to, or remove it".to_owned();
                    return Err((ancestor, why));
                }
                missing.push(ancestor);
            }
            // What is below a file. The file itself is told.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => missing.push(ancestor),
            Err(error) => {
                let cure = match error.kind() {
                    io::ErrorKind::PermissionDenied => format!("user {} must be able to reach it", user()),
                    _ => "correct the path".to_owned(),
                };
                let why = format!("cannot be looked at: {error}; {cure}");
                return Err((ancestor, why));
            }
        }
    }
    Ok((PathBuf::from("."), missing))
}

/// Takes the lock, and waits a moment for it: a process that was killed may still be on its way out, and one
/// that was just forked has a copy of the descriptor until it runs its own program.
fn lock(file: &fs::File) -> Result<(), Errno> {
    for _ in 0..LOCK_TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

fn in_use(path: &Path, lock: &mut fs::File) -> OpenError {
    let mut holder = String::new();
    let read = lock.take(40).read_to_string(&mut holder);
    let holder = holder.split_whitespace().next().unwrap_or_default();
    let who = match read {
        Ok(_) if !holder.is_empty() && holder.bytes().all(|octet| octet.is_ascii_digit()) => {
            format!(" (process {holder})")
        }
        Ok(_) | Err(_) => String::new(),
    };
    OpenError {
        what: "lock the store",
        site: path.display().to_string(),
        why: format!("another ringmx{who} uses it"),
        cure: "stop that one, or give this one a `path` of its own",
    }
}

/// Two receivers in one store would write over each other, so there is no way round.
fn without_locks(path: &Path, directory: &OwnedFd, error: Errno) -> OpenError {
    OpenError {
        what: "lock the store",
        site: path.display().to_string(),
        why: format!("{} cannot lock files ({})", file_system::name_of(directory), io::Error::from(error)),
        cure: "mount it with locks (NFS: without `nolock`; Lustre: with `flock`), let no seccomp filter forbid flock(2), or put \
               the store elsewhere",
    }
}

/// Who a store is made for, where that is not who makes it.
pub type Owner = (Uid, Gid);

/// Makes the directory of a store where it is missing.
pub(super) fn make(
    path: &Path,
    permission: Option<Permission>,
    owner: Option<Owner>,
) -> Result<(), OpenError> {
    make_durable(path, permission, owner).map_err(|error| OpenError {
        what: "make the store",
        site: path.display().to_string(),
        why: error.to_string(),
        cure: if error.kind() == io::ErrorKind::Unsupported {
            "put it where directories can be synced, such as a local ext4 or XFS"
        } else {
            "make the directory yourself and give it to the user that runs ringmx"
        },
    })
}

/// Makes a directory and what is missing above it, each entry synced in its parent: a store that a power cut
/// could take away whole keeps no promise. What is made gets the owner and the permission; what is there
/// keeps its own.
///
/// Root does this in directories of a user who may put links there meanwhile. So each level is made and
/// opened below the one above it, which is open, and is given away by its descriptor, the deepest first: a
/// user who has a directory could change what is below it.
fn make_durable(path: &Path, permission: Option<Permission>, owner: Option<Owner>) -> io::Result<()> {
    let (existing, missing) = existing_above(path);
    let mut above = open_directory(CWD, existing, OFlags::PATH)?;
    let (mut made, mut unsynced) = (Vec::new(), Vec::new());
    for level in missing.into_iter().rev() {
        let name = level.components().next_back().map_or(OsStr::new("."), Component::as_os_str);
        let opened = match mkdirat(&above, name, Mode::RWXU) {
            Ok(()) => {
                let opened = open_directory(&above, name, OFlags::NOFOLLOW)?;
                made.push((opened.try_clone()?, level));
                opened
            }
            Err(Errno::EXIST) => open_directory(&above, name, OFlags::PATH | OFlags::NOFOLLOW)?,
            Err(error) => return Err(error.into()),
        };
        unsynced.push((std::mem::replace(&mut above, opened), parent_of(level)));
    }
    for (directory, path) in made.iter().rev() {
        give_away(directory, path, permission, owner)?;
    }
    for (directory, path) in unsynced {
        sync(open_directory(&directory, ".", OFlags::empty()), path)?;
    }
    // The entry may have been made by a start that was cut short before its sync.
    let parent = parent_of(existing);
    sync(open_directory(CWD, parent, OFlags::empty()), parent)
}

/// The nearest directory that exists, and what is missing below it, the deepest first.
fn existing_above(path: &Path) -> (&Path, Vec<&Path>) {
    let (mut existing, mut missing) = (path, Vec::new());
    while !existing.is_dir() && parent_of(existing) != existing {
        missing.push(existing);
        existing = parent_of(existing);
    }
    (existing, missing)
}

/// The directory that an entry is in; of the highest one, itself.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn open_directory(below: impl AsFd, name: impl rustix::path::Arg, how: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(below, name, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Gives a directory that was just made its owner and its permission, and makes that durable.
fn give_away(
    directory: &OwnedFd,
    path: &Path,
    permission: Option<Permission>,
    owner: Option<Owner>,
) -> io::Result<()> {
    if permission.is_none() && owner.is_none() {
        return Ok(());
    }
    if let Some((user, group)) = owner {
        if fstat(directory)?.st_uid != geteuid().as_raw() {
            let path = path.display();
            return Err(io::Error::other(format!(
                "somebody else has put a directory in the place of {path}"
            )));
        }
        fchown(directory, Some(user), Some(group))?;
    }
    if let Some(permission) = permission {
        permission.of_directories().give(directory)?;
    }
    sync(Ok(directory.try_clone()?), path)
}

/// A directory that we may not read was not made by us, and is left as it is.
fn sync(directory: io::Result<OwnedFd>, path: &Path) -> io::Result<()> {
    match directory.map(fs::File::from) {
        Ok(directory) => directory.sync_all().map_err(|error| without_sync(path, &directory, error)),
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
    use crate::sink::opening::Remark;

    #[test]
    fn a_store_in_use_is_refused_with_its_path_and_a_cure() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a/b");
        let first = Root::open(&path, "spool").expect("a free store");
        let refused = Root::open(&path, "spool").expect_err("a store in use").to_string();
        let process = std::process::id();
        assert!(refused.contains(&path.display().to_string()), "{refused}");
        assert!(
            refused.contains(&format!("another ringmx (process {process}) uses it; stop that one")),
            "{refused}"
        );
        assert_eq!(kind_of(&path).as_deref(), Some("spool"));
        assert!(is_in_use(&path) && !is_in_use(directory.path()));
        drop(first);
        assert!(!is_in_use(&path));
        Root::open(&path, "spool").expect("free again");
    }

    /// Whoever owns a store that root opens may have put any of these there.
    #[test]
    fn the_lock_leads_nowhere_else() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (store, outside) = (folder.path().join("store"), folder.path().join("outside"));
        fs::create_dir(&store).expect("a store");
        fs::write(&outside, "precious").expect("a file");
        let lock = store.join(LOCK_NAME);
        let kept = || fs::read_to_string(&outside).is_ok_and(|text| text == "precious");
        std::os::unix::fs::symlink(&outside, &lock).expect("a link");
        Root::open(&store, "spool").expect_err("a symbolic link");
        assert!(kept() && kind_of(&store).is_none());
        fs::remove_file(&lock).expect("removed");
        std::os::unix::fs::symlink(folder.path().join("new"), &lock).expect("a link to nothing");
        Root::open(&store, "spool").expect_err("a symbolic link to nothing");
        assert!(!folder.path().join("new").exists());
        fs::remove_file(&lock).expect("removed");
        fs::hard_link(&outside, &lock).expect("a second name");
        drop(Root::open(&store, "spool").expect("a lock without a signature"));
        assert!(kept());
        fs::remove_file(&lock).expect("removed");
        rustix::fs::mkfifoat(CWD, &lock, Mode::RUSR | Mode::WUSR).expect("a FIFO");
        let refused = Root::open(&store, "spool").expect_err("a FIFO").to_string();
        assert!(refused.contains("is no file: remove it"), "{refused}");
        fs::remove_file(&lock).expect("removed");
        fs::create_dir(&lock).expect("a directory");
        Root::open(&store, "spool").expect_err("a directory");
        fs::remove_dir(&lock).expect("removed");
        let _root = Root::open(&store, "spool").expect("free");
        assert_eq!(kind_of(&store).as_deref(), Some("spool"));
    }

    fn examined(path: &Path) -> (Vec<String>, Vec<String>) {
        let mut examined = Examined::default();
        examine(path, &mut examined);
        let texts = |remarks: Vec<Remark>| remarks.into_iter().map(|remark| remark.text).collect();
        (texts(examined.errors), texts(examined.warnings))
    }

    #[test]
    fn what_is_examined_is_what_open_finds_and_nothing_is_made() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let inside = |name: &str| directory.path().join(name);
        fs::write(inside("file"), "").expect("a file");
        std::os::unix::fs::symlink("nothing", inside("dangling")).expect("a link");
        std::os::unix::fs::symlink(".", inside("loop")).expect("a link");
        std::os::unix::fs::symlink("circle", inside("circle")).expect("a link");
        let names = || {
            let entries = fs::read_dir(directory.path()).expect("readable");
            entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let before = names();
        for (name, error) in [
            ("file", "is a file, not a directory"),
            ("file/a/b", "file is a file, not a directory"),
            ("dangling", "is a symbolic link to nothing"),
            ("dangling/a", "dangling is a symbolic link to nothing"),
            ("circle/a", "Too many levels of symbolic links (os error 40); correct the path"),
        ] {
            let (errors, warnings) = examined(&inside(name));
            assert!(errors.len() == 1 && errors[0].contains(error), "{errors:?}");
            assert!(warnings.is_empty(), "{warnings:?}");
        }
        for good in [".", "new", "loop/new"] {
            assert_eq!(examined(&inside(good)), (Vec::new(), Vec::new()), "{good}");
        }
        let (errors, warnings) = examined(&inside("a/b/c"));
        assert!(errors.is_empty() && warnings.len() == 1, "{errors:?}");
        let missing = format!("do not either: {} {};", inside("a/b").display(), inside("a").display());
        assert!(warnings[0].contains(&missing), "{warnings:?}");
        assert_eq!(names(), before);
        for bad in ["file", "file/a/b", "dangling", "dangling/a"] {
            Root::open(&inside(bad), "spool").expect_err(bad);
        }
        Root::open(&inside("a/b/c"), "spool").expect("made");
    }

    /// As root makes it for a user who owns the directory above.
    #[test]
    fn a_store_that_is_given_away_is_given_by_descriptors_and_no_link_is_followed() {
        if !geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (users, outside) = (folder.path().join("users"), folder.path().join("outside"));
        fs::create_dir(&users).expect("a directory");
        fs::create_dir(&outside).expect("a directory");
        let owner = (Uid::from_raw(3_000_018), Gid::from_raw(3_000_019));
        let permission = Some(Permission { mode: 0o640, group: None });
        let facts = |path: &Path| {
            let facts = fs::metadata(path).expect("there");
            (facts.uid(), facts.gid(), facts.mode() & 0o7777)
        };
        let before = facts(&outside);
        std::os::unix::fs::symlink(outside.join("none"), users.join("a")).expect("a link");
        make(&users.join("a/b"), permission, Some(owner)).expect_err("a link in the place of a level");
        assert_eq!((facts(&outside), outside.join("none").exists()), (before, false));
        fs::remove_file(users.join("a")).expect("removed");
        let above = facts(&users);
        make(&users.join("a/../a/./b"), permission, Some(owner)).expect("made");
        for made in ["a", "a/b"] {
            assert_eq!(facts(&users.join(made)), (3_000_018, 3_000_019, 0o750), "{made}");
        }
        assert_eq!(facts(&users), above, "what was there keeps its own");

        let opened = open_directory(CWD, &outside, OFlags::empty()).expect("a directory");
        fchown(&opened, Some(owner.0), Some(owner.1)).expect("given");
        give_away(&opened, &outside, permission, Some(owner)).expect_err("a directory of somebody else");
    }

    #[test]
    fn a_store_that_cannot_be_made_says_why() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("a file");
        let refused = Root::open(&file.join("store"), "spool").expect_err("below a file").to_string();
        assert!(refused.starts_with("cannot make the store "), "{refused}");
    }
}

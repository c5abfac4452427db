//! Which file system a store is on, because some things are known to be safe on some and not on others.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::optional::is_missing;

/// File systems of local disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 and its elders.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// Any other.
    Other,
}

/// Gives errors the name of what they happened to, for whoever prints them alone. Their kind stays.
pub trait Named<T> {
    /// The error with the path in front, unless it is there already.
    fn named(self, path: &Path) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Named<T> for Result<T, E> {
    fn named(self, path: &Path) -> io::Result<T> {
        self.map_err(|error| {
            let (error, path) = (error.into(), path.display().to_string());
            let text = error.to_string();
            if text.starts_with(&path) {
                error
            } else {
                io::Error::new(error.kind(), format!("{path}: {text}"))
            }
        })
    }
}

/// Whether a file is on an ext4 file system that keeps a journal: ext4 can do without, and its elders have
/// none. False where the kernel does not tell (`/sys/fs/ext4/<disk>/journal_task`).
pub fn has_ext4_journal(file: impl AsFd) -> bool {
    let Ok(facts) = rustix::fs::fstat(file) else { return false };
    let (major, minor) = (rustix::fs::major(facts.st_dev), rustix::fs::minor(facts.st_dev));
    let Ok(disk) = fs::read_link(format!("/sys/dev/block/{major}:{minor}")) else { return false };
    let Some(name) = disk.file_name().and_then(|name| name.to_str()) else { return false };
    let task = fs::read_to_string(format!("/sys/fs/ext4/{name}/journal_task"));
    // `<none>` without a journal.
    task.is_ok_and(|task| task.trim().parse::<u32>().is_ok())
}

/// Fails where the file system of a directory gave up its journal, which its syncs need not tell. ext4 finds
/// nothing to wait for when the commit has failed already, even one that another sync began, and XFS finds
/// nothing to write once it has let go of the changes that it could not write; both say that all is well. A
/// journal that still takes changes has committed all that syncs said it had.
///
/// The change is a file without a name, which is gone with its descriptor. Where there are no such files
/// nobody can be asked. Any other failure is one of the probe: no descriptor, no inode.
pub fn probe_journal(directory: impl AsFd) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        Err(error) if has_no_unnamed_files(error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether opening a file without a name failed because the file system has none (`O_TMPFILE` of open(2)).
pub(super) fn has_no_unnamed_files(error: Errno) -> bool {
    error == Errno::ISDIR || is_missing(error)
}

/// Opens a file of a store to read it. Whoever owns the store may have put anything under its name, and root
/// reads it too: so no link is followed, and what is no file (a FIFO would be waited for) is an error.
pub(super) fn open_own(directory: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(not_own("is a symbolic link, which is not followed: remove it")),
        opened => File::from(opened?),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_own("is no file: remove it")) }
}

/// The same by a path, whose last name is that of the file.
pub(crate) fn open_own_at(path: &Path) -> io::Result<File> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| not_own("is no name of a file")).named(path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    open_own(open_directory(directory).named(path)?, name).named(path)
}

/// A handle of the directory at an operator's path, so that what is done below it stays there, whatever
/// becomes of the path.
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn not_own(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Makes durable which names a directory holds, and probes the journal that this may go through. Errors name
/// the directory.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    sync_opened(&File::open(path).named(path)?).named(path)
}

/// The same of an open directory. Errors name nothing.
pub(super) fn sync_opened(directory: impl AsFd) -> io::Result<()> {
    rustix::fs::fsync(&directory)?;
    probe_journal(directory)
}

/// The name of the file system of an open file or directory, as mount(8) lists it.
pub fn name_of(file: impl AsFd) -> String {
    let kind = mountinfo_of(file).and_then(|line| {
        let (kind, _) = line.split_once(" - ")?.1.split_once(' ')?;
        Some(kind.to_owned())
    });
    kind.unwrap_or_else(|| "this file system".to_owned())
}

/// The line of /proc/self/mountinfo (proc_pid_mountinfo(5)) on the mount of an open file or directory.
pub(super) fn mountinfo_of(file: impl AsFd) -> Option<String> {
    let facts = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    if !StatxFlags::from_bits_retain(facts.stx_mask).contains(StatxFlags::MNT_ID) {
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let is_it =
        |line: &&str| line.split_once(' ').is_some_and(|(number, _)| number.parse() == Ok(facts.stx_mnt_id));
    mounts.lines().find(is_it).map(str::to_owned)
}

impl FileSystem {
    /// That of an open file or directory, by the `f_type` of statfs(2).
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        // The type of the field differs between machines; its 32 bits do not.
        #[allow(clippy::cast_sign_loss)]
        let magic = rustix::fs::fstatfs(file)?.f_type as u64 & 0xffff_ffff;
        Ok(match magic {
            0xef53 => Self::Ext4,
            0x5846_5342 => Self::Xfs,
            0x9123_683e => Self::Btrfs,
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_path_once_and_keeps_its_kind() {
        let path = Path::new("/none/here");
        let error = File::open(path).named(path).named(path).expect_err("missing");
        assert_eq!(error.to_string(), "/none/here: No such file or directory (os error 2)");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            Err::<(), _>(Errno::NOSPC).named(path).expect_err("full").kind(),
            io::ErrorKind::StorageFull
        );
    }
}

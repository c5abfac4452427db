//! Removes temporary files that deliveries cut short left behind. Follows no link and looks at nothing but
//! `tmp`, of maildirs and of the folders that ringmx stores mail in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::path::Arg;

/// Nobody delivers for longer than this (maildir(5)).
const AGE_MAX: Duration = Duration::from_hours(36);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    /// How many files were removed.
    pub(super) removed: usize,
    /// The first error: some places could not be looked at.
    pub(super) error: Option<io::Error>,
}

/// Removes old files in the `tmp` of every maildir `depth` directories below the root, and in that of these
/// folders of it. A place that cannot be looked at keeps nobody from the others.
pub(super) fn remove_old(root: OwnedFd, depth: usize, folders: &[&str]) -> Cleaned {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = i64::try_from(now.saturating_sub(AGE_MAX).as_secs()).unwrap_or(i64::MAX);
    let mut cleaned = Cleaned::default();
    cleaned.descend(root, depth, folders, before);
    cleaned
}

impl Cleaned {
    fn descend(&mut self, directory: OwnedFd, depth: usize, folders: &[&str], before: i64) {
        if depth == 0 {
            self.remove_in_tmp(&directory, before);
            for folder in folders {
                if let Some(folder) = self.noted(open(&directory, *folder)) {
                    self.remove_in_tmp(&folder, before);
                }
            }
            return;
        }
        let Some(entries) = self.noted(Dir::read_from(&directory).map(Some)) else { return };
        for entry in entries {
            let Some(entry) = self.noted(entry.map(Some)) else { return };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || entry.file_type() == FileType::RegularFile {
                continue;
            }
            if let Some(below) = self.noted(open(&directory, name)) {
                self.descend(below, depth - 1, folders, before);
            }
        }
    }

    fn remove_in_tmp(&mut self, directory: &OwnedFd, before: i64) {
        let Some(folder) = self.noted(open(directory, c"tmp")) else { return };
        let Some(entries) = self.noted(Dir::read_from(&folder).map(Some)) else { return };
        for entry in entries {
            let Some(entry) = self.noted(entry.map(Some)) else { return };
            let name = entry.file_name();
            let Ok(facts) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_file = FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile;
            let is_old = is_file && facts.st_mtime < before;
            if is_old && rustix::fs::unlinkat(&folder, name, AtFlags::empty()).is_ok() {
                self.removed += 1;
            }
        }
    }

    /// What was found; an error is noted.
    fn noted<T>(&mut self, found: Result<Option<T>, impl Into<io::Error>>) -> Option<T> {
        found.unwrap_or_else(|error| {
            self.error.get_or_insert_with(|| error.into());
            None
        })
    }
}

/// Opens a directory; none when it is gone, or something else.
fn open(parent: impl AsFd, name: impl Arg) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

//! Removes temporary files that deliveries cut short left behind. Follows no link and looks at nothing but
//! `tmp`, of maildirs and of the folders that ringmx stores mail in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::path::Arg;

/// Nobody delivers for longer than this (maildir(5)).
const AGE_MAX: Duration = Duration::from_hours(36);

/// Removes old files in the `tmp` of every maildir `depth` directories below the root, and in that of these
/// folders of it; returns how many.
pub(super) fn remove_old(root: OwnedFd, depth: usize, folders: &[&str]) -> io::Result<usize> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = now.saturating_sub(AGE_MAX).as_secs();
    descend(root, depth, folders, i64::try_from(before).unwrap_or(i64::MAX))
}

fn descend(directory: OwnedFd, depth: usize, folders: &[&str], before: i64) -> io::Result<usize> {
    if depth == 0 {
        let mut removed = remove_in_tmp(&directory, before)?;
        for folder in folders {
            if let Some(folder) = open(&directory, *folder)? {
                removed += remove_in_tmp(&folder, before)?;
            }
        }
        return Ok(removed);
    }
    let mut removed = 0;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") || entry.file_type() == FileType::RegularFile
        {
            continue;
        }
        if let Some(below) = open(&directory, entry.file_name())? {
            removed += descend(below, depth - 1, folders, before)?;
        }
    }
    Ok(removed)
}

fn remove_in_tmp(directory: &OwnedFd, before: i64) -> io::Result<usize> {
    open(directory, c"tmp")?.map_or(Ok(0), |folder| remove_in(&folder, before))
}

fn remove_in(folder: &OwnedFd, before: i64) -> io::Result<usize> {
    let mut removed = 0;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(facts) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_file = FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile;
        if is_file && facts.st_mtime < before && rustix::fs::unlinkat(folder, name, AtFlags::empty()).is_ok()
        {
            removed += 1;
        }
    }
    Ok(removed)
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

//! How the files of a maildir become durable, by the file system of the store.

use std::os::fd::AsFd;
use std::path::Path;

use crate::config::MaildirSync;
use crate::sink::file_system::{FileSystem, has_ext4_journal};
use crate::sink::opening::OpenError;
use crate::sink::optional::has_syncfs;

/// How files become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// By a sync of each file, and one of each directory that it was renamed into.
    File,
    /// By one sync of the file system (`syncfs`), last, for all files and names of a batch. What the files
    /// hold was written back before they were renamed. That is no part of the promise, which is the last
    /// sync's alone: it is why no power cut before it leaves a name in `new` without its mail. XFS and ext4
    /// with a journal end the writing back of a file only when their journal knows where its octets lie, and
    /// their journal keeps its order.
    Batch,
    /// By two: one for the files, then one for the names. Without a journal names have no order, and Btrfs
    /// commits them before it knows the octets that were written back.
    Twice,
}

/// The file systems whose `syncfs` is known to write all data and names through to the disk and to report
/// errors, ext4 together with a probe of its journal. Of others it is not known (FUSE before 5.16 and some
/// servers since: nothing at all; overlayfs: not the errors; NFS: not what the server still holds; a tmpfs
/// has no disk).
const BATCH: [&str; 3] = ["ext4", "XFS", "Btrfs"];

/// How files become durable below this root: as configured, else the best that is known to be safe.
pub(super) fn choose(
    configured: Option<MaildirSync>,
    path: &Path,
    root: impl AsFd,
) -> Result<Commit, OpenError> {
    let refused = |why: String| OpenError {
        what: "store with sync = \"batch\" in",
        site: path.display().to_string(),
        why,
        cure: "write sync = \"each\", or nothing",
    };
    let by_batch = FileSystem::of(&root).map(|found| match found {
        _ if !has_syncfs(&root) => None,
        FileSystem::Ext4 if has_ext4_journal(&root) => Some(Commit::Batch),
        FileSystem::Xfs => Some(Commit::Batch),
        FileSystem::Ext4 | FileSystem::Btrfs => Some(Commit::Twice),
        FileSystem::Other => None,
    });
    match (configured, by_batch) {
        (Some(MaildirSync::Each), _) | (None, Ok(None) | Err(_)) => Ok(Commit::File),
        (Some(MaildirSync::Batch) | None, Ok(Some(commit))) => Ok(commit),
        (Some(MaildirSync::Batch), Ok(None)) => {
            let names = BATCH.join(", ");
            let why = if has_syncfs(&root) {
                format!("only of {names} is it known that one sync makes all files durable")
            } else {
                "a seccomp filter forbids syncfs(2)".to_owned()
            };
            Err(refused(why))
        }
        (Some(MaildirSync::Batch), Err(error)) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_a_disk_is_synced_file_by_file() {
        let path = Path::new("/dev/shm");
        let root = std::fs::File::open(path).expect("a tmpfs");
        assert_eq!(choose(None, path, &root).expect("a mode"), Commit::File);
        assert_eq!(choose(Some(MaildirSync::Each), path, &root).expect("a mode"), Commit::File);
        let refused = choose(Some(MaildirSync::Batch), path, &root).expect_err("no disk").to_string();
        assert!(refused.contains("only of ext4, XFS, Btrfs is it known"), "{refused}");
        assert!(refused.ends_with("write sync = \"each\", or nothing"), "{refused}");
    }
}

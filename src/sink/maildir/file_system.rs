//! Whether one `syncfs` makes a whole batch durable on the file system of a store.

use std::os::fd::AsFd;
use std::path::Path;

use crate::config::MaildirSync;
use crate::sink::OpenError;
use crate::sink::file_system::FileSystem;

/// The file systems whose `syncfs` is known to write all data and names through to the disk and to report errors. Of others it is not known (FUSE before 5.16 and some servers since: nothing at all; overlayfs: not
/// the errors; NFS: not what the server still holds; a tmpfs has no disk).
const BATCH: [(FileSystem, &str); 3] =
    [(FileSystem::Ext4, "ext4"), (FileSystem::Xfs, "XFS"), (FileSystem::Btrfs, "Btrfs")];

/// How files become durable below this root: as configured, else the best that is known to be safe.
pub(super) fn choose(
    configured: Option<MaildirSync>,
    path: &Path,
    root: impl AsFd,
) -> Result<MaildirSync, OpenError> {
    let refused = |why: String| OpenError {
        what: "store with sync = \"batch\" in",
        path: path.to_owned(),
        why,
        cure: "write sync = \"each\", or nothing",
    };
    let can_batch =
        FileSystem::of(root).map(|found| BATCH.iter().any(|(file_system, _)| *file_system == found));
    match (configured, can_batch) {
        (Some(MaildirSync::Each), _) | (None, Ok(false) | Err(_)) => Ok(MaildirSync::Each),
        (Some(MaildirSync::Batch) | None, Ok(true)) => Ok(MaildirSync::Batch),
        (Some(MaildirSync::Batch), Ok(false)) => {
            let names = BATCH.map(|(_, name)| name).join(", ");
            Err(refused(format!("only of {names} is it known that one sync makes all files durable")))
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
        assert_eq!(choose(None, path, &root).expect("a mode"), MaildirSync::Each);
        assert_eq!(choose(Some(MaildirSync::Each), path, &root).expect("a mode"), MaildirSync::Each);
        let refused = choose(Some(MaildirSync::Batch), path, &root).expect_err("no disk").to_string();
        assert!(refused.contains("only of ext4, XFS, Btrfs is it known"), "{refused}");
        assert!(refused.ends_with("write sync = \"each\", or nothing"), "{refused}");
    }
}

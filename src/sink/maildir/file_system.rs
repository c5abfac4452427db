//! Whether one `syncfs` makes a whole batch durable on the file system of a store.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::config::MaildirSync;
use crate::sink::OpenError;

/// The file systems whose `syncfs` is known to write all data and names through to the disk and to report errors, by the
/// `f_type` of statfs(2). Of others it is not known (FUSE before 5.16 and some servers since: nothing at all; overlayfs: not
/// the errors; NFS: not what the server still holds; a tmpfs has no disk).
const BATCH: [(u64, &str); 3] =
    [(0xef53, "ext4" /* and its elders */), (0x5846_5342, "XFS"), (0x9123_683e, "Btrfs")];

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
    let can_batch = match rustix::fs::fstatfs(root) {
        // The type of the field differs between machines; its 32 bits do not.
        #[allow(clippy::cast_sign_loss)]
        Ok(facts) => Ok(BATCH.iter().any(|(magic, _)| *magic == facts.f_type as u64 & 0xffff_ffff)),
        Err(error) => Err(io::Error::from(error)),
    };
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

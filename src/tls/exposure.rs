//! Whether other users of this machine can take a private key.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everybody may read or write, or pass a directory.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_PASS: u32 = 0o001;

/// What to tell of a key that everybody on this machine can read or change; none when nobody can, or when it
/// cannot be known. What its group may do is the operator's to decide: a group for the readers of keys is a
/// usual arrangement.
pub(super) fn of(key: &Path) -> Option<String> {
    // The file itself and the directories that lead to it, whatever links there are.
    let key = fs::canonicalize(key).ok()?;
    let mode = fs::metadata(&key).ok()?.mode();
    let can = match (mode & OTHERS_READ != 0, mode & OTHERS_WRITE != 0) {
        (true, true) => "read and change",
        (true, false) => "read",
        (false, true) => "change",
        (false, false) => return None,
    };
    // One directory that others cannot pass is enough.
    let is_reachable = key
        .ancestors()
        .skip(1)
        .all(|directory| fs::metadata(directory).is_ok_and(|facts| facts.mode() & OTHERS_PASS != 0));
    is_reachable.then(|| {
        format!("every user of this machine can {can} the private key: `chmod o= {}`", key.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_key_is_exposed_when_others_can_reach_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("made");
        let (key, link) = (inner.join("key"), folder.path().join("link"));
        fs::write(&key, "x").expect("written");
        symlink(&key, &link).expect("linked");
        set(folder.path(), 0o755);
        set(&inner, 0o755);
        for (mode, expected) in [
            (0o600, None),
            (0o640, None),
            (0o660, None),
            (0o400, None),
            (0o644, Some("can read the")),
            (0o604, Some("can read the")),
            (0o666, Some("can read and change the")),
            (0o602, Some("can change the")),
        ] {
            set(&key, mode);
            for path in [&key, &link] {
                let told = of(path);
                assert_eq!(told.is_some(), expected.is_some(), "{mode:o}: {told:?}");
                assert!(expected.is_none_or(|part| told.is_some_and(|told| told.contains(part))), "{mode:o}");
            }
        }
        set(&key, 0o644);
        for mode in [0o700, 0o750, 0o754] {
            set(&inner, mode);
            assert_eq!(of(&key), None, "behind {mode:o}");
        }
        set(&inner, 0o711);
        assert!(of(&key).is_some());
        assert_eq!(of(&folder.path().join("none")), None);
    }
}

//! Maildirs whose files and directories have a mode and a group: a message counts only with both.

use std::path::Path;

use ringmx::sink::executor::simulated::{Image, Permissions};
use ringmx::sink::maildir::{Commit, Maildir};
use ringmx::sink::permission::Permission;
use ringmx::sink::plan::Action;

use super::{KINDS, Kind, Run, batches, honest, maildir_settings, marked};

/// For others, too.
pub(super) const SHARED: Permission = Permission { mode: 0o660, group: Some(7) };

pub(super) const MAILDIR: Kind = Kind {
    name: "shared maildir",
    make: |disk, reports| Box::new(Maildir::new(maildir_settings(reports).share_by(Some(SHARED)), disk)),
    permission: Some(SHARED),
    ..super::MAILDIR
};

pub(super) const MAILDIR_BATCH: Kind = Kind {
    name: "shared maildir, batch",
    make: |disk, reports| {
        let settings = maildir_settings(reports).share_by(Some(SHARED)).commit_by(Commit::Batch);
        Box::new(Maildir::new(settings, disk))
    },
    permission: Some(SHARED),
    ..super::MAILDIR
};

pub(super) const MAILDIR_TWICE: Kind = Kind {
    name: "shared maildir, twice",
    make: |disk, reports| {
        let settings = maildir_settings(reports).share_by(Some(SHARED)).commit_by(Commit::Twice);
        Box::new(Maildir::new(settings, disk))
    },
    permission: Some(SHARED),
    ..super::MAILDIR
};

/// What is there with its permission and that of its maildir and the directories above it: only that can be
/// read by whom it is for.
pub(super) fn of_use(permission: Permission, image: Image, permissions: &Permissions) -> Image {
    let is_of_use = |path: &String| {
        let (maildir, _) = path.split_once("/new/").unwrap_or((path, ""));
        let mut directories: Vec<String> = Path::new(maildir)
            .ancestors()
            .map(|directory| directory.display().to_string())
            .filter(|directory| !directory.is_empty())
            .collect();
        directories.extend(["tmp", "new", "cur"].map(|folder| format!("{maildir}/{folder}")));
        let of_directories = permission.of_directories();
        permissions.get(path) == Some(&permission)
            && directories.iter().all(|directory| permissions.get(directory) == Some(&of_directories))
    };
    image.into_iter().filter(|(path, _)| !path.contains("/new/") || is_of_use(path)).collect()
}

#[test]
fn without_a_mode_and_a_group_no_plan_does_anything_for_them() {
    for kind in KINDS.into_iter().filter(|kind| kind.permission.is_none()) {
        Run::new(&kind, &batches(&kind), |_, action| {
            let is_for_them =
                matches!(action, Action::Permit(..) | Action::PermitDirectory(..) | Action::SyncFileWhole(_));
            assert!(!is_for_them, "{action:?}");
            None
        });
    }
}

#[test]
fn no_file_is_seen_without_its_mode_and_group() {
    for kind in KINDS.into_iter().chain([marked::MAILDIR_SHARED]) {
        let Some(permission) = kind.permission else { continue };
        let run = Run::new(&kind, &batches(&kind), honest);
        let mut seen = 0;
        for now in 0..=run.disk.now() {
            let (image, permissions) = run.disk.cut(now, || true);
            for path in image.keys().filter(|path| path.contains("/new/")) {
                assert_eq!(permissions.get(path), Some(&permission), "{}: {path} at {now}", kind.name);
                seen += 1;
            }
        }
        assert!(seen > 0, "{}", kind.name);
    }
}

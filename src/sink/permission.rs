//! Who may use what is stored, besides the user that runs ringmx: the mode and the group of files and
//! directories.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Display, Path};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Gid, Mode, fchmod, fchown, fstat};
use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::CapabilitySet;

use crate::accounts::group_of;
use crate::config::file::user;

/// The bits of a mode that chmod(2) takes.
const MODE_BITS: u32 = 0o7777;

/// Of a directory: what is made in it gets its group, and directories get this bit, too.
const SET_GROUP: u32 = 0o2000;

/// The mode of files where only a group is configured.
pub(super) const MODE_WITH_GROUP: u32 = 0o660;

/// The mode of files where only a mode is missing.
const MODE_WITHOUT_GROUP: u32 = 0o600;

/// The mode and the group of what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The permission bits.
    pub mode: u32,
    /// The number of the group. `None` for the one that the file system chooses.
    pub group: Option<u32>,
}

impl Permission {
    /// What the configuration asks for. `None` where neither is configured. The error names the group.
    pub(super) fn configured(mode: Option<u32>, group: Option<&str>) -> Result<Option<Self>, String> {
        let Some(name) = group else {
            return Ok(mode.map(|mode| Self { mode, group: None }));
        };
        let number = group_number(name)?;
        if !may_give_to(number) {
            return Err(format!(
                "user {} is not a member of the group {name:?}, so it may give no file to it: \
                 `usermod --append --groups {name} USER`, or `SupplementaryGroups={name}` in the unit, and start again; \
                 `check` must run as the user that `serve` runs as",
                user()
            ));
        }
        Ok(Some(Self { mode: mode.unwrap_or(MODE_WITH_GROUP), group: Some(number) }))
    }

    /// What directories get where files get this: whoever may read a file may enter its directory, and what
    /// others make in there keeps the group.
    #[must_use]
    pub fn of_directories(self) -> Self {
        let enter = (self.mode & 0o444) >> 2;
        let set_group = if self.group.is_some() { SET_GROUP } else { 0 };
        Self { mode: self.mode | enter | set_group, ..self }
    }

    /// Gives a file this mode and this group: the group first, because the mode may be more than the group
    /// before may have.
    pub(super) fn give(self, file: impl AsFd) -> io::Result<()> {
        if let Some(group) = self.group {
            fchown(&file, None, Some(Gid::from_raw(group)))?;
        }
        Ok(fchmod(&file, Mode::from_raw_mode(self.mode))?)
    }

    /// Gives it to a directory of our own; one that belongs to somebody else stays as it is. A bit that hands
    /// on the group of the directory stays, too.
    pub(super) fn give_to_own(self, directory: impl AsFd) -> io::Result<()> {
        let facts = fstat(&directory)?;
        if facts.st_uid != geteuid().as_raw() {
            return Ok(());
        }
        // Also where it has both: the sync after a failed one makes only a new change durable.
        let mode = self.mode | (facts.st_mode & SET_GROUP);
        Self { mode, ..self }.give(directory)
    }

    /// Why the group cannot reach a store, as far as modes tell: its directory, or one above it, keeps it
    /// out. Nothing where no group is configured.
    pub(super) fn keeps_out(self, path: &Path) -> Option<String> {
        let wanted = self.of_directories();
        let cure = |shown: Display<'_>| {
            format!("chgrp {} {shown} && chmod {:o} {shown}", self.group.unwrap_or_default(), wanted.mode)
        };
        self.keeps_out_of(path, wanted.mode >> 3 & 0o7, &cure)
            .or_else(|| self.keeps_out_above(path.parent()?))
    }

    /// As [`Self::keeps_out`], where this directory is above the store.
    pub(super) fn keeps_out_above(self, directory: &Path) -> Option<String> {
        let cure = |shown: Display<'_>| format!("chmod o+x {shown}");
        directory.ancestors().find_map(|directory| self.keeps_out_of(directory, 0o1, &cure))
    }

    fn keeps_out_of(
        self,
        directory: &Path,
        needed: u32,
        cure: &dyn Fn(Display<'_>) -> String,
    ) -> Option<String> {
        let group = self.group?;
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let facts = rustix::fs::stat(directory).ok()?;
        let given = if facts.st_gid == group { facts.st_mode >> 3 } else { facts.st_mode } & 0o7;
        if given & needed == needed {
            return None;
        }
        let (mode, of) = (facts.st_mode & MODE_BITS, facts.st_gid);
        Some(format!(
            "as modes tell, this group cannot use {} (mode {mode:04o}, group {of}), so it finds no mail: `{}`",
            directory.display(),
            cure(directory.display())
        ))
    }
}

/// Says what a configuration asks for as its keys do.
pub(super) fn described(mode: Option<u32>, group: Option<&str>) -> String {
    let default = if group.is_some() { MODE_WITH_GROUP } else { MODE_WITHOUT_GROUP };
    match (mode, group) {
        (None, None) => String::new(),
        (mode, None) => format!(", mode = \"{:04o}\"", mode.unwrap_or(default)),
        (mode, Some(group)) => format!(", mode = \"{:04o}\", group = {group:?}", mode.unwrap_or(default)),
    }
}

/// Whether this process may give its files to a group: it is a member, or may do so to any.
fn may_give_to(group: u32) -> bool {
    getegid().as_raw() == group
        || getgroups().is_ok_and(|groups| groups.iter().any(|member| member.as_raw() == group))
        || rustix::thread::capabilities(None)
            .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::CHOWN))
}

/// The number of a group. A name that was found is not looked up again, because the process may have given up
/// the files of the database since.
fn group_number(name: &str) -> Result<u32, String> {
    static FOUND: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(number) = found.get(name) {
        return Ok(*number);
    }
    match group_of(name) {
        Ok(Some(number)) => {
            found.insert(name.to_owned(), number);
            Ok(number)
        }
        Ok(None) => Err(format!(
            "there is no group {name:?} on this machine: `groupadd --system {name}`, or correct the name"
        )),
        Err(error) => Err(format!("the group {name:?} cannot be looked up: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn whoever_may_read_a_file_may_enter_its_directory() {
        for (mode, group, directory) in [
            (0o600, None, 0o700),
            (0o600, Some(7), 0o2700),
            (0o660, Some(7), 0o2770),
            (0o640, None, 0o750),
            (0o644, Some(7), 0o2755),
        ] {
            assert_eq!(Permission { mode, group }.of_directories(), Permission { mode: directory, group });
        }
    }

    #[test]
    fn a_group_is_found_by_name_and_by_number() {
        assert_eq!(group_number("root"), Ok(0));
        assert_eq!(group_number("54321"), Ok(54321));
        for wrong in ["no-such-group-here", "-1", "4294967295", "4294967296"] {
            let why = group_number(wrong).expect_err("no group");
            assert!(why.contains(&format!("there is no group {wrong:?}")), "{why}");
        }
    }

    #[test]
    fn a_directory_keeps_the_bit_that_hands_on_its_group() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o2700)).expect("ours");
        let directory = fs::File::open(folder.path()).expect("a directory");
        Permission { mode: 0o750, group: None }.give_to_own(&directory).expect("given");
        assert_eq!(directory.metadata().expect("metadata").mode() & MODE_BITS, 0o2750);
    }

    #[test]
    fn a_store_that_its_group_cannot_reach_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        fs::create_dir(&store).expect("a store");
        let own = getegid().as_raw();
        let permission = Permission { mode: 0o660, group: Some(own) };
        fs::set_permissions(&store, fs::Permissions::from_mode(0o2750)).expect("ours");
        let why = permission.keeps_out(&store).expect("it cannot be written");
        assert!(why.contains("(mode 2750,") && why.contains("&& chmod 2770 "), "{why}");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o2770)).expect("ours");
        let above = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("ours");
            permission.keeps_out(&store)
        };
        let why = above(0o700).expect("it cannot be entered");
        assert!(why.contains(&format!("`chmod o+x {}`", folder.path().display())), "{why}");
        assert_eq!(above(0o710), None);
        assert_eq!(Permission { group: None, ..permission }.keeps_out(&store), None);
    }
}

//! Where a disk sink stores: its file system, the disk below, and the space that is left.

use std::path::{Path, PathBuf};

use super::sync_time::SyncTimes;
use super::tree::Tree;
use crate::sink::volatile;

/// The place of a disk sink.
#[derive(Debug)]
pub struct Store {
    /// Its directory, or where that does not exist yet the nearest one above.
    pub directory: PathBuf,
    /// What is mounted there.
    pub mount: Option<Mount>,
    /// Whether its ext4 has a journal; none for other file systems, and where it cannot be seen.
    pub journal: Option<bool>,
    /// What keeps it in memory, if anything is known that does.
    pub volatile: Option<String>,
    /// `write back` or `write through`, as the disk told the kernel.
    pub write_cache: Option<String>,
    /// Octets of the file system, and those that are free for everybody.
    pub space: Option<(u64, u64)>,
    /// Time per sync, or why it could not be measured; none when it was not tried.
    pub sync: Option<std::io::Result<SyncTimes>>,
}

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: String,
    /// `major:minor` of the device.
    pub device: String,
    /// What is mounted: a device or a server's name.
    pub source: String,
    /// Type of the file system.
    pub kind: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
}

impl Store {
    /// Reads what is to be read, and measures nothing.
    pub(super) fn read(tree: &Tree, configured: &Path) -> Self {
        let directory = nearest_existing(configured);
        let mount = mount_of(&tree.text("proc/self/mountinfo").unwrap_or_default(), &directory);
        let space = rustix::fs::statvfs(&directory).ok();
        Self {
            journal: mount.as_ref().and_then(|mount| has_journal(tree, mount)),
            write_cache: mount.as_ref().and_then(|mount| write_cache(tree, mount)),
            space: space.map(|disk| {
                (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize))
            }),
            volatile: std::fs::File::open(&directory).ok().and_then(volatile::why),
            directory,
            mount,
            sync: None,
        }
    }
}

fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    existing.unwrap_or_else(|| PathBuf::from("/"))
}

/// The mount that a directory is on: the longest one above it, and of several at one place the last.
fn mount_of(mountinfo: &str, directory: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(Mount::parse);
    let above = mounts.filter(|mount| directory.starts_with(&mount.point));
    above.max_by_key(|mount| Path::new(&mount.point).components().count())
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (of_mount, of_file_system) = line.split_once(" - ")?;
        let mut of_mount = of_mount.split(' ').skip(2);
        let (device, point, options) = (of_mount.next()?, of_mount.nth(1)?, of_mount.next()?);
        let mut of_file_system = of_file_system.split(' ');
        let (kind, source) = (of_file_system.next()?, of_file_system.next()?);
        let options = options.split(',').chain(of_file_system.next().unwrap_or_default().split(','));
        Some(Self {
            point: unescaped(point),
            device: device.to_owned(),
            source: unescaped(source),
            kind: kind.to_owned(),
            options: options.map(str::to_owned).collect(),
        })
    }

    pub(super) fn has_option(&self, wanted: &str) -> bool {
        self.options.iter().any(|option| option == wanted)
    }
}

/// The kernel writes space, tab, newline and backslash of a path as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, octet)| text.replace(code, octet))
}

/// jbd2 has a directory for each journal: the disk, a hyphen and the number of the inode, which is 8
/// (ext4(5)).
fn has_journal(tree: &Tree, mount: &Mount) -> Option<bool> {
    let elsewhere = mount.options.iter().any(|option| option.starts_with("journal_"));
    if mount.kind != "ext4" || elsewhere || !tree.exists("proc/fs/jbd2") {
        return None;
    }
    let facts = tree.text(&format!("sys/dev/block/{}/uevent", mount.device))?;
    let disk = facts.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(tree.exists(&format!("proc/fs/jbd2/{}-8", disk.replace('/', "!"))))
}

fn write_cache(tree: &Tree, mount: &Mount) -> Option<String> {
    let by_number = format!("sys/dev/block/{}", mount.device);
    // Btrfs has a number of its own; its source is one of its disks.
    let by_name = format!("sys/class/block/{}", mount.source.rsplit('/').next().unwrap_or_default());
    // A partition has no queue, but the disk above it.
    let places = [&by_number, &by_name].into_iter().flat_map(|place| [place.clone(), format!("{place}/..")]);
    places.into_iter().find_map(|place| tree.text(&format!("{place}/queue/write_cache")))
}

#[cfg(test)]
mod tests {
    use super::super::tree::fake;
    use super::*;

    const MOUNTINFO: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        30 27 7:0 / /mnt/a\\040b rw,noatime shared:1 - ext4 /dev/loop0 rw,data=writeback\n\
        31 27 0:40 / /mnt/btrfs rw - btrfs /dev/sdb2 rw\n";

    #[test]
    fn the_longest_mount_above_counts() {
        let mount = |directory: &str| mount_of(MOUNTINFO, Path::new(directory)).expect("a mount");
        assert_eq!(mount("/mnt/a b/x").source, "/dev/loop0");
        assert_eq!(mount("/mnt/a bc").source, "/dev/vda");
        assert!(mount("/mnt/a b").has_option("noatime") && mount("/mnt/a b").has_option("data=writeback"));
    }

    #[test]
    fn the_disk_below_is_found() {
        let (tree, _directory) = fake::tree(&[
            ("proc/self/mountinfo", MOUNTINFO),
            ("proc/fs/jbd2/vda-8/info", ""),
            ("sys/dev/block/254:0/uevent", "MAJOR=254\nDEVNAME=vda\n"),
            ("sys/dev/block/254:0/queue/write_cache", "write through\n"),
            ("sys/dev/block/7:0/uevent", "DEVNAME=loop0\n"),
            ("sys/class/block/sdb2/partition", "2"),
            ("sys/class/block/queue/write_cache", "write back\n"),
        ]);
        let mount = |directory: &str| mount_of(MOUNTINFO, Path::new(directory)).expect("a mount");
        assert_eq!(write_cache(&tree, &mount("/x")).as_deref(), Some("write through"));
        assert_eq!(has_journal(&tree, &mount("/x")), Some(true));
        assert_eq!(has_journal(&tree, &mount("/mnt/a b")), Some(false));
        assert_eq!(has_journal(&tree, &mount("/mnt/btrfs")), None);
        assert_eq!(write_cache(&tree, &mount("/mnt/btrfs")).as_deref(), Some("write back"));
    }

    #[test]
    fn a_directory_that_is_to_come_is_judged_by_the_one_above() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::read(&Tree::machine(), &directory.path().join("a/b"));
        assert_eq!(store.directory, directory.path().canonicalize().expect("it is there"));
        assert!(store.mount.is_some() && store.space.is_some());
    }
}

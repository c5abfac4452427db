//! Whether what a store keeps is gone when the machine stops: file systems in memory, and what lies on one.
//!
//! This cannot always be found out: a store of which nothing is known may still be in memory, below a virtual
//! machine for instance.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::config;

use super::file_system::mountinfo_of;

/// Types of file systems (`f_type` of statfs(2)) that keep everything in memory.
const IN_MEMORY: [(u64, &str); 3] =
    [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs"), (0x9584_58f6, "hugetlbfs")];

/// What lies on what, at most: an overlay on a loop device on a tmpfs.
const LAYERS_MAX: usize = 8;

/// The major number of RAM disks (`/dev/ram0`).
const RAM_DISK_MAJOR: u32 = 1;

/// What keeps the files of an open directory in memory. `None` when nothing is known of it.
pub fn why(directory: impl AsFd) -> Option<String> {
    why_below(directory, LAYERS_MAX)
}

/// What the operator should know of a disk sink's store, by the directory that is there already.
pub fn warning(config: &config::Sink) -> Option<String> {
    let path = config.facts().directory()?;
    let absolute = std::path::absolute(path).ok()?;
    let directory = absolute.ancestors().find_map(looked_at)?;
    why(directory).map(|why| note(path, &why))
}

/// The same in words, for the log.
pub(super) fn note(path: &Path, why: &str) -> String {
    format!(
        "the store {} is in memory ({why}): mail answered 250 is gone when the machine stops; put `path` on a disk",
        path.display()
    )
}

/// A file that is only asked what it lies on. That needs no right to read it, and no rule of the sandbox.
fn looked_at(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn why_below(file: impl AsFd, layers: usize) -> Option<String> {
    let layers = layers.checked_sub(1)?;
    let file = file.as_fd();
    // The type of the field differs between machines; its 32 bits do not.
    #[allow(clippy::cast_sign_loss)]
    let magic = rustix::fs::fstatfs(file).ok()?.f_type as u64 & 0xffff_ffff;
    if let Some((_, name)) = IN_MEMORY.iter().find(|(number, _)| *number == magic) {
        return Some((*name).to_owned());
    }
    let mount = Mount::parse(&mountinfo_of(file)?)?;
    if mount.kind == "overlay" {
        // As older kernels list it, and newer ones.
        if mount.options.iter().any(|option| matches!(&**option, "volatile" | "fsync=volatile")) {
            return Some("an overlay that is mounted `volatile`, so that syncs do nothing".to_owned());
        }
        // Of a container's overlay the path is another one outside: then there is nothing at it.
        let upper = mount.options.iter().find_map(|option| option.strip_prefix("upperdir="))?;
        return why_below(looked_at(Path::new(upper))?, layers).map(|why| format!("an overlay on {why}"));
    }
    why_of_disk(&mount, layers)
}

/// Of a file system on a block device.
fn why_of_disk(mount: &Mount, layers: usize) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    // Btrfs has a number of its own, so the device is asked.
    let device = fs::metadata(&mount.source).ok().filter(|_| mount.source.starts_with("/dev/"))?.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    if major == RAM_DISK_MAJOR {
        return Some("a RAM disk".to_owned());
    }
    let disk = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let name = fs::read_link(&disk).ok()?.file_name()?.to_str()?.to_owned();
    if name.starts_with("zram") {
        return Some("a zram disk".to_owned());
    }
    let image = fs::read_to_string(disk.join("loop/backing_file")).ok()?;
    why_below(looked_at(Path::new(image.trim_end()))?, layers).map(|why| format!("an image on {why}"))
}

/// What a line of /proc/self/mountinfo (proc_pid_mountinfo(5)) tells of a file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    source: String,
    /// Of the file system, not of the mount.
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_once(" - ")?.1.split(' ');
        // The kernel writes a space as three octal digits.
        let mut field = || fields.next().map(|field| field.replace("\\040", " "));
        let (kind, source, options) = (field()?, field()?, field()?);
        Some(Self { kind, source, options: options.split(',').map(str::to_owned).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SinkKind;
    use std::fs::File;

    #[test]
    fn a_tmpfs_is_in_memory_and_the_sources_are_not() {
        assert_eq!(why(File::open("/dev/shm").expect("a tmpfs")).as_deref(), Some("tmpfs"));
        let mut config = config::Config::embedded_default().sink;
        config.kind = SinkKind::Spool(config::Spool {
            path: "/dev/shm/a/b".into(),
            segment_bytes: 1,
            direct_writes: true,
        });
        let told = warning(&config).expect("a warning");
        assert!(told.contains("/dev/shm/a/b is in memory (tmpfs)"), "{told}");
        config.kind = SinkKind::Discard;
        assert_eq!(warning(&config), None);
    }

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line =
            "93 27 0:50 / /m\\040x rw,relatime shared:3 - overlay over\\040it rw,upperdir=/a\\040b,volatile";
        let mount = Mount::parse(line).expect("a mount");
        assert_eq!((&*mount.kind, &*mount.source), ("overlay", "over it"));
        assert_eq!(mount.options, ["rw", "upperdir=/a b", "volatile"]);
        assert_eq!(Mount::parse("nonsense"), None);
    }
}

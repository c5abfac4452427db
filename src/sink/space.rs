//! The space that is left on a disk sink's file system beyond the reserve, so that MAIL can be refused before
//! the disk is full.
//!
//! Shards only read a number. A thread of its own asks the file system, because a hung disk answers that
//! question late or never.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use super::file_limit;
use super::report::Report;

/// How old the number may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most that is kept in reserve unless the operator says otherwise.
const RESERVE_BYTES_DEFAULT: u64 = 1 << 30;

/// Percentages of a file system in use at which the operator is told.
const LEVELS: [u64; 2] = [75, 90];

/// Octets that messages may still take. Shared by all shards and the spiller.
#[derive(Debug)]
pub struct Space {
    /// Beyond the reserve, as of the last look; less what spill files have taken since then.
    beyond: AtomicU64,
    /// The most that one file may have.
    file_bytes_max: AtomicU64,
    /// What is kept in reserve; [`BY_RULE`] for the rule of `space_reserve`.
    reserve: AtomicU64,
    /// Looks that the file system answered.
    looks: AtomicU64,
    /// [`Fault`] as of the last look.
    fault: AtomicU8,
}

/// Why nothing can be written into a store, as far as its file system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// It is mounted read-only, as ext4 does by itself after an error of the disk.
    ReadOnly = 1,
    /// Its directory is not there any more.
    Gone,
    /// There is another directory in its place.
    Another,
}

/// No reserve that anybody asks for is as large.
const BY_RULE: u64 = u64::MAX;

impl Space {
    /// With so many octets beyond the reserve, for ever.
    pub fn fixed(beyond: u64) -> Self {
        Self {
            beyond: AtomicU64::new(beyond),
            file_bytes_max: AtomicU64::new(u64::MAX),
            looks: AtomicU64::new(0),
            fault: AtomicU8::new(0),
            reserve: AtomicU64::new(BY_RULE),
        }
    }

    /// Watches the file system of a sink's root until the value is dropped. Without a reserve, the rule of
    /// `space_reserve` gives it.
    pub fn watch(root: &Path, reserve: Option<u64>, report: Arc<dyn Report>) -> io::Result<Arc<Self>> {
        let space = Arc::new(Self::fixed(u64::MAX));
        space.keep_in_reserve(reserve);
        let mut watch = Watch::new(root, report, Arc::downgrade(&space));
        watch.look(&space);
        let run = move || {
            loop {
                std::thread::sleep(LOOK_EVERY);
                let Some(space) = watch.space.upgrade() else { break };
                watch.look(&space);
            }
        };
        std::thread::Builder::new().name("ringmx-space".to_owned()).spawn(run)?;
        Ok(space)
    }

    /// From the next look on so many octets are kept in reserve; none for the rule of `space_reserve`.
    pub fn keep_in_reserve(&self, reserve: Option<u64>) {
        self.reserve.store(reserve.unwrap_or(BY_RULE), Ordering::Relaxed);
    }

    fn reserve(&self) -> Option<u64> {
        Some(self.reserve.load(Ordering::Relaxed)).filter(|reserve| *reserve != BY_RULE)
    }

    /// Whether a message of this declared size may begin; one of unknown size needs only that something is
    /// left.
    pub fn has_room(&self, size: Option<u64>) -> bool {
        let beyond = self.beyond_reserve();
        let most = beyond.min(self.file_bytes_max.load(Ordering::Relaxed));
        beyond > 0 && size.unwrap_or_default() <= most
    }

    /// Octets beyond the reserve.
    pub fn beyond_reserve(&self) -> u64 {
        self.beyond.load(Ordering::Relaxed)
    }

    /// Takes so many octets of them, which are about to be written. False, and nothing taken, when there are
    /// fewer. Without this a fast disk could be filled between two looks.
    pub fn take(&self, bytes: u64) -> bool {
        let take = |now: u64| match now {
            // A file system without a size.
            u64::MAX => Some(now),
            _ => now.checked_sub(bytes),
        };
        self.beyond.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// So many octets are free again.
    pub fn give_back(&self, bytes: u64) {
        let add = |now: u64| Some(now.saturating_add(bytes));
        let _ = self.beyond.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many looks the file system has answered: while the number stands still, it does not answer. None
    /// where nobody looks.
    pub fn looks(&self) -> Option<u64> {
        Some(self.looks.load(Ordering::Relaxed)).filter(|looks| *looks > 0)
    }

    /// What stands in the way of writing.
    pub fn fault(&self) -> Option<Fault> {
        [Fault::ReadOnly, Fault::Gone, Fault::Another]
            .into_iter()
            .find(|fault| *fault as u8 == self.fault.load(Ordering::Relaxed))
    }

    fn answered(&self, fault: Option<Fault>) {
        self.fault.store(fault.map_or(0, |fault| fault as u8), Ordering::Relaxed);
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    fn see(&self, beyond: u64, file_bytes_max: u64) {
        self.beyond.store(beyond, Ordering::Relaxed);
        self.file_bytes_max.store(file_bytes_max, Ordering::Relaxed);
    }
}

/// The thread's own state.
struct Watch {
    root: PathBuf,
    report: Arc<dyn Report>,
    space: Weak<Space>,
    is_full: bool,
    /// The last of [`LEVELS`] that was told; 0 below all.
    level: u64,
    /// Device and inode of the root when the watch began; none where it could not be asked.
    root_was: Option<(u64, u64)>,
    /// What is at the root's path now.
    root_is: RootIs,
}

/// What is at the path of the store that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RootIs {
    TheSame,
    Another,
    Gone,
}

impl Watch {
    fn new(root: &Path, report: Arc<dyn Report>, space: Weak<Space>) -> Self {
        Self {
            root: root.to_owned(),
            report,
            space,
            is_full: false,
            level: 0,
            root_was: identity(root).ok(),
            root_is: RootIs::TheSame,
        }
    }

    /// The sink keeps its root open, so it goes on in a directory that was moved away or mounted over, where
    /// nobody looks for mail. That is told, once each time.
    fn look_at_root(&mut self) {
        let Some(was) = self.root_was else { return };
        let now = match identity(&self.root) {
            Ok(now) if now == was => RootIs::TheSame,
            Ok(_) => RootIs::Another,
            Err(Errno::NOENT | Errno::NOTDIR) => RootIs::Gone,
            // It does not answer now.
            Err(_) => return,
        };
        if std::mem::replace(&mut self.root_is, now) == now {
            return;
        }
        let path = self.root.display();
        self.report.note(&match now {
            RootIs::TheSame => format!("the store {path} is the directory again that was opened at start"),
            RootIs::Another => format!(
                "the store {path} is another directory than at start: it was moved, or something was mounted over it; mail goes \
                 on into the old one until ringmx is started again"
            ),
            RootIs::Gone => format!(
                "the store {path} is gone: where it was moved mail goes on into it, where it was removed mail is answered 451; \
                 put it back, or start ringmx again"
            ),
        });
    }

    /// Asks the file system. When it does not answer, what was known stays: the sink itself will find out.
    fn look(&mut self, space: &Space) {
        self.look_at_root();
        let disk = match rustix::fs::statvfs(&self.root) {
            Ok(disk) => disk,
            Err(Errno::NOENT | Errno::NOTDIR) => return space.answered(Some(Fault::Gone)),
            Err(_) => return,
        };
        space.answered(match self.root_is {
            RootIs::Gone => Some(Fault::Gone),
            RootIs::Another => Some(Fault::Another),
            RootIs::TheSame if disk.f_flag.contains(StatVfsMountFlags::RDONLY) => Some(Fault::ReadOnly),
            RootIs::TheSame => None,
        });
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        // Without the blocks that only root may take.
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Asked each time: prlimit(1) may change it.
        self.update(total, free, file_limit::bytes_max().unwrap_or(u64::MAX), space);
    }

    /// No message may take more than `file_bytes_max`, however much is free.
    fn update(&mut self, total: u64, free: u64, file_bytes_max: u64, space: &Space) {
        // A file system without a size (FUSE and network ones may have none) tells nothing of its space: no
        // limit, and the sink itself will find out.
        if total == 0 {
            space.see(u64::MAX, file_bytes_max);
            self.is_full = false;
            return;
        }
        let reserve = reserve_of(space.reserve(), total);
        let beyond = beyond(free, reserve, self.is_full);
        space.see(beyond, file_bytes_max);
        let (mib, reserve_mib, path) = (free >> 20, reserve >> 20, self.root.display());
        if self.is_full != (beyond == 0) {
            self.is_full = beyond == 0;
            self.report.note(&if self.is_full {
                format!("no space: {mib} MiB are free at {path}, which is within space_reserve ({reserve_mib} MiB); MAIL is answered 452 until there is more")
            } else {
                format!("space again: {mib} MiB are free at {path}; mail is accepted")
            });
        }
        let used = 100 - free.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
        let level = LEVELS.into_iter().rfind(|level| used >= *level).unwrap_or(0);
        if level > self.level {
            self.report.note(&format!("the file system of {path} is {used} % full; {mib} MiB are free"));
        }
        // One per cent less before it is told again.
        if level > self.level || used + 1 < self.level {
            self.level = level;
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> Result<(u64, u64), Errno> {
    rustix::fs::stat(path).map(|facts| (facts.st_dev, facts.st_ino))
}

/// The reserve on a file system of so many octets. Unless configured, the lesser of 1 GiB and a twentieth of
/// the file system: small disks work, and large ones keep no more than others need.
pub fn reserve_of(configured: Option<u64>, total: u64) -> u64 {
    configured.unwrap_or((total / 20).min(RESERVE_BYTES_DEFAULT))
}

/// What is left beyond the reserve. Once nothing was, it takes a little more than the reserve, or admission
/// would flap.
fn beyond(free: u64, reserve: u64, was_full: bool) -> u64 {
    let beyond = free.saturating_sub(reserve);
    if was_full && beyond <= reserve / 16 { 0 } else { beyond }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sink::report::Site;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Report for Notes {
        fn machine_error(&self, _: &str, _: Site<'_>, _: &io::Error) {}

        fn note(&self, text: &str) {
            self.0.lock().expect("no panic").push(text.to_owned());
        }
    }

    #[test]
    fn a_message_needs_space_beyond_the_reserve() {
        let space = Space::fixed(1000);
        assert!(space.has_room(None) && space.has_room(Some(0)) && space.has_room(Some(1000)));
        assert!(!space.has_room(Some(1001)) && !space.has_room(Some(u64::MAX)));
        let full = Space::fixed(0);
        assert!(!full.has_room(None) && !full.has_room(Some(0)));
    }

    #[test]
    fn what_is_taken_between_two_looks_counts_until_the_next_one() {
        let space = Space::fixed(1000);
        assert!(space.take(600) && !space.take(401) && space.take(400) && !space.take(1));
        space.give_back(5);
        assert!(space.take(5));
        assert!(!space.has_room(None) && space.take(0));
        space.see(50, u64::MAX);
        assert!(space.has_room(Some(50)) && space.take(50));
        let endless = Space::fixed(u64::MAX);
        endless.give_back(7);
        assert!(endless.take(u64::MAX) && endless.take(1 << 40));
    }

    #[test]
    fn the_default_reserve_leaves_small_disks_useful() {
        assert_eq!(reserve_of(None, 100 << 20), 5 << 20);
        assert_eq!(reserve_of(None, 1 << 40), 1 << 30);
    }

    #[test]
    fn a_full_disk_is_told_once_and_so_is_its_end() {
        let notes = Arc::new(Notes::default());
        let space = Space::fixed(u64::MAX);
        let report = Arc::clone(&notes) as Arc<dyn Report>;
        space.keep_in_reserve(Some(1600));
        let mut watch = Watch::new(Path::new("/spool"), report, Weak::new());
        let mut at = |free| {
            watch.update(10_000, free, u64::MAX, &space);
            space.has_room(None)
        };
        assert!(at(5000) && at(1601));
        assert!(!at(1600) && !at(0) && !at(1601) && !at(1700));
        assert!(at(1701) && at(4000));
        let notes = notes.0.lock().expect("no panic");
        let begins: Vec<_> =
            notes.iter().map(|note| note.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(begins, ["the file", "no space:", "the file", "space again:"]);
    }

    #[test]
    fn a_file_system_without_a_size_sets_no_limit() {
        let notes = Arc::new(Notes::default());
        let space = Space::fixed(u64::MAX);
        let mut watch = Watch::new(Path::new("/spool"), Arc::clone(&notes) as Arc<dyn Report>, Weak::new());
        for reserve in [None, Some(0), Some(1 << 30)] {
            space.keep_in_reserve(reserve);
            watch.update(0, 0, u64::MAX, &space);
            assert!(space.has_room(None) && space.has_room(Some(1 << 40)), "{reserve:?}");
        }
        assert!(notes.0.lock().expect("no panic").is_empty());
        watch.update(0, 0, 1000, &space);
        assert!(space.has_room(Some(1000)) && !space.has_room(Some(1001)));
    }

    #[test]
    fn a_root_that_is_moved_or_replaced_is_told_once_and_so_is_its_return() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("store")).expect("a store");
        let notes = Arc::new(Notes::default());
        let report = Arc::clone(&notes) as Arc<dyn Report>;
        let mut watch = Watch::new(&path("store"), report, Weak::new());
        let mut told = || {
            watch.look_at_root();
            watch.look_at_root();
            std::mem::take(&mut *notes.0.lock().expect("no panic")).join("\n")
        };
        assert_eq!(told(), "");
        std::fs::rename(path("store"), path("moved")).expect("moved");
        assert!(told().ends_with("is gone: where it was moved mail goes on into it, where it was removed mail is answered 451; put it back, or start ringmx again"));
        std::fs::create_dir(path("store")).expect("another");
        assert_eq!(told().matches("is another directory than at start").count(), 1);
        std::fs::remove_dir(path("store")).expect("removed");
        std::fs::rename(path("moved"), path("store")).expect("moved back");
        assert!(told().ends_with("is the directory again that was opened at start"));
    }

    #[test]
    fn no_message_is_larger_than_a_file_may_be() {
        let notes = Arc::new(Notes::default());
        let space = Space::fixed(u64::MAX);
        space.keep_in_reserve(Some(100));
        let mut watch = Watch::new(Path::new("/spool"), Arc::clone(&notes) as Arc<dyn Report>, Weak::new());
        watch.update(10_000, 9_000, 1000, &space);
        assert!(space.has_room(None) && space.has_room(Some(1000)) && !space.has_room(Some(1001)));
        assert!(notes.0.lock().expect("no panic").is_empty(), "the disk is not full");
    }

    #[test]
    fn a_real_file_system_has_room_and_none_beyond_an_endless_reserve() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let report = || Arc::new(Notes::default()) as Arc<dyn Report>;
        let space = Space::watch(directory.path(), Some(0), report()).expect("a thread");
        assert!(space.has_room(None));
        let space = Space::watch(directory.path(), Some(u64::MAX - 1), report()).expect("a thread");
        assert!(!space.has_room(None));
    }
}

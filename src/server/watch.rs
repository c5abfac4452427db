//! Notices by itself that a file has changed that is read again without being told to: recipients,
//! aliases and certificates.
//!
//! A thread of its own looks, because a disk may hang.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Sender;
use rustix::time::{ClockId, clock_gettime};

use crate::config::Config;

/// How often the files are looked at. One that has changed is read when it looks the same twice, so within
/// two of these.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is read again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// The files of recipients and aliases.
    Recipients,
    /// The files of certificates.
    Certificates,
}

/// By what a changed file is told from one that is the same. The time of its last change of any kind tells of
/// permissions, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` for what cannot be looked at. Why is told when it is read.
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        Some(Self {
            inode: facts.ino(),
            bytes: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    }

    /// The same, and `None` for a file that may still be written to in the tick that it was written in last:
    /// it would look the same.
    fn before(path: &Path, read_at: SystemTime) -> Option<Self> {
        Self::of(path).filter(|stamp| !stamp.is_since(read_at))
    }

    /// Whether it was written to at this time or later.
    fn is_since(&self, time: SystemTime) -> bool {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanoseconds) = self.changed;
        u64::try_from(seconds)
            .is_ok_and(|seconds| (seconds, nanoseconds) >= (since.as_secs(), i64::from(since.subsec_nanos())))
    }
}

/// The clock of the files' times: it goes in ticks, so that it can be behind any other. What is written from
/// now on has this time or a later one.
pub(super) fn now() -> SystemTime {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// How a file looked when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    watched: Watched,
    path: PathBuf,
    /// `None`: not readable, or it may have changed while it was read.
    stamp: Option<Stamp>,
}

/// The files as they were when they were read last, well or not.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Vec<Seen>>);

impl Watch {
    /// Watches until the value is dropped, and tells of what has changed.
    pub(super) fn start(tell: Sender<Watched>) -> std::io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let weak = Arc::downgrade(&watch);
        let run = move || Self::run(&weak, &tell);
        std::thread::Builder::new().name("ringmx-files".to_owned()).spawn(run)?;
        Ok(watch)
    }

    /// From now on these files. Asks no disk.
    pub(super) fn replace(&self, seen: Vec<Seen>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// The files of this configuration. They were read at this time of [`now`] or later.
    pub(super) fn look_at(config: &Config, read_at: SystemTime) -> Vec<Seen> {
        let lists = config.recipients.iter().chain(&config.aliases);
        let recipients = lists.map(|path| (Watched::Recipients, path));
        let certificates = config.tls.certificates.iter().flat_map(|one| [&one.chain, &one.key]);
        let files = recipients.chain(certificates.map(|path| (Watched::Certificates, path)));
        let seen = files.map(|(watched, path)| Seen {
            watched,
            path: path.clone(),
            stamp: Stamp::before(path, read_at),
        });
        seen.collect()
    }

    /// These are about to be read.
    pub(super) fn see(&self, watched: Watched) {
        let read_at = now();
        let mut seen = self.files();
        for one in seen.iter_mut().filter(|one| one.watched == watched) {
            one.stamp = Stamp::before(&one.path, read_at);
        }
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in seen {
            // Others may have come in the meantime.
            for known in files.iter_mut().filter(|known| known.path == one.path) {
                known.stamp = one.stamp;
            }
        }
    }

    fn run(watch: &Weak<Self>, tell: &Sender<Watched>) {
        let mut looked: Vec<Seen> = Vec::new();
        loop {
            std::thread::sleep(LOOK_EVERY);
            let Some(watch) = watch.upgrade() else { return };
            let files = watch.files();
            drop(watch);
            let now: Vec<Seen> =
                files.iter().map(|one| Seen { stamp: Stamp::of(&one.path), ..one.clone() }).collect();
            for watched in [Watched::Recipients, Watched::Certificates] {
                let of = |all: &[Seen]| -> Vec<Seen> {
                    all.iter().filter(|one| one.watched == watched).cloned().collect()
                };
                // Certificate and key are written one after the other.
                let is_stable = of(&looked) == of(&now);
                if of(&files) != of(&now) && is_stable && tell.send(watched).is_err() {
                    return;
                }
            }
            looked = now;
        }
    }

    fn files(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_to_in_the_tick_of_its_reading_is_not_taken_for_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("recipients");
        for _ in 0..100 {
            let read_at = now();
            fs::write(&path, "a@x.test\n").expect("written");
            assert_eq!(Stamp::before(&path, read_at), None);
        }
        let next = now() + Duration::from_millis(100);
        assert_eq!(Stamp::before(&path, next), Stamp::of(&path));
    }
}

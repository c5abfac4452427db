//! A reader's end of the horizon.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, Timespec, flock};
use rustix::io::Errno;
use rustix::thread::futex;

use super::mapping::{FILE_BYTES, Mapping};
use super::page::DurableEnd;
use super::{NAME, boot_nonce};

/// How often a page is looked for where there was none to believe.
const OPEN_EVERY: Duration = Duration::from_millis(250);

/// What a spool's receiver says of it, if one says anything.
#[derive(Debug)]
pub struct Horizon {
    /// The file.
    path: PathBuf,
    opened: Option<Opened>,
    /// When it was tried last to open it.
    tried_at: Option<Instant>,
    /// The change that was seen last; none where no page is believed.
    seen: Option<u32>,
}

/// A page that was believed when it was opened.
#[derive(Debug)]
struct Opened {
    mapping: Mapping,
    file: File,
    boot: u64,
}

impl Horizon {
    /// Of the spool in this directory. Nothing is opened yet.
    pub fn new(spool: &Path) -> Self {
        Self { path: spool.join(NAME), opened: None, tried_at: None, seen: None }
    }

    /// How far the log is durable. None where no receiver that lives says so: then only a sync tells.
    pub fn look(&mut self) -> Option<DurableEnd> {
        let mut said = self.opened.as_ref().and_then(Opened::read);
        if said.is_none() {
            // Its receiver has gone, and there may be another one with a page of its own.
            let is_new = self.opened.take().is_some();
            if is_new || self.tried_at.is_none_or(|at| at.elapsed() >= OPEN_EVERY) {
                self.tried_at = Some(Instant::now());
                self.opened = Opened::open(&self.path);
                said = self.opened.as_ref().and_then(Opened::read);
            }
        }
        self.seen = said.map(|(_, changes)| changes);
        said.map(|(end, _)| end)
    }

    /// Sleeps until the page is another one than at the last look, but no longer than this; false, at once,
    /// where there was none to believe.
    pub fn wait(&self, at_most: Duration) -> bool {
        let Some((opened, seen)) = self.opened.as_ref().zip(self.seen) else { return false };
        if opened.mapping.may_sleep(seen)
            && let Ok(time) = Timespec::try_from(at_most)
        {
            // It has changed, the time is over, or a signal came: one looks again.
            let _ = futex::wait(opened.mapping.bell(), futex::Flags::empty(), seen, Some(&time));
        }
        true
    }
}

impl Opened {
    /// None where there is no page to believe.
    fn open(path: &Path) -> Option<Self> {
        let boot = boot_nonce()?;
        // To write, because a reader says there that it sleeps.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let facts = file.metadata().ok()?;
        if !facts.is_file() || facts.len() != FILE_BYTES as u64 || !is_held(&file) {
            return None;
        }
        let mapping = Mapping::of(&file).ok()?;
        Some(Self { mapping, file, boot })
    }

    /// What the page says, and the change by which it does. First what it says, then whether it is to be
    /// believed: who holds the lock then held it before, too, because nobody takes it later.
    fn read(&self) -> Option<(DurableEnd, u32)> {
        let said = self.mapping.read()?;
        (self.mapping.is_of(self.boot) && is_held(&self.file)).then_some(said)
    }
}

/// Whether somebody holds the lock of the page. It is asked for together with others, so that readers do not
/// take each other for a receiver.
fn is_held(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => true,
        Ok(()) => {
            let _ = flock(file, FlockOperation::Unlock);
            false
        }
        Err(_) => false,
    }
}

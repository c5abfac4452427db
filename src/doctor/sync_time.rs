//! How long a sync takes: the one thing that no file of the system tells.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of these the median is taken.
const SYNCS_MAX: usize = 200;

/// No further sync begins after this long. One that hangs is waited for: it cannot be taken back.
const TIME_MAX: Duration = Duration::from_secs(1);

/// A small batch.
const WRITE_BYTES: usize = 4096;

/// Written before, so that a sync has no sizes and extents to write, as in a segment of the spool.
const FILE_BYTES: usize = 1 << 20;

/// What was measured: a write of 4 KiB into a pre-written file and its `fdatasync`, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncTimes {
    /// Number of syncs.
    pub count: usize,
    /// Half of them took no longer.
    pub median: Duration,
    /// The one that took longest.
    pub slowest: Duration,
}

/// Measures in a directory. The temporary file is removed, whatever happens but a kill.
pub(super) fn measure(directory: &Path) -> io::Result<SyncTimes> {
    let temporary = Temporary::create(directory)?;
    let file = &temporary.file;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let octets = [b'x'; WRITE_BYTES];
    let (start, mut times) = (Instant::now(), Vec::with_capacity(SYNCS_MAX));
    while times.len() < SYNCS_MAX && (times.is_empty() || start.elapsed() < TIME_MAX) {
        let before = Instant::now();
        let offset = (times.len() * WRITE_BYTES) % FILE_BYTES;
        file.write_all_at(&octets, offset as u64)?;
        file.sync_data()?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(SyncTimes { count: times.len(), median, slowest: times.last().copied().unwrap_or_default() })
}

/// A file that goes with the value.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(directory: &Path) -> io::Result<Self> {
        // It has a name, because Btrfs writes no file back that has none.
        let path = directory.join(format!(".ringmx-doctor-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing can be done about a file that stays, and its name says whose it was.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_timed_and_nothing_stays() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let times = measure(directory.path()).expect("a measure");
        assert!((1..=SYNCS_MAX).contains(&times.count) && times.median <= times.slowest);
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
        assert!(measure(&directory.path().join("none")).is_err());
    }
}

//! Where spill files are made, and how.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::file_system::has_no_unnamed_files;

/// Where mail data goes that is not to stay in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpillTo {
    /// To spill files in this directory.
    Directory(PathBuf),
    /// Nowhere: the sink reads no mail data, so it need not be kept.
    Nowhere,
}

/// A file of mode 0600 without a name. It can get one where the file system has such files from the start.
pub(super) fn open(directory: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        // The file system has no files without a name: one is taken and removed at once.
        Err(error) if has_no_unnamed_files(error) => {}
        other => return Ok(other?.into()),
    }
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let path = directory.join(format!(".ringmx-spill-{:016x}", u64::from_ne_bytes(random)));
    let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
    rustix::fs::unlinkat(rustix::fs::CWD, &path, AtFlags::empty())?;
    Ok(file.into())
}

//! Where lines go: standard error, or a file that is opened again when it was moved away.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::level::Form;
use crate::config::LogFormat;

/// Where lines go.
#[derive(Debug)]
pub enum Output {
    /// Standard error.
    Stderr,
    /// A file, which only grows: whoever else writes there loses nothing.
    File {
        /// Where it was opened.
        path: PathBuf,
        /// The file.
        file: File,
    },
}

impl Output {
    /// A file at this path, or a character device. It is made where there is none, for its owner and group.
    /// A symbolic link is an error: root opens it at the start, and whoever may write in its directory could
    /// name any file of this machine there. So is all else, such as a named pipe.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::File { path: path.to_owned(), file: open_file(path)? })
    }

    /// The open file once more; none of standard error.
    pub fn file(&self) -> io::Result<Option<File>> {
        match self {
            Self::Stderr => Ok(None),
            Self::File { file, .. } => file.try_clone().map(Some),
        }
    }

    /// Opens the file again at its path. On an error it goes on with the one that it has.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, .. } = self {
            *self = Self::open(path)?;
        }
        Ok(())
    }

    /// Its path; none of standard error.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stderr => None,
            Self::File { path, .. } => Some(path),
        }
    }

    /// How lines look there.
    pub(super) fn form(&self, format: LogFormat) -> Form {
        match self {
            Self::Stderr => Form::on_stderr(format),
            Self::File { .. } => Form::in_a_file(format),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let is_none = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    // Without `NONBLOCK` a named pipe that nobody reads would be waited for.
    let how = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let how = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, how, Mode::from_raw_mode(0o640)) {
        Ok(file) => file,
        Err(Errno::LOOP) => return Err(is_none("it is a symbolic link, which is not followed")),
        Err(Errno::NXIO) => return Err(is_none(NO_FILE)),
        Err(error) => return Err(error.into()),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => {}
        FileType::Directory
        | FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::BlockDevice
        | FileType::Unknown => return Err(is_none(NO_FILE)),
    }
    // A slow terminal is waited for; that is what the writer has a thread for.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file.into())
}

const NO_FILE: &str = "it is neither a regular file nor a character device";

/// Whether standard error is a regular file, which may be too large to take more.
pub fn is_a_file() -> bool {
    let facts = rustix::fs::fstat(io::stderr());
    facts.is_ok_and(|facts| FileType::from_raw_mode(facts.st_mode).is_file())
}

impl Write for Output {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().write(octets),
            Self::File { file, .. } => file.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

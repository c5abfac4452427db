//! Where lines go: standard error, or a file that is opened again when it was moved away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    /// A file at this path. It is made where there is none, for its owner and group.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self::File { path: path.to_owned(), file })
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

/// Whether standard error is a regular file, which may be too large to take more.
pub fn is_a_file() -> bool {
    let facts = rustix::fs::fstat(io::stderr());
    facts.is_ok_and(|facts| rustix::fs::FileType::from_raw_mode(facts.st_mode).is_file())
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

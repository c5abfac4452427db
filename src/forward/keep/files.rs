//! What is on the disk, to read: a directory, or what a simulated disk holds.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use crate::sink::executor::simulated::{Image, Simulated};
use crate::sink::file_system::{Named, open_own_at};
use crate::sink::spool::scan::ReadAt;

/// Files below one root, to read.
pub trait Files {
    /// The files of a directory with their octets, in any order. None where there is no such directory.
    fn names(&self, directory: &str) -> io::Result<Vec<(String, u64)>>;

    /// Opens a file; an error of kind `NotFound` where there is none.
    fn open(&self, directory: &str, name: &str) -> io::Result<Opened>;

    /// The path of the root, for the log.
    fn root(&self) -> PathBuf;
}

/// A file that was opened to read.
#[derive(Debug)]
pub enum Opened {
    /// Of the kernel.
    File(File),
    /// Of a simulated disk.
    Octets(Vec<u8>),
}

impl ReadAt for Opened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => ReadAt::read_at(file, buffer, offset),
            Self::Octets(octets) => octets.as_slice().read_at(buffer, offset),
        }
    }
}

impl Opened {
    /// Octets of the file.
    pub fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Octets(octets) => Ok(octets.len() as u64),
        }
    }

    /// So many octets from a place on; an error of kind `UnexpectedEof` where there are fewer.
    pub fn read_exact_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        octets.try_reserve_exact(bytes).map_err(io::Error::other)?;
        octets.resize(bytes, 0);
        let mut filled = 0;
        while filled < bytes {
            match self.read_at(&mut octets[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(octets)
    }
}

/// A directory.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn names(&self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        let path = self.0.join(directory);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.named(&path)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.named(&path)?;
            // Names of other forms are not ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(facts) => names.push((name, facts.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).named(&path),
            }
        }
        Ok(names)
    }

    fn open(&self, directory: &str, name: &str) -> io::Result<Opened> {
        open_own_at(&self.0.join(directory).join(name)).map(Opened::File)
    }

    fn root(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Files for Image {
    fn names(&self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        let below = |path: &str| {
            let (found, name) = path.rsplit_once('/').unwrap_or(("", path));
            (found == directory).then(|| name.to_owned())
        };
        Ok(self.iter().filter_map(|(path, octets)| Some((below(path)?, octets.len() as u64))).collect())
    }

    fn open(&self, directory: &str, name: &str) -> io::Result<Opened> {
        let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        self.get(&path).cloned().map(Opened::Octets).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn root(&self) -> PathBuf {
        PathBuf::from("/simulated")
    }
}

/// What a running process sees.
impl Files for Simulated {
    fn names(&self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        Ok(Self::names(self, directory))
    }

    fn open(&self, directory: &str, name: &str) -> io::Result<Opened> {
        self.read(directory, name).map(Opened::Octets).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn root(&self) -> PathBuf {
        PathBuf::from("/simulated")
    }
}

//! The disk as a running process sees it: names, open files, and what each operation does to them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::fault::{Fault, Faults};
use super::history::{Event, History, Node, Object};
use crate::sink::plan::{Action, FilePath};

/// Octets that reach the disk, or not, as one.
const SECTOR_BYTES: usize = 512;

/// A disk as a running process sees it, and its history.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) history: History,
    /// What a running process sees: names in each directory but the root's own, which is always there.
    names: BTreeMap<(String, String), Node>,
    /// Files that are open, and their numbers.
    pub(super) open: HashMap<Rc<FilePath>, usize>,
    /// The most files that were open at a time.
    pub(super) most_open: usize,
    /// By number.
    files: Vec<Extent>,
    /// Whether the journal was given up.
    given_up: bool,
    /// Operations so far.
    pub(super) performed: usize,
    /// What goes wrong.
    pub(super) faults: Option<Faults>,
    /// State of the generator that orders chains.
    pub(super) random: u64,
}

/// How far a file was written, and how far that is synced: writes below that change data and nothing that
/// goes through the journal.
#[derive(Clone, Copy, Default)]
struct Extent {
    written: usize,
    synced: usize,
}

impl Disk {
    /// Does what an action asks for, or what a fault makes of it.
    pub(super) fn perform(&mut self, action: &Action<'_>) -> io::Result<()> {
        let number = self.performed;
        self.performed += 1;
        match self.faults.as_mut().and_then(|faults| faults(number, action)) {
            None if self.given_up => self.apply_without_journal(action),
            None => self.apply(action),
            Some(Fault::Lie) => Ok(()),
            Some(Fault::GiveUp) => {
                self.given_up = true;
                self.apply_without_journal(action)
            }
            Some(Fault::Error(number)) => {
                self.apply_in_part(action);
                Err(io::Error::from_raw_os_error(number))
            }
        }
    }

    /// What a failing operation may leave.
    fn apply_in_part(&mut self, action: &Action<'_>) {
        match action {
            Action::Write(file, offset, slices) => {
                let bytes = slices.concat();
                if let Some(file) = self.open.remove(file) {
                    self.write(file, *offset, &bytes[..bytes.len() / 2]);
                }
            }
            // A mode and a group fail between their two system calls.
            Action::StartWriteback(file) | Action::AwaitWriteback(file) | Action::Permit(file, _) => {
                self.open.remove(file);
            }
            Action::SyncFile(file) | Action::SyncFileWhole(file) => {
                if let Some(file) = self.open.remove(file) {
                    self.history.push(Event::Sync { object: Object::File(file), failed: true });
                    self.history.push(Event::Sync { object: Object::Inode(file), failed: true });
                }
            }
            Action::SyncDirectory(directory) => {
                self.history
                    .push(Event::Sync { object: Object::Directory(directory.to_string()), failed: true });
            }
            Action::SyncFilesystem => {
                self.history.push(Event::Sync { object: Object::FileSystem, failed: true });
            }
            Action::Link(..) if self.random().is_multiple_of(2) => {
                drop(self.apply(action));
                self.open.retain(|file, _| action.path() != file.to_string());
            }
            Action::Rename(from, to) => match self.random() % 3 {
                0 => drop(self.apply(action)),
                // A link was made, and the old name not removed (`optional::rename`).
                1 => {
                    if let Some(node) = self.node(&from.directory, &from.name)
                        && self.check_directory(&to.directory).is_ok()
                        && self.check_free(to).is_ok()
                    {
                        self.enter(&to.directory, &to.name, node);
                    }
                }
                _ => {}
            },
            // Whether it happened nobody knows.
            Action::Replace(..) if self.random().is_multiple_of(2) => drop(self.apply(action)),
            // Whatever it says, the file is closed.
            Action::Close(_) => drop(self.apply(action)),
            Action::MakeDirectory(_)
            | Action::PermitDirectory(..)
            | Action::Create(_)
            | Action::Open(_)
            | Action::Link(..)
            | Action::Reserve(..)
            | Action::Truncate(..)
            | Action::Replace(..)
            | Action::Remove(_)
            | Action::ProbeJournal(_) => {}
        }
    }

    /// What the file system does that gave up its journal.
    fn apply_without_journal(&mut self, action: &Action<'_>) -> io::Result<()> {
        match action {
            Action::Open(_) | Action::Close(_) => self.apply(action),
            Action::Write(file, offset, slices) => {
                let end = to_usize(*offset) + slices.iter().map(|slice| slice.len()).sum::<usize>();
                if end > self.files[self.opened(file)?].synced {
                    return Err(io::Error::from_raw_os_error(libc::EROFS));
                }
                self.apply(action)
            }
            Action::SyncFile(file) | Action::SyncFileWhole(file) => {
                let file = self.opened(file)?;
                if self.files[file].written == self.files[file].synced {
                    self.history.push(Event::Sync { object: Object::File(file), failed: false });
                }
                self.history.push(Event::Sync { object: Object::FileSystem, failed: true });
                Ok(())
            }
            Action::SyncDirectory(_) | Action::SyncFilesystem => {
                self.history.push(Event::Sync { object: Object::FileSystem, failed: true });
                Ok(())
            }
            Action::StartWriteback(_) | Action::AwaitWriteback(_) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Action::MakeDirectory(_)
            | Action::PermitDirectory(..)
            | Action::Create(_)
            | Action::Permit(..)
            | Action::Link(..)
            | Action::Reserve(..)
            | Action::Truncate(..)
            | Action::Rename(..)
            | Action::Replace(..)
            | Action::Remove(_)
            | Action::ProbeJournal(_) => Err(io::Error::from_raw_os_error(libc::EROFS)),
        }
    }

    fn apply(&mut self, action: &Action<'_>) -> io::Result<()> {
        match action {
            Action::MakeDirectory(directory) => {
                let (parent, name) = directory.rsplit_once('/').unwrap_or(("", directory));
                self.check_directory(parent)?;
                if self.node(parent, name).is_none() {
                    self.enter(parent, name, Node::Directory);
                }
            }
            Action::Create(file) => {
                self.check_directory(&file.directory)?;
                self.check_free(file)?;
                let number = self.new_file();
                self.enter(&file.directory, &file.name, Node::File(number));
                self.keep_open(file, number);
            }
            Action::Permit(file, permission) => {
                let file = self.opened(file)?;
                self.history.push(Event::Permit { file, permission: *permission });
            }
            Action::PermitDirectory(directory, permission) => {
                self.check_directory(directory)?;
                let directory = directory.to_string();
                self.history.push(Event::PermitDirectory { directory, permission: *permission });
            }
            Action::Open(file) => {
                let Some(Node::File(number)) = self.node(&file.directory, &file.name) else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                self.keep_open(file, number);
            }
            Action::Link(source, file) => self.link(source, file)?,
            Action::Reserve(file, bytes) => {
                let file = self.opened(file)?;
                self.history.push(Event::Truncate { file, bytes: to_usize(*bytes) });
            }
            Action::Write(file, offset, slices) => {
                let file = self.opened(file)?;
                self.write(file, *offset, &slices.concat());
            }
            Action::StartWriteback(file) => drop(self.opened(file)?),
            Action::AwaitWriteback(file) => {
                let file = self.opened(file)?;
                self.history.push(Event::WrittenBack { file });
            }
            Action::SyncFile(file) => {
                let file = self.opened(file)?;
                self.files[file].synced = self.files[file].written;
                self.history.push(Event::Sync { object: Object::File(file), failed: false });
            }
            Action::SyncFileWhole(file) => {
                let file = self.opened(file)?;
                self.files[file].synced = self.files[file].written;
                self.history.push(Event::Sync { object: Object::File(file), failed: false });
                self.history.push(Event::Sync { object: Object::Inode(file), failed: false });
            }
            Action::Truncate(file, bytes) => self.truncate(file, to_usize(*bytes))?,
            Action::Close(file) => drop(self.open.remove(file)),
            Action::Rename(from, to) => {
                self.check_free(to)?;
                self.rename(from, to)?;
            }
            Action::Replace(from, to) => self.rename(from, to)?,
            Action::SyncDirectory(directory) => {
                self.check_directory(directory)?;
                let object = Object::Directory(directory.to_string());
                self.history.push(Event::Sync { object, failed: false });
            }
            Action::Remove(file) => {
                self.open.remove(file);
                if self.node(&file.directory, &file.name).is_some() {
                    self.leave(file);
                }
            }
            Action::SyncFilesystem => {
                for extent in &mut self.files {
                    extent.synced = extent.written;
                }
                self.history.push(Event::Sync { object: Object::FileSystem, failed: false });
            }
            Action::ProbeJournal(_) => {}
        }
        Ok(())
    }

    /// What the file holds was written by somebody else and synced by nobody.
    fn link(&mut self, source: &File, file: &Rc<FilePath>) -> io::Result<()> {
        self.check_directory(&file.directory)?;
        self.check_free(file)?;
        let mut octets = vec![0; to_usize(source.metadata()?.len())];
        source.read_exact_at(&mut octets, 0)?;
        let number = self.new_file();
        self.write(number, 0, &octets);
        self.enter(&file.directory, &file.name, Node::File(number));
        self.keep_open(file, number);
        Ok(())
    }

    fn truncate(&mut self, file: &FilePath, bytes: usize) -> io::Result<()> {
        let Some(Node::File(file)) = self.node(&file.directory, &file.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let extent = &mut self.files[file];
        extent.written = extent.written.min(bytes);
        extent.synced = extent.synced.min(bytes);
        self.history.push(Event::Truncate { file, bytes });
        Ok(())
    }

    fn rename(&mut self, from: &Rc<FilePath>, to: &Rc<FilePath>) -> io::Result<()> {
        self.check_directory(&to.directory)?;
        let node = self.node(&from.directory, &from.name).ok_or(io::ErrorKind::NotFound)?;
        self.enter(&to.directory, &to.name, node);
        self.leave(from);
        if let Some(file) = self.open.remove(from) {
            self.open.insert(Rc::clone(to), file);
        }
        Ok(())
    }

    fn new_file(&mut self) -> usize {
        self.files.push(Extent::default());
        self.history.new_file()
    }

    fn keep_open(&mut self, file: &Rc<FilePath>, number: usize) {
        self.open.insert(Rc::clone(file), number);
        self.most_open = self.most_open.max(self.open.len());
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        let mut offset = to_usize(offset);
        self.files[file].written = self.files[file].written.max(offset + bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at((SECTOR_BYTES - offset % SECTOR_BYTES).min(rest.len()));
            self.history.push(Event::Write { file, offset, bytes: now.to_vec() });
            offset += now.len();
            rest = later;
        }
    }

    fn enter(&mut self, directory: &str, name: &str, node: Node) {
        self.names.insert((directory.to_owned(), name.to_owned()), node);
        self.history.push(Event::Enter { directory: directory.to_owned(), name: name.to_owned(), node });
    }

    fn leave(&mut self, file: &FilePath) {
        self.names.remove(&(file.directory.to_string(), file.name.clone()));
        self.history.push(Event::Leave { directory: file.directory.to_string(), name: file.name.clone() });
    }

    fn node(&self, directory: &str, name: &str) -> Option<Node> {
        self.names.get(&(directory.to_owned(), name.to_owned())).copied()
    }

    fn opened(&self, file: &Rc<FilePath>) -> io::Result<usize> {
        self.open.get(file).copied().ok_or_else(|| io::Error::other("the file is not open"))
    }

    /// What a running process reads in a file.
    pub(super) fn read(&self, directory: &str, name: &str) -> Option<Vec<u8>> {
        match self.node(directory, name)? {
            Node::File(file) => Some(self.history.content(file)),
            Node::Directory => None,
        }
    }

    /// The files of a directory with their octets.
    pub(super) fn files_of(&self, directory: &str) -> Vec<(String, u64)> {
        let names = self.names.iter().filter(|((parent, _), _)| parent == directory);
        let files = names.filter_map(|((_, name), node)| match node {
            Node::File(file) => Some((name.clone(), self.history.content(*file).len() as u64)),
            Node::Directory => None,
        });
        files.collect()
    }

    fn check_directory(&self, directory: &str) -> io::Result<()> {
        if directory.is_empty() {
            return Ok(());
        }
        let (parent, name) = directory.rsplit_once('/').unwrap_or(("", directory));
        match self.node(parent, name) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn check_free(&self, file: &FilePath) -> io::Result<()> {
        match self.node(&file.directory, &file.name) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(()),
        }
    }

    /// SplitMix64.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// What fits the memory of a test fits a `usize`.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("64-bit machine")
}

//! An executor in memory that remembers what the disk was told and what was synced, for tests that cut the power.
//!
//! Every effect (a sector written, a name entered or removed) is an event. A later sync of the same file or directory pins it;
//! until then a power cut may keep it or lose it, each effect for itself and in any order, which is more than real file
//! systems do. After a failed sync the effects before it are not pinned by the next one: the kernel may have dropped them, and says
//! so once. What was written into a file never is; names are by a sync of a newer change in the same directory, for a journal commits
//! in order. By the same order a name made after its file was written back is never kept without what was written back, though
//! nothing was synced. A journal may be given up: then syncs say that all is well, pin nothing but data in files that need no
//! journal to be found, and new changes fail.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::Executor;
use crate::sink::plan::{Action, Directory, Place, Plan, Results};

/// Octets that reach the disk, or not, as one.
pub const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Simulated {
    state: Rc<RefCell<State>>,
}

/// What a fault does to the operations it is asked about.
pub enum Fault {
    /// Fails with this error number.
    Error(i32),
    /// Says that it succeeded and does nothing: a lying disk, or a sync missing from a plan.
    Lie,
    /// The journal was given up just before, by a commit that somebody else asked for.
    GiveUp,
}

/// Asked before each operation with its number since the start.
type Faults = Box<dyn FnMut(usize, &Action<'_>) -> Option<Fault>>;

/// What the disk holds: files by path.
pub type Image = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// What a running process sees: names in each directory but the root's own, which is always there.
    names: BTreeMap<(String, String), Node>,
    open: HashMap<Rc<Place>, usize>,
    most_open: usize,
    files: Vec<Extent>,
    given_up: bool,
    performed: usize,
    faults: Option<Faults>,
    /// State of the generator that orders chains.
    random: u64,
}

/// How far a file was written, and how far that is synced: writes below that change data and nothing that goes through the journal.
#[derive(Clone, Copy, Default)]
struct Extent {
    written: usize,
    synced: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

enum Event {
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        bytes: usize,
    },
    Enter {
        directory: String,
        name: String,
        node: Node,
    },
    Leave {
        directory: String,
        name: String,
    },
    /// All writes to the file so far reached the disk before any later name of it can.
    WrittenBack {
        file: usize,
    },
    Sync {
        object: Object,
        failed: bool,
    },
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Object {
    File(usize),
    Directory(String),
    /// Every file and directory.
    FileSystem,
}

/// What the syncs after a point in time did for the effects before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    No,
    /// They are pinned unless a failed sync comes first.
    Yes,
    /// A change of the same directory was pinned, and what came before it in the journal with it, failed syncs or not.
    WithChange,
}

impl Synced {
    fn before_sync(self, failed: bool) -> Self {
        match (self, failed) {
            (Self::WithChange, _) => Self::WithChange,
            (_, true) => Self::No,
            (_, false) => Self::Yes,
        }
    }
}

impl Event {
    /// What a sync must name to pin it; none for what has no effect of its own.
    fn object(&self) -> Option<Object> {
        match self {
            Self::Write { file, .. } | Self::Truncate { file, .. } => Some(Object::File(*file)),
            Self::Enter { directory, .. } | Self::Leave { directory, .. } => {
                Some(Object::Directory(directory.clone()))
            }
            Self::WrittenBack { .. } | Self::Sync { .. } => None,
        }
    }
}

impl Simulated {
    /// An empty disk that orders the chains of a stage by this seed.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.state.borrow_mut().random = seed;
        disk
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: impl FnMut(usize, &Action<'_>) -> Option<Fault> + 'static) {
        self.state.borrow_mut().faults = Some(Box::new(faults));
    }

    /// Operations performed so far.
    pub fn performed(&self) -> usize {
        self.state.borrow().performed
    }

    /// Events so far: a point in time for [`Self::image`].
    pub fn now(&self) -> usize {
        self.state.borrow().events.len()
    }

    /// The most files that were open at a time.
    pub fn most_open(&self) -> usize {
        self.state.borrow().most_open
    }

    /// What a running process sees.
    pub fn seen(&self) -> Image {
        self.image(self.now(), || true)
    }

    /// Effects before `now` that a power cut may lose.
    pub fn pending(&self, now: usize) -> usize {
        let state = self.state.borrow();
        state.pinned(now).iter().filter(|pinned| **pinned == Some(false)).count()
    }

    /// What the disk holds after the power was cut at `now`: `keep` is asked for each effect that no sync pinned.
    pub fn image(&self, now: usize, mut keep: impl FnMut() -> bool) -> Image {
        let state = self.state.borrow();
        let mut files: Vec<Vec<u8>> = vec![Vec::new(); state.files.len()];
        let mut names: BTreeMap<(&str, &str), Node> = BTreeMap::new();
        let mut kept: Vec<bool> =
            state.pinned(now).iter().map(|pinned| pinned.is_some_and(|pinned| pinned || keep())).collect();
        state.keep_what_names_need(&mut kept);
        for (event, _) in state.events.iter().zip(kept).filter(|(_, is_kept)| *is_kept) {
            match event {
                Event::Write { file, offset, bytes } => {
                    let end = offset + bytes.len();
                    let file = &mut files[*file];
                    if file.len() < end {
                        file.resize(end, 0);
                    }
                    file[*offset..end].copy_from_slice(bytes);
                }
                Event::Truncate { file, bytes } => files[*file].resize(*bytes, 0),
                Event::Enter { directory, name, node } => {
                    names.insert((directory, name), *node);
                }
                Event::Leave { directory, name } => {
                    names.remove(&(directory.as_str(), name.as_str()));
                }
                Event::WrittenBack { .. } | Event::Sync { .. } => {}
            }
        }
        let mut image = Image::new();
        collect("", &names, &files, &mut image);
        image
    }
}

/// Collects the files that can be reached from a directory.
fn collect(directory: &str, names: &BTreeMap<(&str, &str), Node>, files: &[Vec<u8>], image: &mut Image) {
    for ((parent, name), node) in names {
        if *parent != directory {
            continue;
        }
        let path = if directory.is_empty() { (*name).to_owned() } else { format!("{directory}/{name}") };
        match node {
            Node::Directory => collect(&path, names, files, image),
            Node::File(file) => {
                image.insert(path, files[*file].clone());
            }
        }
    }
}

impl State {
    /// For each event before `now` whether a sync pinned it; none for a sync itself.
    fn pinned(&self, now: usize) -> Vec<Option<bool>> {
        // From the end: what syncs after an event did, of its object or of everything.
        let mut synced: HashMap<Object, Synced> = HashMap::new();
        let mut all_synced = Synced::No;
        let mut pinned: Vec<Option<bool>> = self.events[..now]
            .iter()
            .rev()
            .map(|event| {
                match event {
                    Event::Sync { object: Object::FileSystem, failed } => {
                        for synced in synced.values_mut() {
                            *synced = synced.before_sync(*failed);
                        }
                        all_synced = all_synced.before_sync(*failed);
                    }
                    Event::Sync { object, failed } => {
                        let synced = synced.entry(object.clone()).or_insert(all_synced);
                        *synced = synced.before_sync(*failed);
                    }
                    _ => {}
                }
                let object = event.object()?;
                let is_name = matches!(object, Object::Directory(_));
                let synced = synced.entry(object).or_insert(all_synced);
                if is_name && *synced == Synced::Yes {
                    *synced = Synced::WithChange;
                }
                Some(*synced != Synced::No)
            })
            .collect();
        pinned.reverse();
        pinned
    }

    /// Keeps, with each name that is kept, what its file held when it was last written back before.
    fn keep_what_names_need(&self, kept: &mut [bool]) {
        let mut written_back: HashMap<usize, usize> = HashMap::new();
        for index in 0..kept.len() {
            match &self.events[index] {
                Event::WrittenBack { file } => drop(written_back.insert(*file, index)),
                Event::Enter { node: Node::File(file), .. } if kept[index] => {
                    let until = written_back.get(file).copied().unwrap_or_default();
                    for (event, kept) in self.events[..until].iter().zip(&mut *kept) {
                        *kept |= event.object() == Some(Object::File(*file));
                    }
                }
                _ => {}
            }
        }
    }

    fn perform(&mut self, action: &Action<'_>) -> io::Result<()> {
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

    /// What a failing operation may leave behind.
    fn apply_in_part(&mut self, action: &Action<'_>) {
        match action {
            Action::Write(file, offset, slices) => {
                let bytes = slices.concat();
                if let Some(file) = self.open.remove(file) {
                    self.write(file, *offset, &bytes[..bytes.len() / 2]);
                }
            }
            Action::StartWriteback(file) | Action::AwaitWriteback(file) => drop(self.open.remove(file)),
            Action::SyncFile(file) => {
                if let Some(file) = self.open.remove(file) {
                    self.events.push(Event::Sync { object: Object::File(file), failed: true });
                }
            }
            Action::SyncDirectory(directory) => {
                self.events
                    .push(Event::Sync { object: Object::Directory(directory.to_string()), failed: true });
            }
            Action::SyncFilesystem => {
                self.events.push(Event::Sync { object: Object::FileSystem, failed: true });
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
            // Whatever it says, the file is closed.
            Action::Close(_) => drop(self.apply(action)),
            Action::MakeDirectory(_)
            | Action::Create(_)
            | Action::Open(_)
            | Action::Link(..)
            | Action::Reserve(..)
            | Action::Truncate(..)
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
            Action::SyncFile(file) => {
                let file = self.opened(file)?;
                if self.files[file].written == self.files[file].synced {
                    self.events.push(Event::Sync { object: Object::File(file), failed: false });
                }
                self.events.push(Event::Sync { object: Object::FileSystem, failed: true });
                Ok(())
            }
            Action::SyncDirectory(_) | Action::SyncFilesystem => {
                self.events.push(Event::Sync { object: Object::FileSystem, failed: true });
                Ok(())
            }
            Action::StartWriteback(_) | Action::AwaitWriteback(_) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Action::MakeDirectory(_)
            | Action::Create(_)
            | Action::Link(..)
            | Action::Reserve(..)
            | Action::Truncate(..)
            | Action::Rename(..)
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
            Action::Open(file) => {
                let Some(Node::File(number)) = self.node(&file.directory, &file.name) else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                self.keep_open(file, number);
            }
            // What it holds was written by somebody else and synced by nobody.
            Action::Link(source, file) => {
                self.check_directory(&file.directory)?;
                self.check_free(file)?;
                let mut octets = vec![0; to_usize(source.metadata()?.len())];
                source.read_exact_at(&mut octets, 0)?;
                let number = self.new_file();
                self.write(number, 0, &octets);
                self.enter(&file.directory, &file.name, Node::File(number));
                self.keep_open(file, number);
            }
            Action::Reserve(file, bytes) => {
                let file = self.opened(file)?;
                self.events.push(Event::Truncate { file, bytes: to_usize(*bytes) });
            }
            Action::Write(file, offset, slices) => {
                let file = self.opened(file)?;
                self.write(file, *offset, &slices.concat());
            }
            Action::StartWriteback(file) => drop(self.opened(file)?),
            Action::AwaitWriteback(file) => {
                let file = self.opened(file)?;
                self.events.push(Event::WrittenBack { file });
            }
            Action::SyncFile(file) => {
                let file = self.opened(file)?;
                self.files[file].synced = self.files[file].written;
                self.events.push(Event::Sync { object: Object::File(file), failed: false });
            }
            Action::Truncate(file, bytes) => {
                let Some(Node::File(file)) = self.node(&file.directory, &file.name) else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                let extent = &mut self.files[file];
                extent.written = extent.written.min(to_usize(*bytes));
                extent.synced = extent.synced.min(to_usize(*bytes));
                self.events.push(Event::Truncate { file, bytes: to_usize(*bytes) });
            }
            Action::Close(file) => drop(self.open.remove(file)),
            Action::Rename(from, to) => {
                self.check_directory(&to.directory)?;
                self.check_free(to)?;
                let node = self.node(&from.directory, &from.name).ok_or(io::ErrorKind::NotFound)?;
                self.enter(&to.directory, &to.name, node);
                self.leave(from);
                if let Some(file) = self.open.remove(from) {
                    self.open.insert(Rc::clone(to), file);
                }
            }
            Action::SyncDirectory(directory) => {
                self.check_directory(directory)?;
                let object = Object::Directory(directory.to_string());
                self.events.push(Event::Sync { object, failed: false });
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
                self.events.push(Event::Sync { object: Object::FileSystem, failed: false });
            }
            Action::ProbeJournal(_) => {}
        }
        Ok(())
    }

    fn new_file(&mut self) -> usize {
        self.files.push(Extent::default());
        self.files.len() - 1
    }

    fn keep_open(&mut self, file: &Rc<Place>, number: usize) {
        self.open.insert(Rc::clone(file), number);
        self.most_open = self.most_open.max(self.open.len());
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        let mut offset = to_usize(offset);
        self.files[file].written = self.files[file].written.max(offset + bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at((SECTOR_BYTES - offset % SECTOR_BYTES).min(rest.len()));
            self.events.push(Event::Write { file, offset, bytes: now.to_vec() });
            offset += now.len();
            rest = later;
        }
    }

    fn enter(&mut self, directory: &str, name: &str, node: Node) {
        self.names.insert((directory.to_owned(), name.to_owned()), node);
        self.events.push(Event::Enter { directory: directory.to_owned(), name: name.to_owned(), node });
    }

    fn leave(&mut self, file: &Place) {
        self.names.remove(&(file.directory.to_string(), file.name.clone()));
        self.events.push(Event::Leave { directory: file.directory.to_string(), name: file.name.clone() });
    }

    fn node(&self, directory: &str, name: &str) -> Option<Node> {
        self.names.get(&(directory.to_owned(), name.to_owned())).copied()
    }

    fn opened(&self, file: &Rc<Place>) -> io::Result<usize> {
        self.open.get(file).copied().ok_or_else(|| io::Error::other("the file is not open"))
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

    fn check_free(&self, file: &Place) -> io::Result<()> {
        match self.node(&file.directory, &file.name) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(()),
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Executor for Simulated {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        let mut state = self.state.borrow_mut();
        let mut results = Results::new(plan);
        for stage in plan.stages() {
            let mut chains = plan.chains(stage);
            while !chains.is_empty() {
                let next = to_usize(state.random() % chains.len() as u64);
                for index in chains.swap_remove(next) {
                    let action = &plan.operations()[index].action;
                    if results.is_wanted(plan, index) {
                        let result = state.perform(action);
                        results.finish(plan, index, result);
                    } else if let Action::Close(file) = action {
                        state.open.remove(file);
                    }
                }
            }
        }
        results
    }
}

/// What fits the memory of a test fits a `usize`.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("64-bit machine")
}

/// The root directory of a store, for tests that build plans.
pub fn root() -> Directory {
    Rc::from("")
}

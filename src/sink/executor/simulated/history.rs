//! What happened to the disk, in order, and what is left of it after the power was cut.

use std::collections::{BTreeMap, HashMap};

use crate::sink::permission::Permission;

/// What the disk holds: files by path.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What was given to files and directories by path; nothing of those that were given nothing.
pub type Permissions = BTreeMap<String, Permission>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(usize),
    Directory,
}

pub(super) enum Event {
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        bytes: usize,
    },
    Permit {
        file: usize,
        permission: Permission,
    },
    PermitDirectory {
        directory: String,
        permission: Permission,
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
pub(super) enum Object {
    /// What a file holds.
    File(usize),
    /// A file's mode and group.
    Inode(usize),
    /// The names in a directory, its mode and its group.
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
    /// A change of the same directory was pinned, and what came before it in the journal with it, failed
    /// syncs or not.
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
            Self::Permit { file, .. } => Some(Object::Inode(*file)),
            Self::Enter { directory, .. }
            | Self::Leave { directory, .. }
            | Self::PermitDirectory { directory, .. } => Some(Object::Directory(directory.clone())),
            Self::WrittenBack { .. } | Self::Sync { .. } => None,
        }
    }
}

/// All events since the disk was made.
#[derive(Default)]
pub(super) struct History {
    events: Vec<Event>,
    /// Files that were ever made. Their numbers are below this.
    files: usize,
}

impl History {
    /// Number of a new file.
    pub(super) fn new_file(&mut self) -> usize {
        self.files += 1;
        self.files - 1
    }

    /// This happened now.
    pub(super) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Events so far.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// What a file holds for a running process.
    pub(super) fn content(&self, of: usize) -> Vec<u8> {
        let mut content = Vec::new();
        for event in &self.events {
            match event {
                Event::Write { file, offset, bytes } if *file == of => {
                    grow(&mut content, offset + bytes.len());
                    content[*offset..offset + bytes.len()].copy_from_slice(bytes);
                }
                Event::Truncate { file, bytes } if *file == of => {
                    content.truncate(*bytes);
                    grow(&mut content, *bytes);
                }
                Event::Write { .. }
                | Event::Truncate { .. }
                | Event::Permit { .. }
                | Event::PermitDirectory { .. }
                | Event::Enter { .. }
                | Event::Leave { .. }
                | Event::WrittenBack { .. }
                | Event::Sync { .. } => {}
            }
        }
        content
    }

    /// Effects before `now` that a power cut may lose.
    pub(super) fn pending(&self, now: usize) -> usize {
        self.pinned(now).iter().filter(|pinned| **pinned == Some(false)).count()
    }

    /// What the disk holds after the power was cut at `now`, with the permissions of what is there: `keep` is
    /// asked for each effect that no sync pinned.
    pub(super) fn cut(&self, now: usize, mut keep: impl FnMut() -> bool) -> (Image, Permissions) {
        let mut of_files: HashMap<usize, Permission> = HashMap::new();
        let mut permissions = Permissions::new();
        let mut files: Vec<Vec<u8>> = vec![Vec::new(); self.files];
        let mut names: BTreeMap<(&str, &str), Node> = BTreeMap::new();
        let mut kept: Vec<bool> =
            self.pinned(now).iter().map(|pinned| pinned.is_some_and(|pinned| pinned || keep())).collect();
        self.keep_what_names_need(&mut kept);
        for (event, _) in self.events.iter().zip(kept).filter(|(_, is_kept)| *is_kept) {
            match event {
                Event::Write { file, offset, bytes } => {
                    let end = offset + bytes.len();
                    let file = &mut files[*file];
                    grow(file, end);
                    file[*offset..end].copy_from_slice(bytes);
                }
                Event::Truncate { file, bytes } => {
                    files[*file].truncate(*bytes);
                    grow(&mut files[*file], *bytes);
                }
                Event::Permit { file, permission } => {
                    of_files.insert(*file, *permission);
                }
                Event::PermitDirectory { directory, permission } => {
                    permissions.insert(directory.clone(), *permission);
                }
                Event::Enter { directory, name, node } => {
                    names.insert((directory, name), *node);
                }
                Event::Leave { directory, name } => {
                    names.remove(&(directory.as_str(), name.as_str()));
                }
                Event::WrittenBack { .. } | Event::Sync { .. } => {}
            }
        }
        let mut found = Vec::new();
        collect("", &names, &mut found);
        let mut image = Image::new();
        for (path, file) in found {
            if let Some(permission) = of_files.get(&file) {
                permissions.insert(path.clone(), *permission);
            }
            image.insert(path, files[file].clone());
        }
        (image, permissions)
    }

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
                    Event::Write { .. }
                    | Event::Truncate { .. }
                    | Event::Permit { .. }
                    | Event::PermitDirectory { .. }
                    | Event::Enter { .. }
                    | Event::Leave { .. }
                    | Event::WrittenBack { .. } => {}
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
                Event::Write { .. }
                | Event::Truncate { .. }
                | Event::Permit { .. }
                | Event::PermitDirectory { .. }
                | Event::Enter { .. }
                | Event::Leave { .. }
                | Event::Sync { .. } => {}
            }
        }
    }
}

/// Zeros up to this length. At once: without optimisation `resize` takes a third of the tests' time.
fn grow(file: &mut Vec<u8>, bytes: usize) {
    if file.len() < bytes {
        file.extend_from_slice(&vec![0; bytes - file.len()]);
    }
}

/// Collects the files that can be reached from a directory, with the path of each.
fn collect(directory: &str, names: &BTreeMap<(&str, &str), Node>, found: &mut Vec<(String, usize)>) {
    for ((parent, name), node) in names {
        if *parent != directory {
            continue;
        }
        let path = if directory.is_empty() { (*name).to_owned() } else { format!("{directory}/{name}") };
        match node {
            Node::Directory => collect(&path, names, found),
            Node::File(file) => found.push((path, *file)),
        }
    }
}

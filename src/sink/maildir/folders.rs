//! The directories that a maildir consists of, as paths below the root of the store.

use std::rc::Rc;

use crate::sink::plan::Directory;

/// The folder for suspicious mail, in the maildir itself: a leading dot makes it one of Maildir++.
pub(super) const JUNK: &str = ".Junk";

/// Directories from the top down: depth, parent and path of each.
pub(super) type Lineage = Vec<(usize, Directory, Directory)>;

/// The directories of a maildir from the root down.
pub(super) fn lineage(maildir: &Directory) -> Lineage {
    let mut lineage = Vec::new();
    let mut parent: Directory = Rc::from("");
    let names = maildir.split('/').filter(|name| !name.is_empty());
    for (depth, name) in names.enumerate() {
        let directory = below(&parent, name);
        lineage.push((depth, parent, Rc::clone(&directory)));
        parent = directory;
    }
    lineage.extend(contents(lineage.len(), &parent));
    lineage
}

/// The directories of the folder for suspicious mail of a maildir, without those of the maildir.
pub(super) fn lineage_of_junk(maildir: &Directory) -> Lineage {
    let depth = maildir.split('/').filter(|name| !name.is_empty()).count();
    let junk = junk_of(maildir);
    let mut lineage = vec![(depth, Rc::clone(maildir), Rc::clone(&junk))];
    lineage.extend(contents(depth + 1, &junk));
    lineage
}

/// The folder for suspicious mail of a maildir.
pub(super) fn junk_of(maildir: &Directory) -> Directory {
    below(maildir, JUNK)
}

/// What every folder has, at this depth.
fn contents(depth: usize, folder: &Directory) -> [(usize, Directory, Directory); 3] {
    ["tmp", "new", "cur"].map(|name| (depth, Rc::clone(folder), below(folder, name)))
}

/// Whether a path is a directory or below it. Nothing counts as within the root, because everything is.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    !directory.is_empty()
        && path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A name in a directory.
pub(super) fn below(directory: &Directory, name: &str) -> Directory {
    if directory.is_empty() { name.into() } else { format!("{directory}/{name}").into() }
}

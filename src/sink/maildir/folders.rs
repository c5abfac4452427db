//! The directories that a maildir consists of, as paths below the root of the store.

use std::rc::Rc;

use crate::sink::plan::Directory;

/// The directories of a maildir from the root down: depth, parent and path of each.
pub(super) fn lineage(maildir: &Directory) -> Vec<(usize, Directory, Directory)> {
    let mut lineage = Vec::new();
    let mut parent: Directory = Rc::from("");
    let names = maildir.split('/').filter(|name| !name.is_empty());
    for (depth, name) in names.enumerate() {
        let directory = below(&parent, name);
        lineage.push((depth, parent, Rc::clone(&directory)));
        parent = directory;
    }
    let depth = lineage.len();
    for folder in ["tmp", "new", "cur"] {
        lineage.push((depth, Rc::clone(&parent), below(&parent, folder)));
    }
    lineage
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

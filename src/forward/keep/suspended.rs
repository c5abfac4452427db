//! Next hops that an operator suspended: a file of its own, so that a restart sends them nothing either.
//!
//! A line each: the name of the destination, a tab, the next hop. The journal has nothing of it: it is a wish
//! of the operator and no state of a message, and can be read and mended by hand.

use std::io;
use std::rc::Rc;

use super::FORWARD;
use super::files::Files;
use super::keeper::Keeper;
use super::writer::stages;
use crate::sink::plan::{Action, FilePath};

/// Its name in `forward`.
const SUSPENDED: &str = "suspended";

/// More is none of ours: there are at most 16 next hops for each of 65,536 destinations.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A next hop of a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspended {
    /// The name of the destination.
    pub destination: String,
    /// The next hop, as the configuration has it.
    pub next_hop: String,
}

/// Those that were suspended. What is no line of this file is passed over.
pub fn suspended(files: &dyn Files) -> io::Result<Vec<Suspended>> {
    let file = match files.open(FORWARD, SUSPENDED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let bytes = usize::try_from(file.bytes()?.min(BYTES_MAX)).unwrap_or_default();
    let octets = file.read_exact_at(0, bytes)?;
    let line = |line: &str| {
        let (destination, next_hop) = line.split_once('\t')?;
        Some(Suspended { destination: destination.to_owned(), next_hop: next_hop.to_owned() })
    };
    Ok(String::from_utf8_lossy(&octets).lines().filter_map(line).collect())
}

impl Keeper {
    /// As [`suspended`] says.
    pub fn suspended(&self) -> io::Result<Vec<Suspended>> {
        suspended(&*self.files)
    }

    /// These are suspended, and no others. Durable when it succeeds; when it fails these or those before.
    pub fn suspend(&mut self, all: &[Suspended]) -> io::Result<()> {
        let lines = all.iter().fold(String::new(), |lines, Suspended { destination, next_hop }| {
            lines + destination + "\t" + next_hop + "\n"
        });
        let file = |name: &str| Rc::new(FilePath { directory: Rc::from(FORWARD), name: name.to_owned() });
        let (new, file) = (file("suspended.new"), file(SUSPENDED));
        self.disk.run(&stages([
            vec![Action::Remove(Rc::clone(&new))],
            vec![
                Action::Create(Rc::clone(&new)),
                Action::Write(Rc::clone(&new), 0, vec![lines.as_bytes()]),
                Action::SyncFile(Rc::clone(&new)),
                Action::Close(Rc::clone(&new)),
            ],
            vec![Action::Replace(new, file)],
            vec![Action::SyncDirectory(Rc::from(FORWARD))],
            vec![Action::ProbeJournal(Rc::from(FORWARD))],
        ]))
    }
}

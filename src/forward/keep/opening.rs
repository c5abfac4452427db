//! The start of a keeper: directories made, state read, a journal of its own written, what nobody needs
//! removed.
//!
//! A start never goes on with a journal that another process wrote. What that process could not sync may look
//! as if it were there, until the power fails; written anew and synced, it is.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::files::Files;
use super::keeper::Keeper;
use super::replay::{Replayed, replay};
use super::settings::Settings;
use super::store::{Store, damaged_sequence};
use super::writer::{Disk, Writer, stages};
use super::{DEAD, FORWARD, LATER};
use crate::sink::Report;
use crate::sink::executor::Executor;
use crate::sink::plan::Action;
use crate::sink::spool::format::{message_place, segment_sequence};

impl Keeper {
    /// Opens the state of the forwarder of a spool. `executor` and `files` work below the spool's directory;
    /// the caller holds the forwarder's lock. An error of kind `InvalidData` where the state cannot be
    /// believed: its text says what to do.
    pub fn open(
        executor: Box<dyn Executor>,
        files: Box<dyn Files>,
        settings: Settings,
        report: Arc<dyn Report>,
    ) -> io::Result<Self> {
        let mut disk = Disk::new(executor, report, files.root());
        make_directories(&mut disk)?;
        let replayed = replay(&*files)?;
        begin(disk, files, settings, replayed)
    }
}

/// A keeper with this state, which becomes durable.
pub(super) fn begin(
    mut disk: Disk,
    files: Box<dyn Files>,
    settings: Settings,
    Replayed { mut state, published }: Replayed,
) -> io::Result<Keeper> {
    // Numbers that were used for records which nobody believed are not used again.
    state.skip_sequences(next_sequence(&*files, LATER)?, next_sequence(&*files, DEAD)?);
    let mut writer = Writer::new();
    writer.snapshot(&state, &mut disk)?;
    let (next_later, next_dead) = state.next_sequences();
    let mut store = |directory, next| -> io::Result<Store> {
        Store::open(directory, next, &state, settings, &*files, &mut disk)
    };
    let (later, dead) = (store(LATER, next_later)?, store(DEAD, next_dead)?);
    let mut keeper = Keeper::new(disk, files, settings, writer, state, [later, dead], published);
    keeper.publish()?;
    Ok(keeper)
}

/// Makes the directories. The names in `forward` are durable with the snapshot that comes next.
pub(super) fn make_directories(disk: &mut Disk) -> io::Result<()> {
    let directory = |path: &str| Rc::from(path);
    disk.run(&stages([
        vec![Action::MakeDirectory(directory(FORWARD))],
        vec![Action::MakeDirectory(directory(LATER)), Action::MakeDirectory(directory(DEAD))],
        vec![Action::SyncDirectory(directory(""))],
    ]))
}

/// Above the numbers of all segments that are in a directory, or were begun there.
fn next_sequence(files: &dyn Files, directory: &str) -> io::Result<u64> {
    let sequence = |name: &str| {
        let of_message = || message_place(name).map(|(sequence, _)| sequence);
        segment_sequence(name).or_else(of_message).or_else(|| damaged_sequence(name))
    };
    let names = files.names(directory)?;
    let last = names.iter().filter_map(|(name, _)| sequence(name)).max().unwrap_or_default();
    last.checked_add(1).ok_or_else(|| {
        let text = format!(
            "{}: holds a file with a number that ringmx never gives",
            files.root().join(directory).display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

//! The state as a start finds it: the journal read from its beginning, and held against what else is there.
//!
//! What nobody can be sure of stops the start. To go on with less than was durable would lose mail (its only
//! copy is in `later/`, and nothing else says that somebody waits for it) or repeat it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::copy::find;
use super::entry::Entry;
use super::files::Files;
use super::journal::{self, Damage};
use super::place::Place;
use super::state::State;
use super::{DEAD, FORWARD, JOURNAL, LATER};
use crate::sink::spool::cursor::{CONSUMED, Cursor};
use crate::sink::spool::format::{SegmentHeader, segment_name, segment_sequence};

/// What to do where the journal cannot be believed.
const REBUILD: &str = "nothing was changed and nothing is delivered; if there is no sound copy of the directory `forward` \
                       from when no forwarder ran, `ringmx queue rebuild` begins anew: all in later/ waits for all its recipients \
                       again, so some mail is delivered twice and none is lost";

/// What a start has to know.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) state: State,
    /// What `consumed` says.
    pub(super) published: Option<Cursor>,
}

/// Reads the state as a start does, and changes nothing. An error of kind `InvalidData` says what is wrong,
/// and what to do.
pub fn read(files: &dyn Files) -> io::Result<State> {
    replay(files).map(|replayed| replayed.state)
}

/// Reads the state beside a forwarder that runs perhaps: its segments come and go meanwhile, so nobody asks
/// whether they are there.
pub fn look(files: &dyn Files) -> io::Result<State> {
    replay_journal(files).map(|replayed| replayed.state)
}

pub(super) fn replay(files: &dyn Files) -> io::Result<Replayed> {
    let replayed = replay_journal(files)?;
    check_segments(files, &replayed.state)?;
    Ok(replayed)
}

fn replay_journal(files: &dyn Files) -> io::Result<Replayed> {
    let published = published(files)?;
    let state = match files.open(FORWARD, JOURNAL) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => first(files, published)?,
        opened => {
            let mut state = State::new(None);
            let read = journal::read(&opened?, |entry| {
                state.apply(&entry);
                !matches!(entry, Entry::Whole { .. }) || state.is_whole(&entry)
            });
            if let Err(damage) = read? {
                return Err(wrong(files, FORWARD, JOURNAL, damaged(&damage)));
            }
            check_consumed(files, &state, published)?;
            state
        }
    };
    Ok(Replayed { state, published })
}

/// What `consumed` says; none where nothing was consumed yet.
pub(super) fn published(files: &dyn Files) -> io::Result<Option<Cursor>> {
    let file = match files.open("", CONSUMED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    // A cursor has 20 to 38 octets.
    let bytes = usize::try_from(file.bytes()?).unwrap_or(usize::MAX).min(80);
    let text = file.read_exact_at(0, bytes)?;
    let cursor = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    let what = || "it holds no cursor; remove it, and the forwarder writes it again".to_owned();
    cursor.map(Some).ok_or_else(|| wrong(files, "", CONSUMED, what()))
}

/// The state of a forwarder that never ran here.
fn first(files: &dyn Files, published: Option<Cursor>) -> io::Result<State> {
    for directory in [LATER, DEAD] {
        let names = files.names(directory)?;
        if names.iter().any(|(name, _)| segment_sequence(name).is_some()) {
            let what = format!("it is missing, and {directory} holds mail that it tells of; {REBUILD}");
            return Err(wrong(files, FORWARD, JOURNAL, what));
        }
    }
    // Who believes a cursor where no record is passes over mail that nobody has seen (docs/spool.md).
    let is_there = |cursor: &Cursor| find(files, Place::Log(*cursor)).is_ok();
    Ok(State::new(published.filter(is_there)))
}

/// `consumed` follows what is durable in the journal, and the log reaches as far as that.
fn check_consumed(files: &dyn Files, state: &State, published: Option<Cursor>) -> io::Result<()> {
    if let Some(published) = published
        && Some(published) > state.consumed()
    {
        let said = state.consumed().map_or("nothing".to_owned(), |cursor| cursor.to_string());
        let what = format!(
            "it says {published}, and the journal only {said}: the journal has lost its end, or somebody else wrote \
             `consumed` (`ringmx spool prune`), which the receiver may have acted upon; {REBUILD}"
        );
        return Err(wrong(files, "", CONSUMED, what));
    }
    let newest = files.names("")?.iter().filter_map(|(name, _)| segment_sequence(name)).max();
    if let (Some(consumed), Some(newest)) = (state.consumed(), newest)
        && newest < consumed.sequence
    {
        let what = format!(
            "it says that the spool is delivered up to {consumed}, and the spool's newest segment is {}: this is another spool, \
             whose mail would be taken for delivered; {REBUILD}",
            segment_name(newest)
        );
        return Err(wrong(files, FORWARD, JOURNAL, what));
    }
    Ok(())
}

/// Every segment that somebody needs a record of is there.
fn check_segments(files: &dyn Files, state: &State) -> io::Result<()> {
    for (directory, is_dead) in [(LATER, false), (DEAD, true)] {
        let names = files.names(directory)?;
        let there: BTreeSet<u64> = names.iter().filter_map(|(name, _)| segment_sequence(name)).collect();
        for (sequence, _) in state.shelf(is_dead).segments() {
            let name = segment_name(sequence);
            let is_sound = there.contains(&sequence) && {
                let octets = files.open(directory, &name)?.read_exact_at(0, 48).unwrap_or_default();
                SegmentHeader::decode(&octets).is_some_and(|header| header.sequence == sequence)
            };
            if !is_sound {
                let what = format!(
                    "the journal tells of mail in it, and it is missing or damaged: it was removed by somebody else, or the journal \
                     has lost its end; {REBUILD}"
                );
                return Err(wrong(files, directory, &name, what));
            }
        }
    }
    Ok(())
}

fn damaged(damage: &Damage) -> String {
    match damage {
        Damage::Header => format!("its header is damaged; {REBUILD}"),
        Damage::Version(version) => format!(
            "another version of ringmx wrote it (format {version}): run that version, or let it deliver everything first"
        ),
        Damage::Middle { from, to } => format!(
            "DAMAGE from octet {from} to {to}: what happened to some messages is not known any more; {REBUILD}"
        ),
        Damage::Snapshot(at) => {
            format!("DAMAGE at octet {at}: its beginning, which was durable, is not whole; {REBUILD}")
        }
        Damage::Entry(at) => {
            format!(
                "a newer ringmx wrote the entries at octet {at}: run that version, or let it deliver everything first"
            )
        }
    }
}

fn wrong(files: &dyn Files, directory: &str, name: &str, what: String) -> io::Error {
    let path: PathBuf = files.root().join(directory).join(name);
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

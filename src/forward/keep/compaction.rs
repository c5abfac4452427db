//! Moves what is still needed out of a segment that is mostly of no use.

use std::collections::BTreeMap;
use std::io;

use super::copy::{Copied, LastRead};
use super::entry::{Entry, Why};
use super::journal::{ENTRIES_BYTES, ENTRIES_BYTES_MAX};
use super::keeper::Keeper;
use super::place::Place;
use super::state::Waiting;

/// Moves that the engine has not confirmed; at that many nothing more is moved.
const MOVES_MAX: usize = 16_384;

/// A record that lies somewhere else now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Where it was.
    pub from: Place,
    /// Where it is.
    pub to: Place,
}

impl Keeper {
    /// Moves records out of a segment of which more than half is of no use, so that it can be removed; some
    /// at a time. Tells what was moved: nothing where there is nothing to do. Old places are understood until
    /// [`Self::confirm_move`].
    pub fn tidy(&mut self) -> io::Result<Vec<Moved>> {
        if self.moves.len() >= MOVES_MAX {
            return Ok(Vec::new());
        }
        for index in 0..self.stores.len() {
            if let Some(sequence) = self.stores[index].mostly_garbage(&self.state) {
                let moved = compact(self, index, sequence)?;
                self.clear();
                return Ok(moved);
            }
        }
        Ok(Vec::new())
    }
}

/// Moves records of a segment, as many as are copied at a time. A record that cannot be read keeps its
/// segment, for whoever can read it later; so does one with more waits than a commit has room for.
fn compact(keeper: &mut Keeper, store: usize, sequence: u64) -> io::Result<Vec<Moved>> {
    keeper.prepare()?;
    let is_dead = keeper.stores[store].is_dead();
    let mut waits: BTreeMap<Place, Vec<Waiting>> = BTreeMap::new();
    for waiting in keeper.state.of_segment(is_dead, sequence) {
        waits.entry(waiting.place).or_default().push(waiting);
    }
    let (mut from, mut copies, mut bytes, mut entries) = (Vec::new(), Vec::new(), 0, 0);
    let mut last_read = LastRead::default();
    for (place, waits) in &waits {
        let of_place = waits.iter().map(entry_bytes).sum::<usize>();
        if of_place > ENTRIES_BYTES_MAX as usize {
            keeper.stores[store].leave(sequence);
            continue;
        }
        if entries > 0 && entries + of_place > ENTRIES_BYTES {
            break;
        }
        match Copied::load(&*keeper.files, &mut last_read, *place, keeper.stores[store].links()) {
            Ok(copied) => {
                bytes += copied.bytes();
                entries += of_place;
                from.push(*place);
                copies.push(copied);
            }
            Err(error) => {
                keeper.stores[store].leave(sequence);
                let text = format!("{place} cannot be moved: {error}; its segment stays");
                keeper.disk.report().note(&text);
            }
        }
        if bytes >= keeper.settings.copy_bytes {
            break;
        }
    }
    let copied: Vec<&Copied> = copies.iter().collect();
    let appended = keeper.stores[store].append(&copied, &mut keeper.disk)?;
    let mut moved = Vec::new();
    let mut entries = Vec::new();
    for (from, appended) in from.into_iter().zip(appended) {
        let to = if is_dead { Place::Dead(appended.cursor) } else { Place::Later(appended.cursor) };
        moved.push(Moved { from, to });
        let waits = waits.remove(&from).unwrap_or_default();
        entries.extend(waits.into_iter().map(|waiting| entry(waiting, to, appended.octets)));
    }
    if entries.is_empty() {
        return Ok(moved);
    }
    keeper.record(&entries)?;
    for Moved { from, to } in &moved {
        // Who knows an older place finds the newest.
        for place in keeper.moves.values_mut().filter(|place| *place == from) {
            *place = *to;
        }
        keeper.moves.insert(*from, *to);
    }
    Ok(moved)
}

/// What is known of them, and where they are now.
fn entry(waiting: Waiting, to: Place, octets: u64) -> Entry {
    let Waiting { place: from, recipients, wait, why, .. } = waiting;
    match to {
        Place::Dead(at) => {
            let (died_at, why) = (wait.next_at, why.unwrap_or(Why::Operator));
            Entry::Dead { from, at, octets, recipients, died_at, why, reply: wait.reply }
        }
        Place::Log(to) | Place::Later(to) => Entry::Later { from, to, octets, recipients, wait },
    }
}

/// At most so many octets of the journal.
fn entry_bytes(waiting: &Waiting) -> usize {
    512 + waiting.recipients.to_octets().len()
}

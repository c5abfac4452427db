//! One commit: changes held against the state and against one another, copied, journalled, believed.

use std::collections::HashMap;

use super::change::{Change, Notice, Refused};
use super::copy::{Copied, LastRead};
use super::entry::{Entry, Wait};
use super::journal::ENTRIES_BYTES;
use super::keeper::Keeper;
use super::place::Place;
use super::recipients::Recipients;
use crate::sink::spool::appender::Appended;
use crate::sink::spool::cursor::Cursor;

impl Keeper {
    /// Makes changes durable, in their order, and tells of each where the message is for its recipients now,
    /// if that is somewhere: in `later/` or in `dead/`. A change that was refused did not happen; after a
    /// failure of the disk it may have, as a power cut would show, and is then told as durable by no one.
    pub fn commit(&mut self, changes: &[Change]) -> Vec<Result<Option<Place>, Refused>> {
        let mut results = Vec::with_capacity(changes.len());
        while let Some(rest) = changes.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let draft = Draft::new(self, rest);
            results.append(&mut draft.carry_out(self));
        }
        self.clear();
        // The receiver recycles whole segments.
        let segment = |cursor: Option<Cursor>| cursor.map(|cursor| cursor.sequence);
        if segment(self.state.consumed()) > segment(self.published) {
            // It was reported, and comes again with the next commit.
            let _ = self.publish();
        }
        results
    }
}

/// As many changes as one commit takes.
struct Draft {
    drafted: Vec<Result<Drafted, Refused>>,
    /// Records to copy, each once, for `later/` and for `dead/`.
    copies: [Copies; 2],
    last_read: LastRead,
}

/// A change that fits the state.
enum Drafted {
    /// Nothing has to be durable for it.
    Done,
    /// It is this entry, and the message is here after it.
    Entry(Entry, Option<Place>),
    /// It is this entry once its record was copied, the one of this number, to the store of this number.
    Copied(Entry, usize, usize),
    /// These, and a notice that waits so once its record was copied, the one of this number.
    Noticed(Vec<Drafted>, Wait, usize),
}

#[derive(Default)]
struct Copies {
    records: Vec<Copied>,
    by_place: HashMap<Place, usize>,
}

impl Draft {
    /// Drafts as many changes from the first one on as one commit takes.
    fn new(keeper: &mut Keeper, changes: &[Change]) -> Self {
        let mut draft =
            Self { drafted: Vec::new(), copies: Default::default(), last_read: LastRead::default() };
        let mut taken = Taken::default();
        let (mut entries_bytes, mut copied_bytes) = (0, 0);
        for change in changes {
            let drafted = draft.draft(keeper, &mut taken, change, &mut copied_bytes);
            entries_bytes += drafted.as_ref().map_or(0, entries_bytes_of);
            draft.drafted.push(drafted);
            if entries_bytes >= ENTRIES_BYTES || copied_bytes >= keeper.settings.copy_bytes {
                break;
            }
        }
        draft
    }

    fn draft(
        &mut self,
        keeper: &mut Keeper,
        taken: &mut Taken,
        change: &Change,
        copied_bytes: &mut usize,
    ) -> Result<Drafted, Refused> {
        let done = |entry| Ok(Drafted::Entry(entry, None));
        match change {
            Change::Read { at, recipients } => {
                if keeper.state.read(*at, *recipients) {
                    Ok(Drafted::Done)
                } else {
                    Err(Refused::Unknown)
                }
            }
            Change::Sent { place, recipients } => {
                let place = taken.take(keeper, *place, recipients)?;
                done(Entry::Sent { place, recipients: recipients.clone() })
            }
            Change::Remove { place, recipients } => {
                let place = taken.take(keeper, *place, recipients)?;
                done(Entry::Removed { place, recipients: recipients.clone() })
            }
            Change::Hold { at, recipients, why } => {
                let at = taken.check(keeper, Place::Later(*at), recipients)?.cursor();
                done(Entry::Held { at, recipients: recipients.clone(), why: why.clone() })
            }
            Change::Release { at, recipients, next_at } => {
                let at = taken.check(keeper, Place::Later(*at), recipients)?.cursor();
                done(Entry::Released { at, recipients: recipients.clone(), next_at: *next_at })
            }
            Change::Later { place, recipients, wait } => {
                let from = taken.check(keeper, *place, recipients)?;
                let of = |to, octets| {
                    let (recipients, wait) = (recipients.clone(), wait.clone());
                    Entry::Later { from, to, octets, recipients, wait }
                };
                let there = match from {
                    Place::Later(cursor) => Some(cursor),
                    Place::Log(_) | Place::Dead(_) => keeper.state.copy_of(from),
                };
                if let Some((to, octets)) = there.and_then(|to| Some((to, keeper.state.octets_in_later(to)?)))
                {
                    if from != Place::Later(to) {
                        taken.take(keeper, from, recipients)?;
                    }
                    return Ok(Drafted::Entry(of(to, octets), Some(Place::Later(to))));
                }
                let copy = self.copy(keeper, from, 0, copied_bytes)?;
                taken.take(keeper, from, recipients)?;
                Ok(Drafted::Copied(of(NOWHERE, 0), 0, copy))
            }
            // It is there.
            Change::Dead { place: Place::Dead(_), .. } => Err(Refused::Unknown),
            Change::Dead { place, recipients, died_at, why, reply } => {
                let from = taken.check(keeper, *place, recipients)?;
                let copy = self.copy(keeper, from, 1, copied_bytes)?;
                taken.take(keeper, from, recipients)?;
                let (recipients, died_at, why, reply) = (recipients.clone(), *died_at, *why, reply.clone());
                let entry = Entry::Dead { from, at: NOWHERE, octets: 0, recipients, died_at, why, reply };
                Ok(Drafted::Copied(entry, 1, copy))
            }
            Change::Noticed { changes, notice } => {
                let before = taken.clone();
                let drafted = self.draft_noticed(keeper, taken, changes, notice, copied_bytes);
                if drafted.is_err() {
                    *taken = before;
                }
                drafted
            }
        }
    }

    /// Changes and their notice: all of them fit, or none is taken.
    fn draft_noticed(
        &mut self,
        keeper: &mut Keeper,
        taken: &mut Taken,
        changes: &[Change],
        notice: &Notice,
        copied_bytes: &mut usize,
    ) -> Result<Drafted, Refused> {
        let is_one = |change: &Change| !matches!(change, Change::Read { .. } | Change::Noticed { .. });
        if !changes.iter().all(is_one) {
            return Err(Refused::Unknown);
        }
        let mut drafted = Vec::with_capacity(changes.len());
        for change in changes {
            drafted.push(self.draft(keeper, taken, change, copied_bytes)?);
        }
        let copied = Copied::of_notice(notice);
        *copied_bytes += copied.bytes();
        let later = &mut self.copies[0].records;
        later.push(copied);
        Ok(Drafted::Noticed(drafted, notice.wait.clone(), later.len() - 1))
    }

    /// Loads a record, once for each store.
    fn copy(
        &mut self,
        keeper: &Keeper,
        from: Place,
        store: usize,
        copied_bytes: &mut usize,
    ) -> Result<usize, Refused> {
        let copies = &mut self.copies[store];
        if let Some(copy) = copies.by_place.get(&from) {
            return Ok(*copy);
        }
        let links = keeper.stores[store].links();
        let copied = Copied::load(&*keeper.files, &mut self.last_read, from, links)
            .map_err(|error| Refused::reading(&error))?;
        *copied_bytes += copied.bytes();
        copies.records.push(copied);
        copies.by_place.insert(from, copies.records.len() - 1);
        Ok(copies.records.len() - 1)
    }

    /// Makes the changes durable, one result each.
    fn carry_out(self, keeper: &mut Keeper) -> Vec<Result<Option<Place>, Refused>> {
        let Self { drafted, copies, .. } = self;
        let is_idle = !drafted.iter().any(|drafted| !matches!(drafted, Ok(Drafted::Done) | Err(_)));
        if is_idle {
            return drafted.into_iter().map(|drafted| drafted.map(|_| None)).collect();
        }
        // Nothing is copied for a journal that cannot be written.
        if let Err(error) = keeper.prepare() {
            return drafted.into_iter().map(|drafted| refuse(drafted, &Refused::disk(&error))).collect();
        }
        let [later, dead] = copies;
        let appended = [append(keeper, 0, &later), append(keeper, 1, &dead)];
        let mut entries = Vec::new();
        let results: Vec<Result<Option<Place>, Refused>> = drafted
            .into_iter()
            .map(|drafted| {
                let (mut its_entries, place) = entries_of(drafted?, &appended)?;
                entries.append(&mut its_entries);
                Ok(place)
            })
            .collect();
        if entries.is_empty() {
            return results;
        }
        let consumed = horizon(keeper, &entries);
        entries.extend(consumed.map(|cursor| Entry::Consumed { cursor }));
        match keeper.record(&entries) {
            Ok(()) => results,
            Err(error) => {
                let refused = Refused::disk(&error);
                results.into_iter().map(|result| result.and(Err(refused.clone()))).collect()
            }
        }
    }
}

/// Makes the copies for a store durable.
fn append(keeper: &mut Keeper, store: usize, copies: &Copies) -> Result<Vec<Appended>, Refused> {
    if copies.records.is_empty() {
        return Ok(Vec::new());
    }
    let records: Vec<&Copied> = copies.records.iter().collect();
    keeper.stores[store].append(&records, &mut keeper.disk).map_err(|error| Refused::disk(&error))
}

/// The entries of a change whose records were copied, and where the message is after it.
fn entries_of(
    drafted: Drafted,
    appended: &[Result<Vec<Appended>, Refused>; 2],
) -> Result<(Vec<Entry>, Option<Place>), Refused> {
    match drafted {
        Drafted::Done => Ok((Vec::new(), None)),
        Drafted::Entry(entry, place) => Ok((vec![entry], place)),
        Drafted::Copied(entry, store, copy) => {
            let appended = appended[store].as_ref().map_err(Clone::clone)?;
            let (entry, place) = copied_to(entry, &appended[copy]);
            Ok((vec![entry], Some(place)))
        }
        Drafted::Noticed(changes, wait, copy) => {
            let later = appended[0].as_ref().map_err(Clone::clone)?;
            let mut entries = Vec::with_capacity(changes.len() + 1);
            for change in changes {
                entries.append(&mut entries_of(change, appended)?.0);
            }
            let (entry, place) = copied_to(notice_entry(wait), &later[copy]);
            entries.push(entry);
            Ok((entries, Some(place)))
        }
    }
}

/// A notice begins where it waits: its entry says so as one of a snapshot does.
fn notice_entry(wait: Wait) -> Entry {
    let from = Place::Later(NOWHERE);
    Entry::Later { from, to: NOWHERE, octets: 0, recipients: Recipients::first(1), wait }
}

/// A place that is known when the record was copied.
const NOWHERE: Cursor = Cursor { sequence: 0, offset: 0 };

/// How far the log is needed no more once these entries are durable.
fn horizon(keeper: &Keeper, entries: &[Entry]) -> Option<Cursor> {
    let mut settled: HashMap<Cursor, Recipients> = HashMap::new();
    for entry in entries {
        let (Entry::Sent { place, recipients }
        | Entry::Removed { place, recipients }
        | Entry::Later { from: place, recipients, .. }
        | Entry::Dead { from: place, recipients, .. }) = entry
        else {
            continue;
        };
        if let Place::Log(cursor) = place {
            let all = settled.entry(*cursor).or_default();
            *all = all.with(recipients);
        }
    }
    keeper.state.horizon(|cursor| settled.get(&cursor).cloned().unwrap_or_default())
}

/// The entry with the place of its copy.
fn copied_to(mut copied: Entry, appended: &Appended) -> (Entry, Place) {
    let place = match &mut copied {
        Entry::Dead { at, octets, .. } => {
            (*at, *octets) = (appended.cursor, appended.octets);
            Place::Dead(appended.cursor)
        }
        Entry::Later { from, to, octets, .. } => {
            (*to, *octets) = (appended.cursor, appended.octets);
            if *from == Place::Later(NOWHERE) {
                *from = Place::Later(*to);
            }
            Place::Later(appended.cursor)
        }
        Entry::Sent { .. }
        | Entry::Held { .. }
        | Entry::Released { .. }
        | Entry::Removed { .. }
        | Entry::Consumed { .. }
        | Entry::Whole { .. } => unreachable!("only what waits and what is dead is copied"),
    };
    (copied, place)
}

fn refuse(drafted: Result<Drafted, Refused>, refused: &Refused) -> Result<Option<Place>, Refused> {
    match drafted? {
        Drafted::Done => Ok(None),
        Drafted::Entry(..) | Drafted::Copied(..) | Drafted::Noticed(..) => Err(refused.clone()),
    }
}

/// Octets of the entries of a change.
fn entries_bytes_of(drafted: &Drafted) -> usize {
    match drafted {
        Drafted::Done => 0,
        Drafted::Entry(entry, _) | Drafted::Copied(entry, ..) => entry_bytes(entry),
        Drafted::Noticed(changes, wait, _) => {
            changes.iter().map(entries_bytes_of).sum::<usize>() + entry_bytes(&notice_entry(wait.clone()))
        }
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    let mut octets = Vec::new();
    entry.encode(&mut octets);
    octets.len()
}

/// Which recipients the changes of a commit have settled already, by place.
#[derive(Default, Clone)]
struct Taken(HashMap<Place, Recipients>);

impl Taken {
    /// The place where these recipients are needed now, or [`Refused::Unknown`] where they are not.
    fn check(&self, keeper: &Keeper, place: Place, recipients: &Recipients) -> Result<Place, Refused> {
        let place = keeper.place_of(place);
        let pending = keeper.state.pending(place);
        let pending = self.0.get(&place).map_or(pending.clone(), |taken| pending.without(taken));
        if recipients.is_empty() || !pending.contains_all(recipients) {
            Err(Refused::Unknown)
        } else {
            Ok(place)
        }
    }

    /// As [`Self::check`], and they are not needed there any more.
    fn take(&mut self, keeper: &Keeper, place: Place, recipients: &Recipients) -> Result<Place, Refused> {
        let place = self.check(keeper, place, recipients)?;
        let taken = self.0.entry(place).or_default();
        *taken = taken.with(recipients);
        Ok(place)
    }
}

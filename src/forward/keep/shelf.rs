//! Which messages of `later/` or `dead/` somebody still needs, and what is known of each: 48 octets a wait.
//!
//! A record is on the shelf while one of its recipients is. Its recipients may be split over several waits,
//! each with facts of its own and no recipient in two.

use std::collections::BTreeMap;
use std::ops::Range;

use super::recipients::Recipients;
use super::texts::{TextId, Texts};
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::format::FRAME_BYTES;

/// Records by segment.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    segments: BTreeMap<u64, Segment>,
    texts: Texts,
    /// Waits on the shelf.
    waits: usize,
}

/// What is known of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts<'a> {
    /// Octets that the record takes with its file.
    pub(super) octets: u64,
    pub(super) received_at: u32,
    pub(super) at: u32,
    pub(super) attempts: u16,
    pub(super) mark: u8,
    pub(super) destination: &'a str,
    pub(super) reply: &'a str,
}

/// The records of one segment.
#[derive(Debug, Default)]
struct Segment {
    /// By place. Those without recipients are gone, and cleared away when they are half of all.
    slots: Vec<Slot>,
    gone: usize,
    /// Octets of the records that are on the shelf.
    octets: u64,
}

#[derive(Debug)]
struct Slot {
    recipients: Recipients,
    /// Where the record begins, in frames.
    place: u32,
    /// Octets of the record, in frames.
    frames: u32,
    received_at: u32,
    at: u32,
    destination: TextId,
    reply: TextId,
    attempts: u16,
    mark: u8,
}

// With a million of them there is room for the schedule in 100 MiB.
const _: () = assert!(size_of::<Slot>() <= 48);

impl Shelf {
    /// Waits on the shelf.
    pub(super) fn len(&self) -> usize {
        self.waits
    }

    /// Puts recipients of a record there, or changes what is known of them. A place beyond 2 TiB of a segment
    /// is none that there can be, and is left out.
    pub(super) fn put(&mut self, cursor: Cursor, recipients: &Recipients, facts: &Facts<'_>) {
        let Ok(place) = u32::try_from(cursor.offset / FRAME_BYTES) else { return };
        if recipients.is_empty() {
            return;
        }
        self.settle(cursor, recipients);
        let slot = Slot {
            recipients: recipients.clone(),
            place,
            frames: u32::try_from(facts.octets.div_ceil(FRAME_BYTES)).unwrap_or(u32::MAX),
            received_at: facts.received_at,
            at: facts.at,
            destination: self.texts.keep_whole(facts.destination),
            reply: self.texts.keep(facts.reply),
            attempts: facts.attempts,
            mark: facts.mark,
        };
        self.waits += 1;
        if !self.segments.contains_key(&cursor.sequence)
            && let Some(mut last) = self.segments.last_entry()
        {
            // Nothing more comes there.
            last.get_mut().slots.shrink_to_fit();
        }
        let segment = self.segments.entry(cursor.sequence).or_default();
        let range = segment.range(place);
        if segment.slots[range.clone()].iter().all(|slot| slot.recipients.is_empty()) {
            segment.octets += slot.octets();
        }
        // The one that has just been taken away, if it was only changed.
        match segment.slots[range.clone()].iter_mut().find(|slot| slot.recipients.is_empty()) {
            Some(free) => {
                *free = slot;
                segment.gone -= 1;
            }
            None => segment.slots.insert(range.end, slot),
        }
    }

    /// Takes recipients of a record away.
    pub(super) fn settle(&mut self, cursor: Cursor, recipients: &Recipients) {
        let Ok(place) = u32::try_from(cursor.offset / FRAME_BYTES) else { return };
        let Some(segment) = self.segments.get_mut(&cursor.sequence) else { return };
        let range = segment.range(place);
        let (mut left, mut octets) = (false, 0);
        for slot in segment.slots[range].iter_mut().filter(|slot| !slot.recipients.is_empty()) {
            octets = slot.octets();
            slot.recipients = slot.recipients.without(recipients);
            if slot.recipients.is_empty() {
                self.texts.release(slot.destination);
                self.texts.release(slot.reply);
                self.waits -= 1;
                segment.gone += 1;
            } else {
                left = true;
            }
        }
        if !left {
            segment.octets -= octets;
        }
        segment.clear_away();
        if segment.slots.is_empty() {
            self.segments.remove(&cursor.sequence);
        }
    }

    /// Marks recipients of a record, and changes what is given.
    pub(super) fn mark(
        &mut self,
        cursor: Cursor,
        recipients: &Recipients,
        mark: u8,
        at: Option<u32>,
        reply: Option<&str>,
    ) {
        let found: Vec<_> = self
            .of(cursor)
            .map(|(waiting, facts)| (waiting.both(recipients), facts.to_owned()))
            .filter(|(both, _)| !both.is_empty())
            .collect();
        for (both, owned) in found {
            let mut facts = owned.facts();
            facts.mark = mark;
            facts.at = at.unwrap_or(facts.at);
            facts.reply = reply.unwrap_or(facts.reply);
            self.put(cursor, &both, &facts);
        }
    }

    /// The recipients of a record that are there.
    pub(super) fn recipients(&self, cursor: Cursor) -> Recipients {
        self.of(cursor).fold(Recipients::none(), |all, (recipients, _)| all.with(recipients))
    }

    /// The waits of a record.
    pub(super) fn of(&self, cursor: Cursor) -> impl Iterator<Item = (&Recipients, Facts<'_>)> {
        let place = u32::try_from(cursor.offset / FRAME_BYTES).ok();
        let slots = place.and_then(|place| {
            let segment = self.segments.get(&cursor.sequence)?;
            segment.slots.get(segment.range(place))
        });
        let slots = slots.unwrap_or_default().iter().filter(|slot| !slot.recipients.is_empty());
        slots.map(|slot| (&slot.recipients, self.facts(slot)))
    }

    /// All waits, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Cursor, &Recipients, Facts<'_>)> {
        self.segments.keys().flat_map(|sequence| self.of_segment(*sequence))
    }

    /// The waits of a segment, by place.
    pub(super) fn of_segment(&self, sequence: u64) -> impl Iterator<Item = (Cursor, &Recipients, Facts<'_>)> {
        let slots = self.segments.get(&sequence).into_iter().flat_map(|segment| &segment.slots);
        slots.filter(|slot| !slot.recipients.is_empty()).map(move |slot| {
            let offset = u64::from(slot.place) * FRAME_BYTES;
            (Cursor { sequence, offset }, &slot.recipients, self.facts(slot))
        })
    }

    /// The segments with a record on the shelf, and how many octets those records have.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.segments.iter().map(|(sequence, segment)| (*sequence, segment.octets))
    }

    /// Octets of the records of a segment that are on the shelf; none where there is none.
    pub(super) fn octets(&self, sequence: u64) -> Option<u64> {
        self.segments.get(&sequence).map(|segment| segment.octets)
    }

    /// Octets of memory, without those of texts.
    pub(super) fn memory(&self) -> usize {
        let of_slot = |slot: &Slot| slot.recipients.heap_bytes();
        let of_segment = |segment: &Segment| {
            size_of::<(u64, Segment)>()
                + segment.slots.capacity() * size_of::<Slot>()
                + segment.slots.iter().map(of_slot).sum::<usize>()
        };
        self.segments.values().map(of_segment).sum()
    }

    fn facts(&self, slot: &Slot) -> Facts<'_> {
        Facts {
            octets: slot.octets(),
            received_at: slot.received_at,
            at: slot.at,
            attempts: slot.attempts,
            mark: slot.mark,
            destination: self.texts.text(slot.destination),
            reply: self.texts.text(slot.reply),
        }
    }
}

/// Facts that were copied.
struct OwnedFacts {
    facts: Facts<'static>,
    destination: String,
    reply: String,
}

impl Facts<'_> {
    fn to_owned(self) -> OwnedFacts {
        let (destination, reply) = (self.destination.to_owned(), self.reply.to_owned());
        OwnedFacts { facts: Facts { destination: "", reply: "", ..self }, destination, reply }
    }
}

impl OwnedFacts {
    fn facts(&self) -> Facts<'_> {
        Facts { destination: &self.destination, reply: &self.reply, ..self.facts }
    }
}

impl Slot {
    fn octets(&self) -> u64 {
        u64::from(self.frames) * FRAME_BYTES
    }
}

impl Segment {
    /// The slots of a place, those that are gone, too.
    fn range(&self, place: u32) -> Range<usize> {
        let start = self.slots.partition_point(|slot| slot.place < place);
        let count = self.slots[start..].iter().take_while(|slot| slot.place == place).count();
        start..start + count
    }

    /// Gives memory back when half of it is of no use.
    fn clear_away(&mut self) {
        if self.gone * 2 > self.slots.len() {
            self.slots.retain(|slot| !slot.recipients.is_empty());
            self.gone = 0;
            self.slots.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Cursor = Cursor { sequence: 1, offset: 4096 };
    const SECOND: Cursor = Cursor { sequence: 1, offset: 8192 };

    fn facts(attempts: u16) -> Facts<'static> {
        Facts { octets: 700, attempts, destination: "x.test", reply: "451 no", ..Facts::default() }
    }

    fn all(shelf: &Shelf) -> Vec<(Cursor, Vec<u32>, u16)> {
        shelf
            .iter()
            .map(|(cursor, recipients, facts)| (cursor, recipients.iter().collect(), facts.attempts))
            .collect()
    }

    #[test]
    fn recipients_of_one_record_may_wait_apart() {
        let mut shelf = Shelf::default();
        shelf.put(SECOND, &Recipients::first(1), &facts(9));
        shelf.put(FIRST, &Recipients::first(3), &facts(1));
        assert_eq!(shelf.octets(1), Some(2048));
        shelf.put(FIRST, &Recipients::one(1), &facts(2));
        assert_eq!(all(&shelf), [(FIRST, vec![0, 2], 1), (FIRST, vec![1], 2), (SECOND, vec![0], 9)]);
        assert_eq!((shelf.len(), shelf.octets(1)), (3, Some(2048)), "the record is there once");
        shelf.mark(FIRST, &Recipients::one(2), 7, Some(5), Some("held"));
        let marked: Vec<_> = shelf.of(FIRST).filter(|(_, facts)| facts.mark == 7).collect();
        assert_eq!(marked[0].0, &Recipients::one(2));
        assert_eq!((marked[0].1.reply, marked[0].1.at, marked[0].1.attempts), ("held", 5, 1));
        shelf.settle(FIRST, &Recipients::first(2));
        assert_eq!(shelf.recipients(FIRST), Recipients::one(2));
        shelf.settle(FIRST, &Recipients::first(9));
        assert_eq!((shelf.len(), shelf.octets(1)), (1, Some(1024)));
        shelf.settle(SECOND, &Recipients::first(1));
        assert_eq!((shelf.len(), shelf.octets(1), shelf.segments().count()), (0, None, 0));
        shelf.settle(SECOND, &Recipients::first(1));
    }

    /// With the schedule's key there is room for a million in 100 MiB.
    #[test]
    fn a_million_waits_take_sixty_octets_each() {
        let mut shelf = Shelf::default();
        let count = 1_000_000_u64;
        for number in 0..count {
            let cursor = Cursor { sequence: number / 10_000, offset: 4096 + number % 10_000 * 1024 };
            shelf.put(cursor, &Recipients::first(2), &facts(1));
        }
        assert_eq!(shelf.len() as u64, count);
        let bytes = shelf.memory() as u64 / count;
        assert!(bytes <= 60, "{bytes} octets each");
        // What was put there is tried again, in any order, and takes no more.
        for number in (0..count).rev().step_by(7) {
            let cursor = Cursor { sequence: number / 10_000, offset: 4096 + number % 10_000 * 1024 };
            shelf.put(cursor, &Recipients::first(2), &facts(2));
        }
        assert_eq!(shelf.memory() as u64 / count, bytes);
    }
}

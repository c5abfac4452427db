//! What is known of all messages: the entries of the journal, applied one after the other.

use std::collections::BTreeMap;

use super::entry::{DESTINATION_BYTES_MAX, Entry, REPLY_BYTES_MAX, Wait, Why, beginning};
use super::place::Place;
use super::recipients::{RECIPIENTS_MAX, Recipients};
use super::shelf::{Facts, Shelf};
use crate::sink::spool::cursor::Cursor;

/// Of a wait in `later/`: an operator has to say more first.
const HELD: u8 = 1;

/// What is known of all messages.
#[derive(Debug, Default)]
pub struct State {
    /// Messages of the log after `consumed` of which something is known.
    log: BTreeMap<Cursor, LogMessage>,
    /// The last one that the log was read to.
    read_to: Option<Cursor>,
    consumed: Option<Cursor>,
    later: Shelf,
    dead: Shelf,
    next_later: u64,
    next_dead: u64,
}

/// A message in the log.
#[derive(Debug, Default)]
struct LogMessage {
    /// How many recipients it has; none while it was not read since the start.
    recipients: Option<u32>,
    /// Those that need it there no more.
    settled: Recipients,
    /// Where it was copied to in `later/`.
    copy: Option<Cursor>,
}

/// Recipients that wait, or that do not get their message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where the message is: in `later/` or in `dead/`.
    pub place: Place,
    /// Who.
    pub recipients: Recipients,
    /// Octets that the message takes there.
    pub octets: u64,
    /// What is known of them. Of dead ones `next_at` is when they were given up.
    pub wait: Wait,
    /// Why they were given up; none of those that wait.
    pub why: Option<Why>,
}

impl State {
    /// Nothing known, but that the log was consumed up to here.
    pub(super) fn new(consumed: Option<Cursor>) -> Self {
        Self { consumed, next_later: 1, next_dead: 1, ..Self::default() }
    }

    /// Nothing of the log up to this record is needed any more. Reading goes on after it.
    pub fn consumed(&self) -> Option<Cursor> {
        self.consumed
    }

    /// The recipients of a message of the log that need it there no more: they are with the next hop, or the
    /// message is somewhere else for them.
    pub fn settled(&self, cursor: Cursor) -> Recipients {
        self.log.get(&cursor).map_or_else(Recipients::none, |message| message.settled.clone())
    }

    /// Messages of the log of which some recipients, or all, need it there no more.
    pub fn settled_in_log(&self) -> impl Iterator<Item = (Cursor, &Recipients)> + '_ {
        self.log.iter().map(|(cursor, message)| (*cursor, &message.settled))
    }

    /// Those who wait for a record in `later/`, with the name of their destination.
    pub fn waits_at(&self, cursor: Cursor) -> impl Iterator<Item = (&str, &Recipients)> + '_ {
        self.later.of(cursor).map(|(recipients, facts)| (facts.destination, recipients))
    }

    /// Recipients that wait, by place.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.later.iter().map(|(cursor, recipients, facts)| waiting(cursor, recipients, &facts))
    }

    /// How many waits there are.
    pub fn waiting_count(&self) -> usize {
        self.later.len()
    }

    /// Recipients that do not get their message, by place.
    pub fn dead(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.dead.iter().map(|(cursor, recipients, facts)| dead(cursor, recipients, &facts))
    }

    /// How many of these there are, as [`Self::dead`] gives them.
    pub fn dead_count(&self) -> usize {
        self.dead.len()
    }

    /// Octets of the records in `later/` and in `dead/` that somebody needs.
    pub fn bytes(&self) -> (u64, u64) {
        let of = |shelf: &Shelf| shelf.segments().map(|(_, octets)| octets).sum();
        (of(&self.later), of(&self.dead))
    }

    /// Octets of memory of what waits and what is dead, without texts.
    pub fn memory(&self) -> usize {
        self.later.memory() + self.dead.memory()
    }

    /// What is known of the records of a segment of `later/` or of `dead/`.
    pub(super) fn of_segment(&self, of_dead: bool, sequence: u64) -> Vec<Waiting> {
        let records = self.shelf(of_dead).of_segment(sequence);
        let of = if of_dead { dead } else { waiting };
        records.map(|(cursor, recipients, facts)| of(cursor, recipients, &facts)).collect()
    }

    /// The recipients for whom a message is needed where it is. None of the log's that were not read.
    pub(super) fn pending(&self, place: Place) -> Recipients {
        match place {
            Place::Log(cursor) => self.log.get(&cursor).map_or_else(Recipients::none, |message| {
                message.recipients.map_or_else(Recipients::none, Recipients::first).without(&message.settled)
            }),
            Place::Later(cursor) => self.later.recipients(cursor),
            Place::Dead(cursor) => self.dead.recipients(cursor),
        }
    }

    /// Where in `later/` a message is already, that somebody else waits for.
    pub(super) fn copy_of(&self, place: Place) -> Option<Cursor> {
        let Place::Log(cursor) = place else { return None };
        let copy = self.log.get(&cursor)?.copy?;
        self.later.of(copy).next().map(|_| copy)
    }

    /// Octets that a record takes in `later/`; none where it is not there.
    pub(super) fn octets_in_later(&self, cursor: Cursor) -> Option<u64> {
        self.later.of(cursor).next().map(|(_, facts)| facts.octets)
    }

    /// The shelf of a directory: of `later/`, or of `dead/`.
    pub(super) fn shelf(&self, of_dead: bool) -> &Shelf {
        if of_dead { &self.dead } else { &self.later }
    }

    /// The numbers of the next segments in `later/` and `dead/`.
    pub(super) fn next_sequences(&self) -> (u64, u64) {
        (self.next_later, self.next_dead)
    }

    /// The next segments have these numbers at least.
    pub(super) fn skip_sequences(&mut self, later: u64, dead: u64) {
        self.next_later = self.next_later.max(later);
        self.next_dead = self.next_dead.max(dead);
    }

    /// The log was read up to this message, which has so many recipients. False where that is not after what
    /// was read before, unless its recipients could not be told then. What was known of messages that were
    /// passed over is forgotten: no reader finds them any more.
    pub(super) fn read(&mut self, cursor: Cursor, recipients: u32) -> bool {
        if Some(cursor) <= self.read_to.max(self.consumed) {
            let untold = self.log.get_mut(&cursor).filter(|one| one.recipients == Some(RECIPIENTS_MAX));
            return untold.is_some_and(|message| {
                message.recipients = Some(recipients.max(1));
                true
            });
        }
        let before = self.read_to.unwrap_or(Cursor { sequence: 0, offset: 0 });
        let passed: Vec<Cursor> = self.log.range(before..cursor).map(|(cursor, _)| *cursor).collect();
        for passed in passed {
            if self.log.get(&passed).is_some_and(|message| message.recipients.is_none()) {
                self.log.remove(&passed);
            }
        }
        self.read_to = Some(cursor);
        // One without any would be nobody's, and forgotten.
        self.log.entry(cursor).or_default().recipients = Some(recipients.max(1));
        true
    }

    /// The last message up to which all were read and are settled, if these recipients are settled besides;
    /// `None` where that is not after what was consumed already.
    pub(super) fn horizon(&self, besides: impl Fn(Cursor) -> Recipients) -> Option<Cursor> {
        let is_settled = |(cursor, message): &(&Cursor, &LogMessage)| {
            let all = message.recipients.map(Recipients::first);
            all.is_some_and(|all| message.settled.with(&besides(**cursor)).contains_all(&all))
        };
        self.log.iter().take_while(is_settled).last().map(|(cursor, _)| *cursor)
    }

    /// Takes an entry in, with its texts as the journal has them.
    pub(super) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Sent { place, recipients } | Entry::Removed { place, recipients } => {
                self.settle(*place, recipients);
            }
            Entry::Later { from, to, octets, recipients, wait } => {
                if *from != Place::Later(*to) {
                    self.settle(*from, recipients);
                }
                if let Place::Log(from) = from
                    && Some(*from) > self.consumed
                {
                    self.log.entry(*from).or_default().copy = Some(*to);
                }
                self.next_later = self.next_later.max(to.sequence.saturating_add(1));
                self.later.put(
                    *to,
                    recipients,
                    &Facts {
                        octets: *octets,
                        received_at: wait.received_at,
                        at: wait.next_at,
                        attempts: wait.attempts,
                        mark: if wait.held { HELD } else { 0 },
                        destination: beginning(&wait.destination, DESTINATION_BYTES_MAX),
                        reply: beginning(&wait.reply, REPLY_BYTES_MAX),
                    },
                );
            }
            Entry::Dead { from, at, octets, recipients, died_at, why, reply } => {
                self.settle(*from, recipients);
                self.next_dead = self.next_dead.max(at.sequence.saturating_add(1));
                let reply = beginning(reply, REPLY_BYTES_MAX);
                self.dead.put(
                    *at,
                    recipients,
                    &Facts { octets: *octets, at: *died_at, mark: why.number(), reply, ..Facts::default() },
                );
            }
            Entry::Held { at, recipients, why } => {
                self.later.mark(*at, recipients, HELD, None, Some(beginning(why, REPLY_BYTES_MAX)));
            }
            Entry::Released { at, recipients, next_at } => {
                self.later.mark(*at, recipients, 0, Some(*next_at), None);
            }
            Entry::Consumed { cursor } => {
                if Some(*cursor) > self.consumed {
                    self.consumed = Some(*cursor);
                    self.log = self.log.split_off(cursor);
                    self.log.remove(cursor);
                }
            }
            Entry::Whole { next_later, next_dead, .. } => self.skip_sequences(*next_later, *next_dead),
        }
    }

    fn settle(&mut self, place: Place, recipients: &Recipients) {
        match place {
            Place::Log(cursor) if Some(cursor) > self.consumed => {
                let message = self.log.entry(cursor).or_default();
                message.settled = message.settled.with(recipients);
            }
            // It is consumed.
            Place::Log(_) => {}
            Place::Later(cursor) => self.later.settle(cursor, recipients),
            Place::Dead(cursor) => self.dead.settle(cursor, recipients),
        }
    }

    /// The whole state as entries. The last one is [`Entry::Whole`].
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let consumed = self.consumed.map(|cursor| Entry::Consumed { cursor });
        let log = self.log.iter().filter(|(_, message)| !message.settled.is_empty());
        let log = log.map(|(cursor, message)| Entry::Sent {
            place: Place::Log(*cursor),
            recipients: message.settled.clone(),
        });
        let later = self.waiting().map(|Waiting { place, recipients, octets, wait, .. }| Entry::Later {
            from: place,
            to: place.cursor(),
            octets,
            recipients,
            wait,
        });
        let dead = self.dead().map(|Waiting { place, recipients, octets, wait, why }| Entry::Dead {
            from: place,
            at: place.cursor(),
            octets,
            recipients,
            died_at: wait.next_at,
            why: why.unwrap_or(Why::Operator),
            reply: wait.reply,
        });
        consumed.into_iter().chain(log).chain(later).chain(dead).chain([self.whole()])
    }

    /// What the end of a snapshot says.
    fn whole(&self) -> Entry {
        Entry::Whole {
            waits: self.later.len() as u64,
            dead: self.dead.len() as u64,
            log: self.log.values().filter(|message| !message.settled.is_empty()).count() as u64,
            next_later: self.next_later,
            next_dead: self.next_dead,
        }
    }

    /// Whether it holds what the end of a snapshot says, which was applied last.
    pub(super) fn is_whole(&self, said: &Entry) -> bool {
        self.whole() == *said
    }
}

fn waiting(cursor: Cursor, recipients: &Recipients, facts: &Facts<'_>) -> Waiting {
    let wait = Wait {
        destination: facts.destination.to_owned(),
        attempts: facts.attempts,
        next_at: facts.at,
        received_at: facts.received_at,
        reply: facts.reply.to_owned(),
        held: facts.mark == HELD,
    };
    let (place, octets, recipients) = (Place::Later(cursor), facts.octets, recipients.clone());
    Waiting { place, recipients, octets, wait, why: None }
}

fn dead(cursor: Cursor, recipients: &Recipients, facts: &Facts<'_>) -> Waiting {
    let why = Some(Why::of_number(facts.mark).unwrap_or(Why::Operator));
    Waiting { place: Place::Dead(cursor), why, ..waiting(cursor, recipients, facts) }
}

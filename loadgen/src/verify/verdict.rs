//! What the comparison came to: each message held against its class.

use std::collections::BTreeMap;

use crate::corpus::id::Id;
use crate::ledger::entry::{Ending, Step};
use crate::ledger::reader::Recorded;

/// Names shown of each kind.
const NAMES_SHOWN_MAX: usize = 20;

/// What was found of one message.
#[derive(Debug, Default)]
pub struct Seen {
    /// Copies.
    pub copies: u64,
    /// Recipients that have one.
    pub recipients: Vec<Option<Vec<u8>>>,
    /// A recipient has a second one.
    pub again: bool,
    /// What is wrong with a copy.
    pub wrong: Option<String>,
    /// The first place.
    pub place: String,
}

/// The class of a message for the promise: what may, must and must not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Must be there.
    Accepted,
    /// Must not be there.
    Refused,
    /// Must not be there.
    Unfinished,
    /// 4yz to the end of mail data: it may have been handed over, and stored late. May be there, whole.
    Deferred,
    /// May be there, whole.
    Unknown,
}

impl Class {
    fn of(ending: Ending) -> Self {
        match ending {
            Ending::Accepted => Self::Accepted,
            Ending::Refused { step: Step::End, code: ..500 } => Self::Deferred,
            Ending::Refused { .. } => Self::Refused,
            Ending::Unfinished => Self::Unfinished,
            Ending::Unknown => Self::Unknown,
        }
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unfinished => "unfinished",
            Self::Deferred => "deferred",
            Self::Unknown => "unknown",
        }
    }
}

/// Messages of a class.
#[derive(Debug, Default)]
pub struct Count {
    /// In the ledger.
    pub messages: u64,
    /// Those of them that have a copy.
    pub stored: u64,
}

/// The first names of something, and how many there are.
#[derive(Debug, Default)]
pub struct Names {
    /// All of them.
    pub count: u64,
    /// `first.len() <= NAMES_SHOWN_MAX`
    pub first: Vec<String>,
}

impl Names {
    /// Adds one.
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMES_SHOWN_MAX {
            self.first.push(name());
        }
    }
}

/// What the comparison came to. `Display` is the table.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many messages of each class there are, and how many of them are stored.
    pub classes: BTreeMap<Class, Count>,
    /// Accepted, and not stored for every recipient.
    pub lost: Names,
    /// Stored, and not as they were sent.
    pub altered: Names,
    /// Stored, though refused or unfinished.
    pub unclean: Names,
    /// Stored more often than their recipients ask for.
    pub duplicated: Names,
    /// Stored, and of no run in the ledger.
    pub foreign: Names,
    /// Stored, of a run in the ledger, without a line there.
    pub unrecorded: Names,
    /// Copies of signed messages of which the receiver found what it had to find, if that was compared.
    pub judged: u64,
    /// Copies of which it found something else.
    pub misjudged: Names,
    /// Copies from which forged results of checks were cut, and nothing else.
    pub cut: u64,
    /// Copies that still have forged results.
    pub forged: Names,
    /// About the store itself.
    pub remarks: Vec<String>,
    /// Lines of the ledger that were cut off.
    pub cut_off: u64,
}

impl Verdict {
    /// Holds a message against its class.
    pub fn judge(&mut self, id: Id, message: &Recorded, seen: &Seen) {
        let class = Class::of(message.ending);
        let count = self.classes.entry(class).or_default();
        count.messages += 1;
        count.stored += u64::from(seen.copies > 0);
        let (has, wants) = (seen.recipients.len(), message.recipients);
        match class {
            Class::Accepted if seen.copies == 0 => self.lost.add(|| id.to_string()),
            Class::Accepted if has < wants => {
                self.lost.add(|| format!("{id}  for {} of {wants} recipients  {}", wants - has, seen.place));
            }
            Class::Refused | Class::Unfinished if seen.copies > 0 => {
                self.unclean.add(|| format!("{id}  {}  {}", class.name(), seen.place));
            }
            Class::Accepted | Class::Refused | Class::Unfinished | Class::Deferred | Class::Unknown => {}
        }
        if let Some(why) = &seen.wrong {
            self.altered.add(|| format!("{id}  {why}"));
        }
        if seen.again || (has > wants && matches!(class, Class::Accepted | Class::Deferred | Class::Unknown))
        {
            self.duplicated
                .add(|| format!("{id}  {} copies, {wants} recipients  {}", seen.copies, seen.place));
        }
    }

    /// Whether the promise was kept.
    pub fn holds(&self) -> bool {
        self.lost.count + self.altered.count + self.unclean.count == 0
    }
}

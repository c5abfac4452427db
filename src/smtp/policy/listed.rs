//! Whom a file of recipients lists: mailboxes, and domains whose every local-part is taken, in one table.
//!
//! A mailbox is in the table as `local-part@domain` in its comparable spelling, a domain as `@domain`, which
//! no mailbox is.

use super::aliases::with_compared;
use crate::limits::PATH_BYTES_MAX;
use crate::mail::address_table::{AddressTable, Builder, Collision, Key, Mark};
use crate::mail::caseless::comparable;
use crate::mail::envelope::Mailbox;

/// The table's flag: local-parts are spelled as they were written.
const CASE_SENSITIVE: u32 = 1;

/// The table's flag: it has domains whose every local-part is taken.
const CATCH_ALLS: u32 = 1 << 1;

/// What [`Listed::of_table`] knows.
const FLAGS: u32 = CASE_SENSITIVE | CATCH_ALLS;

/// The mark of a mailbox.
const MAILBOX: Mark = Mark::MIN;

/// The mark of a domain whose every local-part is taken.
const CATCH_ALL: Mark = MAILBOX.saturating_add(1);

/// One line of the file of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientEntry {
    /// `local-part@domain`: local-part as written with needless quotes removed, domain as lower-case A-label.
    Mailbox {
        /// Case kept.
        local_part: String,
        /// Lower-case A-label.
        domain: String,
    },
    /// `@domain`: every local-part of it.
    CatchAll(String),
}

/// Makes a table of entries, one after the other.
#[derive(Debug)]
pub struct ListBuilder {
    table: Builder,
    case_sensitive: bool,
    has_catch_alls: bool,
    /// Where an address is put together.
    whole: Vec<u8>,
}

impl ListBuilder {
    /// With a random key, and room for so many entries.
    pub fn new(key: Key, case_sensitive: bool, capacity: usize) -> Self {
        let table = Builder::new(key, capacity);
        Self { table, case_sensitive, has_catch_alls: false, whole: Vec::new() }
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: &RecipientEntry) {
        let is_catch_all = matches!(entry, RecipientEntry::CatchAll(_));
        self.has_catch_alls |= is_catch_all;
        write(entry, &mut self.whole);
        let mark = if is_catch_all { CATCH_ALL } else { MAILBOX };
        if self.case_sensitive {
            self.table.add(&self.whole, mark);
        } else {
            self.table.add(&comparable(&self.whole), mark);
        }
    }

    /// How many were added.
    pub fn added(&self) -> usize {
        self.table.added()
    }

    /// The table. On a collision all entries are to be added to a builder with another key.
    pub fn finish(self) -> Result<Listed, Collision> {
        let flags =
            (u32::from(self.case_sensitive) * CASE_SENSITIVE) | (u32::from(self.has_catch_alls) * CATCH_ALLS);
        self.table.finish(flags).map(|table| Listed { table })
    }
}

/// Whom a file of recipients lists. A million take 10 MiB. Two are equal that were made with one key of the
/// same entries.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    table: AddressTable,
}

impl Listed {
    /// What a compiled file holds. `None` for a table of flags that are not known, which somebody else made.
    pub fn of_table(table: AddressTable) -> Option<Self> {
        (table.flags() & !FLAGS == 0).then_some(Self { table })
    }

    /// As it is written into a file.
    pub fn table(&self) -> &AddressTable {
        &self.table
    }

    /// Whether local-parts are compared octet for octet.
    pub fn is_case_sensitive(&self) -> bool {
        self.table.flags() & CASE_SENSITIVE != 0
    }

    /// Mailboxes and domains, each once.
    pub fn count(&self) -> usize {
        self.table.addresses()
    }

    /// Octets that it takes.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// At which of the table's places an entry stands: a number for each of those that are equal.
    pub fn place_of(&self, entry: &RecipientEntry) -> Option<usize> {
        let mut whole = Vec::new();
        write(entry, &mut whole);
        let compared = if self.is_case_sensitive() { (&*whole).into() } else { comparable(&whole) };
        self.table.place_of(&compared)
    }

    /// Whether every local-part of a domain is taken, which is given as lower-case A-labels.
    pub(super) fn takes_all_of(&self, domain: &[u8]) -> bool {
        let mut whole = [b'@'; PATH_BYTES_MAX];
        let has_some = self.table.flags() & CATCH_ALLS != 0;
        let Some(place) = whole.get_mut(1..=domain.len()).filter(|_| has_some) else { return false };
        place.copy_from_slice(domain);
        self.table.find(whole.get(..=domain.len()).unwrap_or_default()) == Some(CATCH_ALL)
    }

    /// Whether this very mailbox is there.
    pub(super) fn holds(&self, mailbox: Mailbox<'_>) -> bool {
        // No mailbox begins with its `@`; whoever gives such a one asks about no domain.
        let is_there = |whole: &[u8]| self.table.find(whole) == Some(MAILBOX);
        with_compared(mailbox.whole, self.is_case_sensitive(), is_there) == Some(true)
    }
}

/// An entry as the table has it, but for the case of its local-part.
fn write(entry: &RecipientEntry, whole: &mut Vec<u8>) {
    let (local_part, domain) = match entry {
        RecipientEntry::Mailbox { local_part, domain } => (local_part.as_str(), domain),
        RecipientEntry::CatchAll(domain) => ("", domain),
    };
    whole.clear();
    for part in [local_part, "@", domain] {
        whole.extend_from_slice(part.as_bytes());
    }
}

//! Whom mail for an alias goes to: mailboxes that are no aliases themselves.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::limits::PATH_BYTES_MAX;
use crate::mail::caseless::{comparable, folded};
use crate::mail::envelope::Mailbox;
use crate::mail::tag::Delimiters;

/// The table of aliases. Two are equal that say the same of every mailbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    case_sensitive: bool,
    /// By their comparable spelling: a range of `targets`.
    names: HashMap<Box<[u8]>, Range<usize>>,
    /// Indices into `mailboxes`.
    targets: Vec<u32>,
    /// Each mailbox that is a target, once.
    mailboxes: Vec<Box<[u8]>>,
    /// The comparable spellings of the mailboxes, without their tags.
    named: HashSet<Box<[u8]>>,
}

/// The mailboxes that an alias stands for, as an envelope has them.
#[derive(Debug, Clone)]
pub struct Targets<'a> {
    mailboxes: &'a [Box<[u8]>],
    indices: std::slice::Iter<'a, u32>,
}

impl Aliases {
    /// Without an alias; names and mailboxes are compared so.
    pub fn new(case_sensitive: bool) -> Self {
        Self { case_sensitive, ..Self::default() }
    }

    /// Adds a mailbox that aliases stand for, in its one spelling; gives its number. `delimiters` set off its
    /// tag.
    pub fn add_mailbox(&mut self, whole: &[u8], delimiters: Delimiters) -> u32 {
        let mailbox = Mailbox::of_whole(whole);
        let untagged = delimiters.untagged(mailbox.local_part);
        let named = untagged.map_or_else(|| whole.to_vec(), |local| [&*local, b"@", mailbox.domain].concat());
        self.named.insert(compared(&named, self.case_sensitive).into());
        self.mailboxes.push(whole.into());
        u32::try_from(self.mailboxes.len() - 1).expect("the file that names them is bounded")
    }

    /// Adds an alias in its one spelling, with the numbers of its mailboxes.
    pub fn add(&mut self, name: &[u8], mailboxes: &[u32]) {
        let start = self.targets.len();
        self.targets.extend_from_slice(mailboxes);
        self.names.insert(compared(name, self.case_sensitive).into(), start..self.targets.len());
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Mailboxes of all aliases, each once.
    pub fn mailboxes(&self) -> impl Iterator<Item = Mailbox<'_>> {
        self.mailboxes.iter().map(|whole| Mailbox::of_whole(whole))
    }

    /// Octets that it takes, about.
    pub fn bytes(&self) -> usize {
        /// Of a name or mailbox with its places, besides its octets.
        const PLACE_BYTES: usize = 64;
        let texts = self.names.keys().chain(&self.mailboxes).chain(&self.named);
        let texts: usize = texts.map(|text| text.len().next_multiple_of(16) + PLACE_BYTES).sum();
        texts + size_of_val(&*self.targets)
    }

    /// What this very mailbox stands for.
    pub(super) fn find(&self, whole: &[u8]) -> Option<Targets<'_>> {
        if self.names.is_empty() {
            return None;
        }
        let range = with_compared(whole, self.case_sensitive, |whole| self.names.get(whole))??;
        let indices = self.targets.get(range.clone())?.iter();
        Some(Targets { mailboxes: &self.mailboxes, indices })
    }

    /// Whether an alias stands for this very mailbox, or for one that is it but for its tag.
    pub(super) fn is_target(&self, whole: &[u8]) -> bool {
        !self.named.is_empty()
            && with_compared(whole, self.case_sensitive, |whole| self.named.contains(whole)) == Some(true)
    }
}

impl<'a> Iterator for Targets<'a> {
    type Item = Mailbox<'a>;

    fn next(&mut self) -> Option<Mailbox<'a>> {
        let index = *self.indices.next()?;
        self.mailboxes.get(index as usize).map(|whole| Mailbox::of_whole(whole))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl ExactSizeIterator for Targets<'_> {}

fn compared(whole: &[u8], case_sensitive: bool) -> std::borrow::Cow<'_, [u8]> {
    if case_sensitive { whole.into() } else { comparable(whole) }
}

/// Gives a mailbox in its comparable spelling, which takes no memory where it is ASCII. `None` for one that
/// is longer than any.
pub(super) fn with_compared<T>(
    whole: &[u8],
    case_sensitive: bool,
    look: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    if case_sensitive {
        return Some(look(whole));
    }
    if let Some(folded) = folded(whole) {
        return Some(look(folded.as_bytes()));
    }
    // A path with its brackets fits it.
    let mut lower = [0; PATH_BYTES_MAX];
    let lower = lower.get_mut(..whole.len())?;
    lower.copy_from_slice(whole);
    lower.make_ascii_lowercase();
    Some(look(lower))
}

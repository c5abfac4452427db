//! What was found in a store, one stored copy after another.

use std::collections::HashMap;
use std::fmt::Display;

use super::verdict::{Names, Seen, Verdict};
use crate::corpus::checksum::Fingerprint;
use crate::corpus::id::{Id, find_id};
use crate::ledger::reader::{Ledger, Recorded};

/// One stored copy.
pub struct Stored<'a> {
    /// Where it is, for people.
    pub place: &'a dyn Display,
    /// What is stored, trace information and all.
    pub content: &'a [u8],
    /// Whether LF for CRLF is as good.
    pub lf_allowed: bool,
    /// For whom: those who share a maildir (unknown if nothing says so), all in a spool.
    pub recipients: Vec<Option<Vec<u8>>>,
    /// Where our own mail data begins, if the store says so.
    pub mail_data_at: Option<usize>,
    /// What is wrong with it whatever the content.
    pub complaint: Option<String>,
}

/// What was found so far.
#[derive(Debug)]
pub struct Findings {
    ledger: Ledger,
    seen: HashMap<Id, Seen>,
    /// Places of mail without an id of a run in the ledger.
    foreign: Names,
    /// Mail of a run in the ledger that has no line: the run was killed before it was written.
    unrecorded: Names,
    /// What is to be known about the store itself.
    remarks: Vec<String>,
}

impl Findings {
    /// Nothing yet, of messages in this ledger.
    pub fn new(ledger: Ledger) -> Self {
        let (foreign, unrecorded) = (Names::default(), Names::default());
        Self { ledger, seen: HashMap::new(), foreign, unrecorded, remarks: Vec::new() }
    }

    /// Something about the store that is neither mail nor its absence.
    pub fn remark(&mut self, words: String) {
        self.remarks.push(words);
    }

    /// Takes a stored copy.
    pub fn take(&mut self, stored: Stored<'_>) {
        let Some((id, at)) = find_id(stored.content).filter(|(id, _)| self.ledger.runs.contains(&id.run))
        else {
            return self.foreign.add(|| stored.place.to_string());
        };
        let Some(message) = self.ledger.messages.get(&id) else {
            return self.unrecorded.add(|| format!("{id}  {}", stored.place));
        };
        let wrong = difference(message, &stored, at);
        let seen = self.seen.entry(id).or_default();
        if seen.copies == 0 {
            seen.place = stored.place.to_string();
        }
        seen.copies += 1;
        for recipient in stored.recipients {
            if recipient.is_some() && seen.recipients.contains(&recipient) {
                seen.again = true;
            } else {
                seen.recipients.push(recipient);
            }
        }
        if let Some(why) = wrong {
            seen.wrong.get_or_insert_with(|| format!("{why}  {}", stored.place));
        }
    }

    /// The end: what the ledger has and the store has not, and so on.
    pub fn verdict(self) -> Verdict {
        let Self { ledger, seen, foreign, unrecorded, remarks } = self;
        let nothing = Seen::default();
        let mut verdict =
            Verdict { foreign, unrecorded, remarks, cut_off: ledger.cut_off, ..Verdict::default() };
        let mut messages: Vec<(&Id, &Recorded)> = ledger.messages.iter().collect();
        messages.sort_unstable_by_key(|(id, _)| **id);
        for (id, message) in messages {
            verdict.judge(*id, message, seen.get(id).unwrap_or(&nothing));
        }
        verdict
    }
}

/// What is wrong with a copy of a message whose text begins `at`.
fn difference(message: &Recorded, stored: &Stored<'_>, at: usize) -> Option<String> {
    let text = &stored.content[at..];
    let is_crlf =
        text.iter().position(|octet| *octet == b'\n').is_some_and(|end| text[..end].ends_with(b"\r"));
    let expected = if is_crlf { message.text.crlf } else { message.text.lf };
    let found = Fingerprint::of(text);
    if let Some(complaint) = &stored.complaint {
        return Some(complaint.clone());
    }
    if stored.mail_data_at.is_some_and(|start| start != at) {
        return Some("other octets stand before or behind the start of its mail data".into());
    }
    if !is_crlf && !stored.lf_allowed {
        return Some("its lines end in LF".into());
    }
    let before = &stored.content[..at];
    if before.windows(2).any(|octets| octets == b"\n\n")
        || before.windows(3).any(|octets| octets == b"\n\r\n")
    {
        return Some("an empty line stands before its header".into());
    }
    if found.bytes != expected.bytes {
        return Some(format!("{} octets instead of {}", found.bytes, expected.bytes));
    }
    (found.sum != expected.sum).then(|| "other octets".into())
}

#[cfg(test)]
mod tests;

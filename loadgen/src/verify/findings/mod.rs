//! What was found in a store, one stored copy after another.

use std::collections::HashMap;
use std::fmt::Display;

use super::results::misjudged;
use super::verdict::{Names, Seen, Verdict};
use crate::corpus::checksum::{Fingerprint, Text};
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
    /// What the receiver calls itself, if its results are compared.
    authserv_id: Option<String>,
    /// Copies whose results are right.
    judged: u64,
    /// Copies whose results are not, with a word why.
    misjudged: Names,
    /// Copies from which forged results were cut.
    cut: u64,
    /// Copies that still have theirs.
    forged: Names,
    /// What is to be known about the store itself.
    remarks: Vec<String>,
}

impl Findings {
    /// Nothing yet, of messages in this ledger; results of checks are compared if they are of this receiver.
    pub fn new(ledger: Ledger, authserv_id: Option<String>) -> Self {
        Self {
            authserv_id,
            judged: 0,
            misjudged: Names::default(),
            ledger,
            seen: HashMap::new(),
            foreign: Names::default(),
            unrecorded: Names::default(),
            cut: 0,
            forged: Names::default(),
            remarks: Vec::new(),
        }
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
        match self.authserv_id.as_deref().map(|own| misjudged(stored.content, at, own)) {
            None | Some(Err(())) => {}
            Some(Ok(None)) => self.judged += 1,
            Some(Ok(Some(why))) => self.misjudged.add(|| format!("{id}  {why}  {}", stored.place)),
        }
        let wrong = match compare(message, &stored, at) {
            Ok(form) => {
                self.cut += u64::from(form == Form::Cut);
                if form == Form::Forged {
                    self.forged.add(|| format!("{id}  {}", stored.place));
                }
                None
            }
            Err(why) => Some(why),
        };
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
        let Self { ledger, seen, .. } = self;
        let nothing = Seen::default();
        let mut verdict = Verdict {
            foreign: self.foreign,
            unrecorded: self.unrecorded,
            judged: self.judged,
            misjudged: self.misjudged,
            cut: self.cut,
            forged: self.forged,
            remarks: self.remarks,
            cut_off: ledger.cut_off,
            ..Verdict::default()
        };
        let mut messages: Vec<(&Id, &Recorded)> = ledger.messages.iter().collect();
        messages.sort_unstable_by_key(|(id, _)| **id);
        for (id, message) in messages {
            verdict.judge(*id, message, seen.get(id).unwrap_or(&nothing));
        }
        verdict
    }
}

/// What a good copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it was sent; nothing in it was forged.
    Whole,
    /// As it was sent, forged results and all.
    Forged,
    /// Without its forged results, and with all else.
    Cut,
}

/// What a copy of a message is whose text begins `at`, or what is wrong with it.
fn compare(message: &Recorded, stored: &Stored<'_>, at: usize) -> Result<Form, String> {
    let text = &stored.content[at..];
    let is_crlf =
        text.iter().position(|octet| *octet == b'\n').is_some_and(|end| text[..end].ends_with(b"\r"));
    let of = |text: Text| if is_crlf { text.crlf } else { text.lf };
    let (expected, found) = (of(message.text), Fingerprint::of(text));
    if let Some(complaint) = &stored.complaint {
        return Err(complaint.clone());
    }
    if stored.mail_data_at.is_some_and(|start| start != at) {
        return Err("other octets stand before or behind the start of its mail data".into());
    }
    if !is_crlf && !stored.lf_allowed {
        return Err("its lines end in LF".into());
    }
    let before = &stored.content[..at];
    if before.windows(2).any(|octets| octets == b"\n\n")
        || before.windows(3).any(|octets| octets == b"\n\r\n")
    {
        return Err("an empty line stands before its header".into());
    }
    if found == expected {
        return Ok(if message.cut.is_some() { Form::Forged } else { Form::Whole });
    }
    if message.cut.map(of) == Some(found) {
        return Ok(Form::Cut);
    }
    Err(if found.bytes == expected.bytes {
        "other octets".into()
    } else {
        format!("{} octets instead of {}", found.bytes, expected.bytes)
    })
}

#[cfg(test)]
mod tests;

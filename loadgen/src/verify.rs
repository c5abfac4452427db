//! `loadgen verify`: compares a ledger with what a receiver has stored.
//!
//! A reader of a store ([`maildir`], [`spool`]) hands each stored copy to [`Findings`], which says what is wrong by name. It
//! knows three promises (lost, altered, unclean) and one courtesy (duplicated), and keeps the classes of the ledger apart.

pub mod maildir;
pub mod spool;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::checksum::Fingerprint;
use crate::corpus::find_id;
use crate::ledger::{Ending, Id, Ledger, Message, Step};
use crate::output;

/// Compares a ledger with what is stored.
#[derive(Debug, Args)]
#[command(after_help = VERDICT)]
pub struct VerifyArguments {
    /// What `loadgen --ledger FILE` wrote
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,

    #[command(flatten)]
    store: StoreArguments,

    /// Duplicates fail, too
    #[arg(long)]
    pub no_duplicates: bool,
}

/// One of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct StoreArguments {
    /// The store is one maildir, or a folder with maildirs at any depth
    #[arg(long, value_name = "DIR")]
    maildir: Option<PathBuf>,

    /// The store is a spool of ringmx
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

const VERDICT: &str = "\
Exit code: 0 if every accepted message is stored whole for each recipient and nothing is stored that was refused or never \
finished; 1 if not; 2 if the ledger or the store cannot be read, the ledger has no message, or the verdict cannot be printed.";

/// The store does not keep the promise.
const BROKEN_PROMISE: u8 = 1;

/// There is nothing to say about it.
const CANNOT_TELL: u8 = 2;

/// The whole subcommand.
pub fn main(arguments: &VerifyArguments) -> ExitCode {
    match verify(arguments) {
        Ok(verdict) => {
            if let Err(error) = output::print(&verdict.to_string()) {
                output::complain(error);
                return ExitCode::from(CANNOT_TELL);
            }
            if verdict.holds(arguments.no_duplicates) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(BROKEN_PROMISE)
            }
        }
        Err(why) => {
            output::show(&format!("loadgen verify: {why}\n"));
            ExitCode::from(CANNOT_TELL)
        }
    }
}

fn verify(arguments: &VerifyArguments) -> Result<Verdict, String> {
    let path = arguments.ledger.display();
    let file =
        File::open(&arguments.ledger).map_err(|error| format!("opening the ledger {path}: {error}"))?;
    let ledger = Ledger::read(BufReader::new(file))
        .map_err(|error| format!("reading the ledger {path}: {error}"))?
        .map_err(|bad| format!("the ledger {path} is damaged, {bad}"))?;
    if ledger.messages.is_empty() {
        return Err(format!("the ledger {path} has no message"));
    }
    let mut findings = Findings::new(ledger);
    match &arguments.store {
        StoreArguments { maildir: Some(root), .. } => maildir::read(root, &mut findings)?,
        StoreArguments { spool: Some(root), .. } => spool::read(root, &mut findings)?,
        StoreArguments { maildir: None, spool: None } => unreachable!("clap requires one"),
    }
    Ok(findings.verdict())
}

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

/// What was found of one message.
#[derive(Debug, Default)]
struct Seen {
    /// Copies.
    copies: u64,
    /// Recipients that have one.
    recipients: Vec<Option<Vec<u8>>>,
    /// A recipient has a second one.
    again: bool,
    /// What is wrong with a copy.
    wrong: Option<String>,
    /// The first place.
    place: String,
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
    fn new(ledger: Ledger) -> Self {
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
    fn verdict(self) -> Verdict {
        let Self { ledger, seen, foreign, unrecorded, remarks } = self;
        let nothing = Seen::default();
        let mut verdict =
            Verdict { foreign, unrecorded, remarks, cut_off: ledger.cut_off, ..Verdict::default() };
        let mut messages: Vec<(&Id, &Message)> = ledger.messages.iter().collect();
        messages.sort_unstable_by_key(|(id, _)| **id);
        for (id, message) in messages {
            verdict.judge(*id, message, seen.get(id).unwrap_or(&nothing));
        }
        verdict
    }
}

/// What is wrong with a copy of a message whose text begins `at`.
fn difference(message: &Message, stored: &Stored<'_>, at: usize) -> Option<String> {
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

    fn name(self) -> &'static str {
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
struct Count {
    messages: u64,
    stored: u64,
}

/// The first names of something, and how many there are.
#[derive(Debug, Default)]
struct Names {
    count: u64,
    /// At most [`table::NAMES_SHOWN_MAX`].
    first: Vec<String>,
}

impl Names {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < table::NAMES_SHOWN_MAX {
            self.first.push(name());
        }
    }
}

/// What the comparison came to. `Display` is the table.
#[derive(Debug, Default)]
struct Verdict {
    classes: BTreeMap<Class, Count>,
    lost: Names,
    altered: Names,
    unclean: Names,
    duplicated: Names,
    foreign: Names,
    unrecorded: Names,
    remarks: Vec<String>,
    cut_off: u64,
}

impl Verdict {
    fn judge(&mut self, id: Id, message: &Message, seen: &Seen) {
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

    fn holds(&self, no_duplicates: bool) -> bool {
        let broken = self.lost.count + self.altered.count + self.unclean.count;
        broken == 0 && !(no_duplicates && self.duplicated.count > 0)
    }
}

#[cfg(test)]
mod tests;

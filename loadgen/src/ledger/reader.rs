//! Reads a ledger. A ledger that was cut off is read as far as it goes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, BufRead};
use std::str::FromStr;

use super::entry::{Ending, Step};
use super::line::{RUN, WHOLE};
use crate::corpus::checksum::{Fingerprint, Text};
use crate::corpus::id::{Id, digits};

/// Whether a file that begins with this line may be a ledger. Its first line may have been cut off.
pub fn may_begin(line: &[u8]) -> bool {
    RUN.as_bytes().starts_with(line)
        || line.strip_prefix(RUN.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

/// A message as the ledger has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its text.
    pub text: Text,
    /// Its text without forged results, if it has some: then that is whole, too.
    pub cut: Option<Text>,
    /// Recipients: those asked for, and once its end is known those that were accepted.
    pub recipients: usize,
    /// How it ended; unknown without a second line.
    pub ending: Ending,
}

/// A ledger that was read.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages by name.
    pub messages: HashMap<Id, Recorded>,
    /// Runs.
    pub runs: HashSet<u64>,
    /// Lines that were cut off: a run was killed.
    pub cut_off: u64,
}

/// A line that no ledger has.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// What is wrong.
    pub why: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.why)
    }
}

impl Ledger {
    /// Reads all lines. A line may be cut off where a run was killed: at the end, or before the next run's
    /// line.
    pub fn read(mut lines: impl BufRead) -> io::Result<Result<Self, BadLine>> {
        let (mut ledger, mut line) = (Self::default(), Vec::new());
        let mut number = 0;
        let mut cut_off_at = None;
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(Ok(ledger));
            }
            number += 1;
            let words: Vec<&str> = str::from_utf8(line.trim_ascii_end()).unwrap_or("").split(' ').collect();
            if let Some(number) = cut_off_at.filter(|_| words.first() != Some(&RUN)) {
                return Ok(Err(BadLine { number, why: "it is cut off, and the run goes on behind it" }));
            }
            cut_off_at = None;
            let taken = if let Some((&WHOLE, words)) = words.split_last() {
                ledger.take(words)
            } else {
                cut_off_at = Some(number);
                ledger.cut_off += 1;
                Ok(())
            };
            if let Err(why) = taken {
                return Ok(Err(BadLine { number, why }));
            }
        }
    }

    fn take(&mut self, words: &[&str]) -> Result<(), &'static str> {
        let id = |word: &str| Id::from_str(word).map_err(|()| "the id is wrong");
        let recipients = |word: &str| word.parse::<u16>().map(usize::from).map_err(|_| NUMBER);
        match *words {
            [RUN, run] => {
                self.runs.insert(digits(run).ok_or(NUMBER)?);
                Ok(())
            }
            ["begun", name, asked, ref texts @ ..] if matches!(texts.len(), 4 | 8) => {
                let id = id(name)?;
                if !self.runs.contains(&id.run) {
                    return Err("a message of a run that has no line");
                }
                let mut texts = texts.chunks_exact(4).map(text);
                let text = texts.next().ok_or(NUMBER)??;
                let cut = texts.next().transpose()?;
                let message = Recorded { text, cut, recipients: recipients(asked)?, ending: Ending::Unknown };
                match self.messages.insert(id, message) {
                    None => Ok(()),
                    Some(_) => Err("the message began before"),
                }
            }
            ["accepted", name, count] => self.end(id(name)?, recipients(count)?, Ending::Accepted),
            ["unfinished", name, count] => self.end(id(name)?, recipients(count)?, Ending::Unfinished),
            ["unknown", name, count] => self.end(id(name)?, recipients(count)?, Ending::Unknown),
            ["refused", name, count, step, code] => {
                let step = Step::ALL.iter().find(|(_, name)| *name == step).ok_or("the step is wrong")?.0;
                let code = code.parse().ok().filter(|code| (400..600).contains(code)).ok_or(NUMBER)?;
                self.end(id(name)?, recipients(count)?, Ending::Refused { step, code })
            }
            _ => Err("it is no line of a ledger"),
        }
    }

    fn end(&mut self, id: Id, recipients: usize, ending: Ending) -> Result<(), &'static str> {
        let message = self.messages.get_mut(&id).ok_or("a message ended that did not begin")?;
        message.ending = ending;
        message.recipients = recipients;
        Ok(())
    }
}

const NUMBER: &str = "a number is wrong";

/// A text by its four words: octets and checksum, with CRLF and with LF.
fn text(words: &[&str]) -> Result<Text, &'static str> {
    let [bytes, sum, bytes_lf, sum_lf] = *words else { return Err(NUMBER) };
    let fingerprint = |bytes: &str, sum: &str| -> Result<Fingerprint, &'static str> {
        let bytes = bytes.parse().map_err(|_| NUMBER)?;
        Ok(Fingerprint { bytes, sum: digits(sum).ok_or(NUMBER)? })
    };
    Ok(Text { crlf: fingerprint(bytes, sum)?, lf: fingerprint(bytes_lf, sum_lf)? })
}

#[cfg(test)]
mod tests {
    use super::super::line::{write_begun, write_ended, write_run};
    use super::*;

    const TEXT: Text =
        Text { crlf: Fingerprint { bytes: 600, sum: 1 }, lf: Fingerprint { bytes: 580, sum: 2 } };

    /// Every other message has forged results.
    fn cut(number: u64) -> Option<Text> {
        let crlf = Fingerprint { bytes: 500, sum: 3 };
        (number % 2 == 1).then_some(Text { crlf, ..TEXT })
    }

    fn id(number: u64) -> Id {
        Id { run: 7, number }
    }

    fn written(endings: &[Ending]) -> String {
        let mut text = String::new();
        write_run(&mut text, 7).expect("text");
        for (number, ending) in (0..).zip(endings) {
            write_begun(&mut text, id(number), 3, &TEXT, cut(number).as_ref()).expect("text");
            write_ended(&mut text, id(number), 2, *ending).expect("text");
        }
        text
    }

    const ENDINGS: [Ending; 4] = [
        Ending::Accepted,
        Ending::Refused { step: Step::End, code: 552 },
        Ending::Unfinished,
        Ending::Unknown,
    ];

    fn read(text: &str) -> Result<Ledger, BadLine> {
        Ledger::read(text.as_bytes()).expect("in memory")
    }

    #[test]
    fn what_is_written_is_read() {
        let ledger = read(&written(&ENDINGS)).expect("a ledger");
        assert_eq!(ledger.runs, HashSet::from([7]));
        for (number, ending) in (0..).zip(ENDINGS) {
            let expected = Recorded { text: TEXT, cut: cut(number), recipients: 2, ending };
            assert_eq!(ledger.messages[&id(number)], expected);
        }
    }

    #[test]
    fn a_ledger_cut_off_anywhere_never_says_more_than_was_known() {
        let text = written(&ENDINGS);
        for at in 0..=text.len() {
            let ledger = read(&text[..at]).expect("still a ledger");
            for (id, message) in &ledger.messages {
                let full = ENDINGS[usize::try_from(id.number).expect("small")];
                assert!(message.ending == Ending::Unknown || message.ending == full, "cut at {at}");
                assert_eq!((message.text, message.cut), (TEXT, cut(id.number)));
            }
        }
    }

    #[test]
    fn what_begins_otherwise_is_no_ledger() {
        let text = written(&[]);
        let first = text.trim_end().as_bytes();
        assert!((0..=first.len()).all(|cut| may_begin(&first[..cut])));
        for other in [&b"{"[..], b"loadgen-ledger-12 x .", b"loadgen-ledger-2 0000000000000008 .", b" "] {
            assert!(!may_begin(other), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_later_run_may_follow_a_line_that_was_cut_off_and_nothing_else_may() {
        let whole = written(&ENDINGS);
        let cut = whole.trim_end().strip_suffix('.').expect("the last word");
        let next = "loadgen-ledger-1 0000000000000008 .\n";
        assert_eq!(read(&format!("{cut}\n{next}")).expect("two runs").cut_off, 1);
        assert!(read(&format!("{cut}\naccepted {} 1 .\n", id(0))).is_err());
        for bad in ["begun x 1 1 0 1 0 .", "accepted 0000000000000007-00000000000000ff 1 .", "what ."] {
            assert!(read(&format!("{whole}{bad}\n")).is_err(), "{bad}");
        }
    }
}

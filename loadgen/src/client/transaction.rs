//! The state of one transaction, and the chunks (RFC 3030) that its message is cut into.

use std::io::Write as _;
use std::time::Instant;

use crate::corpus::Corpus;
use crate::latency::Phase;
use crate::ledger::entry::{Ending, Entry, Step};
use crate::tally::Tally;

/// A transaction that was begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    pub(super) number: u64,
    /// Recipients accepted.
    pub(super) recipients: usize,
    /// A reply was not as expected; whatever comes, the message does not count as accepted.
    pub(super) spoiled: bool,
    /// What the ledger does not yet know the end of.
    pub(super) open: Open,
    /// The last refusal.
    pub(super) refusal: Option<(Step, u16)>,
    /// Chunks that are not answered.
    pub(super) chunks_left: usize,
    /// Start of its latency: the intended time, or else when MAIL was said.
    pub(super) due: Instant,
    pub(super) mail_at: Instant,
    /// When the RCPT was said that is answered next.
    pub(super) rcpt_at: Instant,
    pub(super) mail_data_at: Instant,
}

impl Transaction {
    /// One of which the ledger knows nothing.
    pub(super) fn none(now: Instant) -> Self {
        Self {
            number: 0,
            recipients: 0,
            spoiled: false,
            open: Open::Nothing,
            refusal: None,
            chunks_left: 0,
            due: now,
            mail_at: now,
            rcpt_at: now,
            mail_data_at: now,
        }
    }
    /// A reply with this code ended the transaction; tells the ledger how.
    pub(super) fn settle(&mut self, code: u16, tally: &mut Tally) {
        let refused = self.refusal.map(|(step, code)| Ending::Refused { step, code });
        let ending = match (self.open, refused) {
            (Open::Nothing, _) => return,
            (Open::Envelope, refused) => refused.unwrap_or(Ending::Unfinished),
            (Open::MailData, _) if code == 250 => Ending::Accepted,
            (Open::MailData, Some(refused)) if code >= 400 => refused,
            (Open::MailData, _) => Ending::Unknown,
        };
        self.note(ending, tally);
    }

    /// Tells the ledger how the message ended.
    pub(super) fn note(&mut self, ending: Ending, tally: &mut Tally) {
        let Self { number, recipients, .. } = *self;
        let recipients = u16::try_from(recipients).unwrap_or(u16::MAX);
        tally.notes.add(Entry::Ended { number, ending, recipients });
        self.open = Open::Nothing;
    }

    /// The message was accepted `now`.
    pub(super) fn count_accepted(&self, corpus: &Corpus, now: Instant, tally: &mut Tally) {
        let Self { number, mail_data_at, due, .. } = *self;
        tally.accepted += 1;
        let octets = corpus.size_of(number);
        tally.octets += octets;
        tally.last_accepted = Some(now);
        let latency = now.saturating_duration_since(due);
        tally.latencies.record(Phase::Accepted, now - mail_data_at);
        tally.latencies.record(Phase::Transaction, latency);
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        tally.recorder.record(microseconds, octets);
        tally.latency_sum += microseconds;
        tally.latency_max = tally.latency_max.max(microseconds);
    }
}

/// How far a message has come whose end is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// There is no such message.
    Nothing,
    /// The end of its mail data was not given out to be sent.
    Envelope,
    /// It was given out.
    MailData,
}

/// A message that goes in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    head: Vec<u8>,
    body: &'static [u8],
    /// Octets of a chunk, the last one aside.
    chunk: usize,
    /// Octets said, head and body.
    said: usize,
}

impl Chunks {
    pub(super) fn new(corpus: &Corpus, number: u64, chunk: usize) -> Self {
        let mut head = Vec::new();
        let body = corpus.write_head(number, false, &mut head);
        // The first chunk has the whole head, so that only the first is made of two parts.
        let chunk = chunk.max(head.len());
        Self { head, body, chunk, said: 0 }
    }

    fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub(super) fn count(&self) -> usize {
        self.bytes().div_ceil(self.chunk)
    }

    /// Whether the last one was said.
    pub(super) fn is_last(&self) -> bool {
        self.said == self.bytes()
    }

    /// Appends BDAT (and the head) to `octets`, and gives what follows.
    pub(super) fn next(&mut self, octets: &mut Vec<u8>) -> &'static [u8] {
        let until = self.bytes().min(self.said + self.chunk);
        let last = if until == self.bytes() { " LAST" } else { "" };
        let _ = write!(octets, "BDAT {}{last}\r\n", until - self.said);
        let from = self.said.saturating_sub(self.head.len());
        if self.said == 0 {
            octets.extend_from_slice(&self.head);
        }
        self.said = until;
        &self.body[from..until - self.head.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Recipe;

    #[test]
    fn chunks_are_the_message_and_the_last_is_told() {
        let corpus = Corpus::new(&Recipe { chunked: true, ..Recipe::for_tests() }).expect("a corpus");
        for chunk in [1, 200, 299, 300, 599, 600, 601, 1 << 30] {
            let mut chunks = Chunks::new(&corpus, 3, chunk);
            let (mut whole, mut said) = (Vec::new(), 0);
            while !chunks.is_last() {
                let mut octets = Vec::new();
                let body = chunks.next(&mut octets);
                let end = octets.windows(2).position(|at| at == b"\r\n").expect("a line") + 2;
                let line = String::from_utf8(octets[..end].to_vec()).expect("ASCII");
                assert_eq!(line.contains("LAST"), chunks.is_last(), "{line}");
                let data = [&octets[end..], body].concat();
                assert_eq!(line.split_whitespace().nth(1), Some(data.len().to_string().as_str()));
                whole.extend_from_slice(&data);
                said += 1;
            }
            assert_eq!(said, chunks.count());
            assert_eq!(whole.len(), 600);
        }
    }
}

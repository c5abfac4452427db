//! The client's side of SMTP sessions (RFC 5321, RFC 2920), sans-IO: octets of replies go in, what to send next comes out. No
//! socket, file, thread or clock; time is an argument.
//!
//! ```text
//!   Greeting → Ehlo → Ready ─┬→ Mail → Recipient… → Data → MailData → Ready …
//!                            │     any refusal ──→ Reset ──────────→ Ready
//!                            └→ Quit → Over
//! ```
//!
//! A stage names what is to be said, and, once it is said, what the next reply answers. In a command group the stages from
//! Mail to Data are said at once and their replies go through them one by one. Every reply that is not the one that a
//! receiver in order gives is a failure of the run: it is counted, and the session goes on as a client should.

use std::fmt;
use std::time::Instant;

use crate::histogram::Phase;
use crate::ledger::{self, Entry, Step};
use crate::reply::{Line, ReplyReader};
use crate::scenario::{Commands, Scenario};
use crate::tally::Tally;

/// The messages that a thread has still to send; its clients share them.
#[derive(Debug)]
pub struct Work {
    /// Number of the next message.
    next: u64,
    left: u64,
    /// Sessions that have one of `left` promised and have not begun it. No other session takes it, so that none is begun for
    /// nothing.
    promised: u64,
}

impl Work {
    /// `count` messages (none: without end) whose numbers begin at `first`.
    pub fn new(first: u64, count: Option<u64>) -> Self {
        Self { next: first, left: count.unwrap_or(u64::MAX), promised: 0 }
    }

    /// Promises a new session its first message, if one is left.
    pub fn promise(&mut self) -> bool {
        let free = self.promised < self.left;
        self.promised += u64::from(free);
        free
    }

    /// A session ended before it began the message it was promised.
    pub fn withdraw(&mut self) {
        self.promised -= 1;
    }

    /// No message is begun from now on.
    pub fn end(&mut self) {
        self.left = 0;
    }

    fn take(&mut self, promised: bool) -> Option<u64> {
        if promised {
            self.promised -= 1;
        } else if self.promised >= self.left {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.next += 1;
        Some(self.next - 1)
    }
}

/// See the drawing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Ehlo,
    /// Between transactions: a message or QUIT comes next.
    Ready,
    Mail,
    /// The RCPT of this index.
    Recipient(usize),
    Data,
    MailData,
    Reset,
    Quit,
    Over(Ending),
}

impl Stage {
    /// The step of a transaction that a reply answers here.
    fn step(self) -> Option<Step> {
        match self {
            Self::Mail => Some(Step::Mail),
            Self::Recipient(_) => Some(Step::Rcpt),
            Self::Data => Some(Step::Data),
            Self::MailData => Some(Step::End),
            Self::Greeting | Self::Ehlo | Self::Ready | Self::Reset | Self::Quit | Self::Over(_) => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::Ready => "between transactions",
            Self::Mail => "MAIL",
            Self::Recipient(_) => "RCPT",
            Self::Data => "DATA",
            Self::MailData => "mail data",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
            Self::Over(_) => "end of session",
        })
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// QUIT was answered; the server closes the connection (§4.1.1.10).
    Quit,
    /// It cannot go on; the connection is to be closed.
    Broken,
}

/// One session.
#[derive(Debug)]
pub struct Client {
    scenario: &'static Scenario,
    replies: ReplyReader,
    stage: Stage,
    /// Whether what the stage says was handed out, so that a reply may come.
    said: bool,
    /// Whether command groups are sent: asked for and offered.
    pipelining: bool,
    /// The first message is promised and not begun.
    promised: bool,
    /// Messages begun in this session.
    begun: u64,
    /// Messages accepted in this session. `accepted <= begun`.
    accepted: u64,
    transaction: Transaction,
    /// Start of the wait for the greeting.
    connected_at: Instant,
}

/// The transaction under way.
#[derive(Debug)]
struct Transaction {
    number: u64,
    /// Recipients accepted.
    recipients: usize,
    /// A reply was not as expected; whatever comes, the message does not count as accepted.
    spoiled: bool,
    /// What the ledger does not yet know the end of.
    open: Open,
    /// The last refusal.
    refusal: Option<(Step, u16)>,
    mail_at: Instant,
    mail_data_at: Instant,
}

/// How far a message has come whose end is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// There is none.
    Nothing,
    /// Its mail data was not given out to be sent.
    Envelope,
    /// Its mail data was given out.
    MailData,
}

impl Client {
    /// A session that was promised a message, on a connection that stands since `now`.
    pub fn new(scenario: &'static Scenario, now: Instant) -> Self {
        Self {
            scenario,
            replies: ReplyReader::default(),
            stage: Stage::Greeting,
            said: true,
            pipelining: false,
            promised: true,
            begun: 0,
            accepted: 0,
            transaction: Transaction {
                number: 0,
                recipients: 0,
                spoiled: false,
                open: Open::Nothing,
                refusal: None,
                mail_at: now,
                mail_data_at: now,
            },
            connected_at: now,
        }
    }

    /// How the session ended, once it did.
    pub fn ending(&self) -> Option<Ending> {
        match self.stage {
            Stage::Over(ending) => Some(ending),
            _ => None,
        }
    }

    /// Whether it has not begun the message it was promised.
    pub fn is_promised(&self) -> bool {
        self.promised
    }

    /// Messages accepted in this session.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What the session waits for, in words.
    pub fn waits_for(&self) -> impl fmt::Display {
        self.stage
    }

    /// Takes octets that the server sent.
    pub fn handle_octets(&mut self, mut octets: &[u8], now: Instant, tally: &mut Tally) {
        // Taken out, so that a line may borrow from it while its reply is handled.
        let mut replies = std::mem::take(&mut self.replies);
        while self.ending().is_none() {
            match replies.next_line(&mut octets) {
                Ok(None) => break,
                Ok(Some(line)) => {
                    if self.stage == Stage::Ehlo {
                        self.pipelining |= self.scenario.pipelining && offers_pipelining(&line);
                    }
                    if line.last {
                        self.handle_reply(&line, now, tally);
                    }
                }
                Err(malformed) => {
                    tally.failures.add(|| format!("{}: {malformed}", self.stage));
                    self.stage = Stage::Over(Ending::Broken);
                }
            }
        }
        self.replies = replies;
    }

    /// What to send now, if anything: octets put into `head` (empty when handed in), and behind them those returned.
    pub fn next_send(
        &mut self,
        head: &mut Vec<u8>,
        work: &mut Work,
        now: Instant,
        tally: &mut Tally,
    ) -> Option<&'static [u8]> {
        if self.said {
            return None;
        }
        if self.stage == Stage::Ready {
            self.begin(work, now, tally);
        }
        self.said = true;
        let scenario = self.scenario;
        let commands = &scenario.commands;
        match self.stage {
            Stage::Ehlo => Some(&commands.ehlo),
            Stage::Mail if self.pipelining => Some(&commands.group),
            Stage::Mail => Some(&commands.mail),
            Stage::Recipient(index) => commands.recipients.get(index).map(Vec::as_slice),
            Stage::Data => Some(Commands::DATA),
            Stage::MailData => {
                self.transaction.mail_data_at = now;
                if self.transaction.recipients == 0 {
                    return Some(Commands::EMPTY_MAIL_DATA);
                }
                self.transaction.open = Open::MailData;
                Some(scenario.corpus.write_head(self.transaction.number, head))
            }
            Stage::Reset => Some(Commands::RSET),
            Stage::Quit => Some(Commands::QUIT),
            Stage::Greeting | Stage::Ready | Stage::Over(_) => None,
        }
    }

    /// A message, if the scenario has the session send another and one is left, or else QUIT.
    fn begin(&mut self, work: &mut Work, now: Instant, tally: &mut Tally) {
        let full = self.scenario.messages_per_session.is_some_and(|most| self.begun >= most.get());
        let number = if full { None } else { work.take(std::mem::take(&mut self.promised)) };
        let Some(number) = number else {
            self.stage = Stage::Quit;
            return;
        };
        tally.started += 1;
        self.begun += 1;
        tally.notes.add(Entry::Begun { number });
        self.transaction = Transaction {
            number,
            recipients: 0,
            spoiled: false,
            open: Open::Envelope,
            refusal: None,
            mail_at: now,
            mail_data_at: now,
        };
        self.stage = Stage::Mail;
    }

    fn handle_reply(&mut self, line: &Line<'_>, now: Instant, tally: &mut Tally) {
        tally.replies.count(line.code);
        let answered = self.said;
        // §4.2.1: 251 says that the recipient is not local and the server forwards.
        let expected = answered
            && match self.stage {
                Stage::Greeting => line.code == 220,
                Stage::Ehlo | Stage::Mail | Stage::MailData | Stage::Reset => line.code == 250,
                Stage::Recipient(_) => matches!(line.code, 250 | 251),
                Stage::Data => line.code == 354,
                Stage::Quit => line.code == 221,
                Stage::Ready | Stage::Over(_) => false,
            };
        if !expected {
            self.transaction.spoiled = true;
            tally.failures.add(|| {
                let unasked = if answered { "" } else { " (nothing was asked)" };
                format!("{}: reply {} \"{}\"{unasked}", self.stage, line.code, line.text.escape_ascii())
            });
        }
        // A dot that ended no mail data of ours is answered: what counts is why there was none.
        let of_ours = self.stage != Stage::MailData || self.transaction.open == Open::MailData;
        if let (true, true, 400.., Some(step)) = (answered, of_ours, line.code, self.stage.step()) {
            self.transaction.refusal = Some((step, line.code));
        }
        // §3.8: with 421 the server closes the connection, whatever was asked.
        if !answered || line.code == 421 {
            if answered {
                self.settle(line.code, tally);
            }
            self.stage = Stage::Over(Ending::Broken);
            return;
        }
        let next = self.stage_after(expected, now, tally);
        if matches!(next, Stage::Reset | Stage::Ready) {
            self.settle(line.code, tally);
        }
        // The rest of a command group was said with its MAIL.
        self.said = self.pipelining && matches!(next, Stage::Recipient(_) | Stage::Data);
        self.stage = next;
    }

    /// A reply with this code ended the transaction; tells the ledger how.
    fn settle(&mut self, code: u16, tally: &mut Tally) {
        let refused = self.transaction.refusal.map(|(step, code)| ledger::Ending::Refused { step, code });
        let ending = match (self.transaction.open, refused) {
            (Open::Nothing, _) => return,
            (Open::Envelope, refused) => refused.unwrap_or(ledger::Ending::Unfinished),
            (Open::MailData, _) if code == 250 => ledger::Ending::Accepted,
            (Open::MailData, Some(refused)) if code >= 400 => refused,
            (Open::MailData, _) => ledger::Ending::Unknown,
        };
        self.note(ending, tally);
    }

    /// The connection is over. `sent` says whether all that was last given out to be sent was sent, or may have been.
    pub fn abandon(&mut self, sent: bool, tally: &mut Tally) {
        match self.transaction.open {
            Open::Nothing => {}
            Open::MailData if sent => self.note(ledger::Ending::Unknown, tally),
            Open::Envelope | Open::MailData => self.note(ledger::Ending::Unfinished, tally),
        }
    }

    fn note(&mut self, ending: ledger::Ending, tally: &mut Tally) {
        let Transaction { number, recipients, .. } = self.transaction;
        let recipients = u16::try_from(recipients).unwrap_or(u16::MAX);
        tally.notes.add(Entry::Ended { number, ending, recipients });
        self.transaction.open = Open::Nothing;
    }

    /// Where a reply leads that was, or was not, the expected one.
    fn stage_after(&mut self, expected: bool, now: Instant, tally: &mut Tally) -> Stage {
        match self.stage {
            Stage::Greeting if expected => {
                tally.latencies.record(Phase::Greeting, now - self.connected_at);
                Stage::Ehlo
            }
            Stage::Ehlo if expected => {
                tally.pipelining_missing |= self.scenario.pipelining && !self.pipelining;
                Stage::Ready
            }
            Stage::Greeting | Stage::Ehlo | Stage::Reset if !expected => Stage::Quit,
            Stage::Mail if expected || self.pipelining => Stage::Recipient(0),
            Stage::Recipient(index) => {
                self.transaction.recipients += usize::from(expected);
                let more = index + 1 < self.scenario.commands.recipients.len();
                match () {
                    () if more => Stage::Recipient(index + 1),
                    () if self.transaction.recipients > 0 || self.pipelining => Stage::Data,
                    () => Stage::Reset,
                }
            }
            Stage::Data if expected => {
                tally.latencies.record(Phase::Envelope, now - self.transaction.mail_at);
                Stage::MailData
            }
            Stage::Mail | Stage::Data => Stage::Reset,
            Stage::MailData => {
                if !self.transaction.spoiled {
                    self.count_accepted(now, tally);
                }
                Stage::Ready
            }
            Stage::Quit => Stage::Over(Ending::Quit),
            Stage::Greeting | Stage::Ehlo | Stage::Reset | Stage::Ready => Stage::Ready,
            Stage::Over(ending) => Stage::Over(ending),
        }
    }

    fn count_accepted(&mut self, now: Instant, tally: &mut Tally) {
        self.accepted += 1;
        tally.accepted += 1;
        tally.last_accepted = Some(now);
        tally.latencies.record(Phase::Accepted, now - self.transaction.mail_data_at);
        tally.latencies.record(Phase::Transaction, now - self.transaction.mail_at);
    }
}

/// Whether a line of the reply to EHLO offers PIPELINING (RFC 2920 §2). The first line names the server, and the name
/// PIPELINING is not a domain.
fn offers_pipelining(line: &Line<'_>) -> bool {
    line.code == 250 && line.text.eq_ignore_ascii_case(b"PIPELINING")
}

#[cfg(test)]
mod tests;

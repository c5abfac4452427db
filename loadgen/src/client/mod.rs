//! The client's side of SMTP sessions (RFC 5321, RFC 2920), sans-IO: octets of replies go in, what to send
//! next comes out. No socket, file, thread or clock; time is an argument.
//!
//! ```text
//!   Greeting → Ehlo → Ready ─┬→ Mail → Recipient… → Data → MailData → Ready …
//!                            │     any refusal ──→ Reset ──────────→ Ready
//!                            └→ Quit → Over
//!   Ehlo → StartTls → Handshake → Ehlo           (RFC 3207; with implicit TLS: Handshake → Greeting)
//! ```
//!
//! A stage names what is to be said, and, once it is said, what the next reply answers. In a command group
//! the stages from Mail to Data are said at once and their replies go through them one by one; transactions
//! that were begun before the one under way ended wait in `ahead`. With BDAT (RFC 3030) there is no Data, and
//! each chunk has a reply. A reply that the scenario does not expect is a failure of the run: it is counted,
//! and the session goes on as a client should.

mod handshake;
mod offered;
mod sends;
mod stage;
mod transaction;

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use crate::latency::Phase;
use crate::ledger::entry::Ending;
use crate::reply::{ReplyLine, ReplyReader};
use crate::scenario::Scenario;
use crate::scenario::act::Act;
use crate::tally::Tally;
use crate::tls::mode::Mode;
use crate::work::Message;
use offered::Offered;
pub use stage::SessionEnd;
use stage::Stage;
use transaction::{Chunks, Open, Transaction};

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
    offered: Offered,
    /// Whether it is under TLS.
    secured: bool,
    /// A message that this session was made for and has not begun.
    claimed: Option<Message>,
    /// Messages begun in this session.
    begun: u64,
    /// Messages of this session that ended as the scenario expects. `done <= begun`.
    done: u64,
    transaction: Transaction,
    /// Transactions that were said after the one under way.
    ahead: VecDeque<Transaction>,
    /// What is left to be said of a message that goes in chunks.
    chunks: Option<Chunks>,
    /// Start of a send that ends with the last octet of mail data.
    data_at: Option<Instant>,
    /// When the next octet of a slow client is due.
    drip_at: Option<Instant>,
    /// Which connection of the run this is: the address in its PROXY header.
    serial: u64,
    /// Start of the session: of the connect, or the intended time of the message that it is made for.
    begun_at: Instant,
    /// Start of the wait for the greeting.
    connected_at: Instant,
}

impl Client {
    /// A session on a connection that is made `now`. `claimed` is the message that the session is made for,
    /// if any.
    pub fn new(scenario: &'static Scenario, claimed: Option<Message>, serial: u64, now: Instant) -> Self {
        let implicit = scenario.tls == Some(Mode::Implicit);
        Self {
            scenario,
            replies: ReplyReader::default(),
            stage: if implicit { Stage::Handshake } else { Stage::Greeting },
            said: !implicit && scenario.proxy.is_none() && scenario.row.act != Act::EarlyTalker,
            pipelining: false,
            offered: Offered::default(),
            secured: false,
            claimed,
            begun: 0,
            done: 0,
            transaction: Transaction::none(now),
            ahead: VecDeque::new(),
            chunks: None,
            data_at: None,
            drip_at: None,
            serial,
            begun_at: claimed.and_then(|message| message.due).unwrap_or(now),
            connected_at: now,
        }
    }

    /// The connection is made.
    pub fn handle_connected(&mut self, now: Instant) {
        self.connected_at = now;
    }

    /// How the session ended, once it did.
    pub fn ending(&self) -> Option<SessionEnd> {
        match self.stage {
            Stage::Over(ending) => Some(ending),
            Stage::Greeting
            | Stage::Ehlo
            | Stage::Helo
            | Stage::StartTls
            | Stage::Handshake
            | Stage::Ready
            | Stage::Mail
            | Stage::Recipient(_)
            | Stage::Data
            | Stage::MailData
            | Stage::Reset
            | Stage::Quit => None,
        }
    }

    /// Takes out the message that the session was made for, if it has not begun it.
    pub fn take_claimed(&mut self) -> Option<Message> {
        self.claimed.take()
    }

    /// Messages of this session that ended as the scenario expects.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Whether it waits for a message to send, or for the end of the run.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Ready && !self.said
    }

    /// Whether it waits for nothing that the server does: idle, or between the octets of a slow client.
    pub fn is_quiet(&self) -> bool {
        self.is_idle() || self.drip_at.is_some() || !self.reads() || self.stopped()
    }

    /// Whether replies are to be received: from a certain moment on some clients read no reply.
    pub fn reads(&self) -> bool {
        !(self.scenario.row.act == Act::NeverReads && matches!(self.stage, Stage::Recipient(_)))
    }

    /// Whether it stands in its mail data and says no more.
    fn stopped(&self) -> bool {
        self.scenario.row.act == Act::HalfData && self.stage == Stage::MailData && self.said
    }

    /// Whether the next octet of a slow client is due; then it may be asked for.
    pub fn take_drip(&mut self, now: Instant) -> bool {
        let due = self.drip_at.is_some_and(|at| at <= now);
        if due {
            self.said = false;
        }
        due
    }

    /// Whether the scenario allows the server to end the session at any time.
    pub fn may_be_ended(&self) -> bool {
        // TLS was asked for: a server that does not get that far is no success. And what is said after
        // STARTTLS is not early.
        if matches!(self.stage, Stage::StartTls | Stage::Handshake) {
            return false;
        }
        let afresh = self.secured && self.scenario.tls == Some(Mode::Starttls);
        match self.scenario.row.act {
            Act::Slowloris | Act::BareLf | Act::NeverReads | Act::HalfData | Act::Idle | Act::Bots => true,
            Act::EarlyTalker => !afresh && matches!(self.stage, Stage::Greeting | Stage::Ehlo),
            // A server may bound the refusals of a session. Of the first one it has no reason to.
            Act::Refused => {
                (self.done > 0 || self.transaction.refusal.is_some()) && self.stage != Stage::Quit
            }
            Act::Mail | Act::Huge | Act::Abort => false,
        }
    }

    /// The server ended a session that [`Self::may_be_ended`].
    pub fn handle_ended(&mut self, tally: &mut Tally) {
        tally.ended_by_server += 1;
        if self.scenario.row.act == Act::EarlyTalker && self.claimed.take().is_some() {
            tally.started += 1;
            tally.refused += 1;
        }
        if matches!(self.scenario.row.act, Act::BareLf | Act::Refused)
            && self.transaction.open != Open::Nothing
        {
            tally.refused += 1;
        }
        self.done += 1;
        self.stage = Stage::Over(SessionEnd::Done);
    }

    /// The run is over: a session that sends no messages ends.
    pub fn end(&mut self) {
        if !self.scenario.row.act.sends() && !self.is_idle() {
            self.stage = Stage::Over(SessionEnd::Done);
        }
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
            if self.stage == Stage::Handshake {
                // An attacker between us and the server could have put it there (CVE-2011-0411).
                if !octets.is_empty() {
                    let shown = octets.get(..octets.len().min(80)).unwrap_or_default().escape_ascii();
                    tally.failures.add(|| format!("{}: plaintext in place of TLS: \"{shown}\"", self.stage));
                    self.stage = Stage::Over(SessionEnd::Broken);
                }
                break;
            }
            match replies.next_line(&mut octets) {
                Ok(None) => break,
                Ok(Some(line)) => {
                    if self.stage == Stage::Ehlo {
                        self.offered.note(&line);
                    }
                    if line.last {
                        self.handle_reply(&line, now, tally);
                    }
                }
                Err(malformed) => {
                    tally.failures.add(|| format!("{}: {malformed}", self.stage));
                    self.stage = Stage::Over(SessionEnd::Broken);
                }
            }
        }
        self.replies = replies;
    }

    /// The last send ended: the kernel has all its octets.
    pub fn handle_sent(&mut self, now: Instant, tally: &mut Tally) {
        if let Some(at) = self.data_at.take() {
            tally.latencies.record(Phase::Data, now - at);
        }
        if self.scenario.row.act == Act::Abort && self.stage == Stage::MailData && self.said {
            tally.aborted += 1;
            self.done += 1;
            self.stage = Stage::Over(SessionEnd::Done);
        }
    }

    fn handle_reply(&mut self, line: &ReplyLine<'_>, now: Instant, tally: &mut Tally) {
        tally.replies.count(line.code);
        let answered = self.said;
        let expected = answered && self.expects(line.code);
        // A server may end an idle session that has lasted too long, without being asked (§3.8).
        let ends = self.may_be_ended() && (answered || self.stage == Stage::Ready);
        if !expected && ends && line.code >= 400 {
            return self.handle_ended(tally);
        }
        if self.stage == Stage::Ehlo && answered && matches!(line.code, 500..=504) {
            self.stage = Stage::Helo;
            self.said = false;
            return;
        }
        if !expected {
            self.transaction.spoiled = true;
            tally.failures.add(|| {
                let unasked = match (answered, self.scenario.row.act) {
                    (false, _) => " (nothing was asked)",
                    (true, Act::Refused) => {
                        " (the scenario refused expects it refused: --unknown names one that is)"
                    }
                    (true, _) => "",
                };
                format!("{}: reply {} \"{}\"{unasked}", self.stage, line.code, line.text.escape_ascii())
            });
        }
        // The dot that ends no mail data of ours is answered, too. What counts is why there was no mail data.
        let of_ours = self.stage != Stage::MailData
            || self.scenario.bdat.is_some()
            || self.transaction.open == Open::MailData;
        if let (true, true, 400.., Some(step)) = (answered, of_ours, line.code, self.stage.step()) {
            self.transaction.refusal = Some((step, line.code));
        }
        // §3.8: with 421 the server closes the connection, whatever was asked.
        if !answered || line.code == 421 {
            if answered {
                self.transaction.settle(line.code, tally);
            }
            self.stage = Stage::Over(SessionEnd::Broken);
            return;
        }
        let next = self.stage_after(expected, now, tally);
        if matches!(next, Stage::Reset | Stage::Ready) {
            self.transaction.settle(line.code, tally);
        }
        self.stage = next;
        self.said = self.was_said(next);
        if next == Stage::Ready
            && let Some(transaction) = self.ahead.pop_front()
        {
            self.transaction = transaction;
            self.stage = Stage::Mail;
            self.said = true;
        }
    }

    /// Whether what this stage says was said before: by an early talker, or with MAIL as the rest of a
    /// command group.
    fn was_said(&self, stage: Stage) -> bool {
        match stage {
            Stage::Ehlo => self.scenario.row.act == Act::EarlyTalker,
            Stage::Recipient(_) | Stage::Data => self.pipelining,
            Stage::MailData => self.pipelining && self.scenario.bdat.is_some(),
            Stage::Greeting
            | Stage::Helo
            | Stage::StartTls
            | Stage::Handshake
            | Stage::Ready
            | Stage::Mail
            | Stage::Reset
            | Stage::Quit
            | Stage::Over(_) => false,
        }
    }

    /// Whether a reply with this code is what the scenario expects here.
    fn expects(&self, code: u16) -> bool {
        let act = self.scenario.row.act;
        // §4.2.1: 251 says that the recipient is not local and the server forwards.
        match self.stage {
            Stage::Greeting | Stage::StartTls => code == 220,
            // §4.3.2 has both for mail data that is too large; OpenSMTPD says 554 5.3.4.
            Stage::MailData if act == Act::BareLf => code == 250 || (code >= 400 && code != 421),
            Stage::MailData if act == Act::Huge => matches!(code, 250 | 552 | 554),
            Stage::Ehlo | Stage::Helo | Stage::Mail | Stage::MailData | Stage::Reset => code == 250,
            Stage::Recipient(_) if act == Act::Refused => code >= 400 && code != 421,
            Stage::Recipient(_) => matches!(code, 250 | 251),
            Stage::Data => code == 354,
            Stage::Quit => code == 221,
            Stage::Handshake | Stage::Ready | Stage::Over(_) => false,
        }
    }

    /// The connection is over. `sent` says whether all that was last given out to be sent was sent, or may
    /// have been.
    pub fn abandon(&mut self, sent: bool, tally: &mut Tally) {
        let last = self.ahead.pop_back();
        // Of several transactions only the last may have been cut short: each is given out once the one
        // before was sent.
        let not_last = usize::from(last.is_some()) * (1 + self.ahead.len());
        let all: Vec<Transaction> =
            [self.transaction].into_iter().chain(self.ahead.drain(..)).chain(last).collect();
        for (index, transaction) in all.into_iter().enumerate() {
            self.transaction = transaction;
            match self.transaction.open {
                Open::Nothing => {}
                // A group that follows mail data leaves with it, so that mail data may be the send that was
                // cut short.
                Open::MailData if sent || (index < not_last && self.scenario.bdat.is_some()) => {
                    self.transaction.note(Ending::Unknown, tally);
                }
                Open::Envelope | Open::MailData => self.transaction.note(Ending::Unfinished, tally),
            }
        }
    }

    /// The stage after a reply that was the expected one, or was not.
    fn stage_after(&mut self, expected: bool, now: Instant, tally: &mut Tally) -> Stage {
        match self.stage {
            Stage::Greeting if expected => {
                tally.latencies.record(Phase::Greeting, now - self.connected_at);
                Stage::Ehlo
            }
            Stage::Ehlo | Stage::Helo if expected => self.stage_after_ehlo(tally),
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::StartTls | Stage::Reset if !expected => {
                Stage::Quit
            }
            Stage::StartTls | Stage::Handshake => Stage::Handshake,
            Stage::Mail if expected || self.pipelining => Stage::Recipient(0),
            Stage::Recipient(index) => {
                let act = self.scenario.row.act;
                if expected && act == Act::Refused {
                    tally.latencies.record(Phase::Refused, now - self.transaction.rcpt_at);
                } else if expected {
                    self.transaction.recipients += 1;
                }
                let more = index + 1 < self.scenario.commands.recipients.len();
                match () {
                    () if more => Stage::Recipient(index + 1),
                    () if act == Act::Refused => {
                        if !self.transaction.spoiled {
                            self.count_refused(tally);
                        }
                        let last =
                            self.scenario.messages_per_session.is_some_and(|most| self.begun >= most.get());
                        if last { self.leave(tally) } else { Stage::Reset }
                    }
                    () if self.transaction.recipients > 0 || self.pipelining => {
                        if self.scenario.bdat.is_some() {
                            tally.latencies.record(Phase::Envelope, now - self.transaction.mail_at);
                            Stage::MailData
                        } else {
                            Stage::Data
                        }
                    }
                    () => Stage::Reset,
                }
            }
            Stage::Data if expected => {
                tally.latencies.record(Phase::Envelope, now - self.transaction.mail_at);
                Stage::MailData
            }
            Stage::Mail | Stage::Data => Stage::Reset,
            Stage::MailData => self.stage_after_mail_data(expected, now, tally),
            Stage::Quit => {
                if expected && self.scenario.messages_per_session.is_some() {
                    tally.latencies.record(Phase::Session, now - self.begun_at);
                }
                Stage::Over(SessionEnd::Quit)
            }
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::Reset | Stage::Ready => Stage::Ready,
            Stage::Over(ending) => Stage::Over(ending),
        }
    }

    /// Now it is known what the server offers. If the run needs something else, it ends.
    fn stage_after_ehlo(&mut self, tally: &mut Tally) -> Stage {
        let (scenario, offered) = (self.scenario, self.offered);
        tally.helo |= self.stage == Stage::Helo;
        if scenario.tls == Some(Mode::Starttls) && !self.secured {
            // What else is offered in plaintext does not count (RFC 3207 §4.2).
            if offered.starttls {
                return Stage::StartTls;
            }
            let missing = "the receiver does not offer STARTTLS (RFC 3207), which --tls starttls needs";
            tally.unsupported.get_or_insert(missing.to_owned());
            return Stage::Quit;
        }
        // These stop in the middle of a transaction, so they say one command at a time.
        let stops = matches!(scenario.row.act, Act::NeverReads | Act::HalfData);
        self.pipelining = scenario.pipelining.is_some() && offered.pipelining && !stops;
        tally.pipelining_missing |= scenario.pipelining.is_some() && !self.pipelining;
        let Some(missing) = offered.lacks(scenario) else { return Stage::Ready };
        tally.unsupported.get_or_insert(missing);
        Stage::Quit
    }

    fn stage_after_mail_data(&mut self, expected: bool, now: Instant, tally: &mut Tally) -> Stage {
        self.transaction.chunks_left = self.transaction.chunks_left.saturating_sub(1);
        if self.transaction.chunks_left > 0 && (expected || self.pipelining) {
            return Stage::MailData;
        }
        // A chunk was refused. The chunks after it are not said any more (RFC 3030 §2).
        let broken_off = self.scenario.bdat.is_some() && !expected && !self.pipelining;
        if broken_off {
            self.chunks = None;
        }
        if !self.transaction.spoiled && self.transaction.refusal.is_some() {
            self.count_refused(tally);
        } else if !self.transaction.spoiled {
            self.count_accepted(now, tally);
        }
        if broken_off { Stage::Reset } else { Stage::Ready }
    }

    /// QUIT comes next, and the transaction with no recipient needs no RSET before it.
    fn leave(&mut self, tally: &mut Tally) -> Stage {
        self.transaction.settle(0, tally);
        Stage::Quit
    }

    fn count_refused(&mut self, tally: &mut Tally) {
        self.done += 1;
        tally.refused += 1;
    }

    fn count_accepted(&mut self, now: Instant, tally: &mut Tally) {
        self.done += 1;
        self.transaction.count_accepted(self.scenario.corpus, now, tally);
    }
}

#[cfg(test)]
mod tests;

//! One SMTP session, from the greeting to its close: bytes in; replies, ranges of mail data and steps out.
//!
//! It owns the state of the protocol and nothing else. It never reads a clock, never waits, and never keeps mail data.
//!
//! ```text
//!                 EHLO           MAIL              Begin          MAIL read again
//!   Connected ───────────► Ready ─────► Asking ─────────► Begun ─────────────────► Open ──DATA──► Receiving
//!                           ▲ ▲           └─TryAgain─► Declined ──► Ready           │ RCPT           │ end of
//!                           │ └────────────────── RSET, EHLO ──────────────────────┘               │ mail data
//!                           └───────────── answer ── Delivering ◄──────────────────────────────────┘
//!   TurnedAway: greeted with 554, only QUIT is served.       Closed: from anywhere, for good.
//! ```
//!
//! The line of MAIL is consumed only when its answer is there: it is read again then, so nothing of it has to be kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{self, Command, CommandError};
use super::envelope::Envelope;
use super::extension::ExtensionSet;
pub use super::input::Input;
use super::line::{Line, LineReader};
use super::policy::{Policy, Verdict};
use super::reception::{Next, Reception};
use super::reply::{self, Reply, ReplyBuffer};
pub use super::step::{Answer, Question, Step};
use super::transaction::{Mail, Transaction};
use crate::config::{BareLineEnd, Limits};
use crate::handoff::message::{ClientFacts, TryAgain};
use crate::limits::{DATA_RATE_MIN, EHLO_NAME_BYTES_MAX, SINK_ANSWER_MAX};

/// What all sessions of a listener are told.
#[derive(Debug)]
pub struct Settings {
    /// Our name: first in the greeting and in the reply to EHLO (RFC 5321 §4.2, §4.1.1.1).
    pub hostname: String,
    /// Bounds of sessions and transactions.
    pub limits: Limits,
    /// What happens to mail data with a bare LF.
    pub bare_lf: BareLineEnd,
    /// What happens to mail data with a bare CR.
    pub bare_cr: BareLineEnd,
    /// What the reply to EHLO offers.
    pub extensions: ExtensionSet,
    /// Whom to take mail from and for.
    pub policy: Box<dyn Policy + Send + Sync>,
}

/// Counters of a session, for its log line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Command lines, good or bad.
    pub commands: u32,
    /// Messages answered 250.
    pub accepted: u32,
    /// Replies of 4yz.
    pub refused_4yz: u32,
    /// Replies of 5yz.
    pub refused_5yz: u32,
}

/// Where the session is. Drawn at the top of the file.
#[derive(Debug)]
enum State {
    Connected,
    TurnedAway,
    Ready,
    Asking,
    Begun(Box<Envelope>),
    Declined(TryAgain),
    Open(Transaction),
    Receiving(Reception),
    Delivering,
    Closed,
}

/// One SMTP session. Without a transaction it owns no heap memory but the client's name and, while a command line is
/// incomplete, its beginning.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    client: SocketAddr,
    state: State,
    line: LineReader,
    /// The client's name, cut at `EHLO_NAME_BYTES_MAX`.
    ehlo_name: Box<[u8]>,
    protocol: &'static str,
    deadline: Instant,
    summary: Summary,
    /// Replies of 5yz since the last accepted message.
    errors: u32,
    /// Commands without progress since the last accepted message.
    idle_commands: u32,
    /// The server stops; the transaction under way may end.
    stopping: bool,
}

impl Session {
    /// A session that has said nothing yet.
    pub fn new(settings: Arc<Settings>, client: SocketAddr, now: Instant) -> Self {
        let deadline = now + settings.limits.command_timeout;
        Self {
            settings,
            client,
            state: State::Connected,
            line: LineReader::default(),
            ehlo_name: Box::default(),
            protocol: "SMTP",
            deadline,
            summary: Summary::default(),
            errors: 0,
            idle_commands: 0,
            stopping: false,
        }
    }

    /// Says the greeting (RFC 5321 §3.1, §4.3.1).
    pub fn greet(&mut self, replies: &mut ReplyBuffer, now: Instant) {
        let greeting = match self.settings.policy.client(self.client) {
            Verdict::Accept => reply::READY,
            Verdict::Refuse(_) => {
                self.state = State::TurnedAway;
                reply::CLIENT_REFUSED
            }
        };
        self.count(greeting);
        replies.push_named(greeting.code, &self.settings.hostname, greeting.text);
        self.await_command(now);
    }

    /// Consumes input up to the next step. Splitting the input anywhere changes nothing but the ranges of mail data.
    ///
    /// Not to be called while [`Session::awaits_answer`].
    pub fn advance(&mut self, input: &mut Input<'_>, replies: &mut ReplyBuffer, now: Instant) -> Step {
        assert!(!self.awaits_answer(), "the session waits for its answer first");
        loop {
            let step = match &mut self.state {
                State::Closed => Some(Step::Close),
                _ if !replies.has_room() => Some(Step::Flush),
                State::Receiving(reception) => {
                    let before = input.position;
                    let next = reception.advance(input);
                    self.earn(input.position.saturating_sub(before), now);
                    self.handle_mail_data(next, replies, now)
                }
                State::Connected
                | State::TurnedAway
                | State::Ready
                | State::Asking
                | State::Begun(_)
                | State::Declined(_)
                | State::Open(_)
                | State::Delivering => self.advance_line(input, replies, now),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Takes the answer to [`Step::Ask`] or [`Step::Deliver`]. Gives [`Step::Close`], or [`Step::NeedInput`] when
    /// [`Session::advance`] is to be called again.
    pub fn resolve(&mut self, answer: Answer, replies: &mut ReplyBuffer, now: Instant) -> Step {
        debug_assert!(self.awaits_answer(), "an answer to no question");
        if let State::Asking = self.state {
            self.state = match answer {
                Answer::Begin(mut envelope) => {
                    envelope.clear();
                    State::Begun(envelope)
                }
                Answer::TryAgain(why) => State::Declined(why),
                Answer::Accepted(_) | Answer::Refused(_) | Answer::Unknown => {
                    State::Declined(TryAgain::Local)
                }
            };
            return Step::NeedInput;
        }
        let State::Delivering = self.state else { return Step::NeedInput };
        self.state = State::Ready;
        match answer {
            Answer::Accepted(id) => {
                replies.push_queued(id);
                self.summary.accepted += 1;
                self.errors = 0;
                self.idle_commands = 0;
            }
            Answer::TryAgain(why) => self.say(reply::try_again(why), replies),
            Answer::Refused(why) => self.say(reply::refused(why), replies),
            Answer::Begin(_) | Answer::Unknown => return self.close(reply::UNKNOWN_OUTCOME, replies),
        }
        self.await_command(now);
        self.end_if_due(replies).unwrap_or(Step::NeedInput)
    }

    /// The mail data given so far cannot be kept: the message is read on to its end and answered 451 there.
    pub fn handle_no_memory(&mut self) {
        if let State::Receiving(reception) = &mut self.state {
            reception.handle_no_memory();
        }
    }

    /// The client closed its half, or the connection is lost. Nothing unfinished is ever delivered.
    pub fn handle_end_of_input(&mut self) {
        self.state = State::Closed;
        self.line = LineReader::default();
    }

    /// Ends the session when its deadline has passed (RFC 5321 §4.5.3.2).
    pub fn expire(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if now < self.deadline {
            return Step::NeedInput;
        }
        match self.state {
            State::Closed => Step::Close,
            State::Delivering => self.close(reply::UNKNOWN_OUTCOME, replies),
            State::Receiving(_) => self.close(reply::TOO_SLOW, replies),
            State::Connected
            | State::TurnedAway
            | State::Ready
            | State::Asking
            | State::Begun(_)
            | State::Declined(_)
            | State::Open(_) => self.close(reply::TIMEOUT, replies),
        }
    }

    /// The server stops (RFC 5321 §3.8). True: 421 is said, close now. False: a transaction with recipients is under way;
    /// the session says 421 by itself when it has ended.
    pub fn shut_down(&mut self, replies: &mut ReplyBuffer) -> bool {
        self.stopping = true;
        self.end_if_due(replies).is_some()
    }

    /// Ends the session with 421 whatever it does: the server cannot wait, or could not take the connection at all.
    pub fn cut_off(&mut self, replies: &mut ReplyBuffer) {
        self.close(reply::SHUTTING_DOWN, replies);
    }

    /// Says 421 for a session that is lost by a mistake of ours.
    pub fn say_local_trouble(replies: &mut ReplyBuffer) {
        replies.push(reply::LOCAL_TROUBLE);
    }

    /// When [`Session::expire`] must be called next.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether [`Session::resolve`] is to be called next.
    pub fn awaits_answer(&self) -> bool {
        matches!(self.state, State::Asking | State::Delivering)
    }

    /// Between 354 and the end of the mail data.
    pub fn in_mail_data(&self) -> bool {
        matches!(self.state, State::Receiving(_))
    }

    /// From MAIL to the answer to the message, RSET or EHLO.
    pub fn in_transaction(&self) -> bool {
        match self.state {
            State::Asking | State::Begun(_) | State::Open(_) | State::Receiving(_) | State::Delivering => {
                true
            }
            State::Connected | State::TurnedAway | State::Ready | State::Declined(_) | State::Closed => false,
        }
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// The name of EHLO or HELO as sent, cut at `EHLO_NAME_BYTES_MAX`; empty before. Escape it before it is shown.
    pub fn ehlo_name(&self) -> &[u8] {
        &self.ehlo_name
    }

    /// The `with` of trace information (RFC 3848).
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Writes what is known of the client, reusing memory.
    pub fn tell(&self, facts: &mut ClientFacts) {
        facts.address = self.client;
        facts.protocol = self.protocol;
        facts.ehlo.clear();
        facts.ehlo.extend_from_slice(&self.ehlo_name);
    }

    /// Counters for the log.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Reads a command line and does what it says. None: go on.
    fn advance_line(
        &mut self,
        input: &mut Input<'_>,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Option<Step> {
        let line = match self.line.take_back() {
            Some(line) => Line::Carried(line),
            None => self.line.next(input, self.settings.limits.line_bytes_max),
        };
        let step = match line {
            Line::Incomplete => return Some(Step::NeedInput),
            Line::InPlace { text, count } => {
                let step = self.handle_line(text, replies);
                if self.awaits_answer() {
                    return step;
                }
                input.consume(count);
                step
            }
            Line::Carried(text) => {
                let step = self.handle_line(&text, replies);
                if self.awaits_answer() {
                    self.line.put_back(text);
                    return step;
                }
                step
            }
            Line::BareLf => self.refuse(CommandError::BareLf, replies),
            Line::TooLong => self.refuse(CommandError::LineTooLong, replies),
            Line::Endless => self.refuse(CommandError::LineEndless, replies),
        };
        self.summary.commands += 1;
        if self.in_mail_data() {
            self.deadline = now + self.settings.limits.data_timeout;
        } else {
            self.await_command(now);
        }
        step.or_else(|| self.end_if_due(replies))
    }

    fn handle_line(&mut self, line: &[u8], replies: &mut ReplyBuffer) -> Option<Step> {
        if self.summary.commands == 0 && command::is_foreign(line) {
            return Some(self.close(reply::NOT_SMTP, replies));
        }
        match command::parse(line).and_then(|command| self.handle_command(command, replies)) {
            Ok(step) => step,
            Err(error) => self.refuse(error, replies),
        }
    }

    fn refuse(&mut self, error: CommandError, replies: &mut ReplyBuffer) -> Option<Step> {
        self.say(error.reply(), replies);
        error.closes().then(|| {
            self.state = State::Closed;
            Step::Close
        })
    }

    fn handle_command(
        &mut self,
        command: Command<'_>,
        replies: &mut ReplyBuffer,
    ) -> Result<Option<Step>, CommandError> {
        if matches!(self.state, State::TurnedAway) && command != Command::Quit {
            return Err(CommandError::TurnedAway);
        }
        if command.is_idle() {
            self.idle_commands += 1;
            if self.idle_commands > self.settings.limits.idle_commands_max {
                return Ok(Some(self.close(reply::NO_PROGRESS, replies)));
            }
        }
        match command {
            Command::Ehlo(name) => {
                self.begin_session(name, "ESMTP");
                let settings = &*self.settings;
                let size = settings.limits.message_size_max;
                replies.push_ehlo(&settings.hostname, settings.extensions, size);
            }
            Command::Helo(name) => {
                self.begin_session(name, "SMTP");
                replies.push_named(reply::OK.code, &self.settings.hostname, "");
            }
            Command::Mail(argument) => return self.handle_mail(argument, replies),
            Command::Rcpt(argument) => {
                let reply = self.handle_rcpt(argument)?;
                self.say(reply, replies);
            }
            Command::Data => {
                self.handle_data()?;
                self.say(reply::START_MAIL_DATA, replies);
            }
            Command::Rset => {
                if let State::Open(_) = self.state {
                    self.state = State::Ready;
                }
                self.say(reply::OK, replies);
            }
            Command::Noop => self.say(reply::OK, replies),
            Command::Vrfy => self.say(reply::CANNOT_VERIFY, replies),
            Command::Help => self.say(reply::HELP, replies),
            Command::Quit => return Ok(Some(self.close(reply::BYE, replies))),
        }
        Ok(None)
    }

    /// EHLO and HELO end a transaction (RFC 5321 §4.1.4).
    fn begin_session(&mut self, name: &[u8], protocol: &'static str) {
        self.ehlo_name = name.get(..EHLO_NAME_BYTES_MAX).unwrap_or(name).into();
        self.protocol = protocol;
        self.state = State::Ready;
    }

    /// MAIL (RFC 5321 §4.1.1.2): comes here twice, before and after the question whether a transaction may begin.
    fn handle_mail(
        &mut self,
        argument: &[u8],
        replies: &mut ReplyBuffer,
    ) -> Result<Option<Step>, CommandError> {
        let answer = match std::mem::replace(&mut self.state, State::Ready) {
            State::Ready => None,
            State::Begun(envelope) => Some(Ok(envelope)),
            State::Declined(why) => Some(Err(why)),
            open @ State::Open(_) => {
                self.state = open;
                return Err(CommandError::NestedMail);
            }
            other @ (State::Connected
            | State::TurnedAway
            | State::Asking
            | State::Receiving(_)
            | State::Delivering
            | State::Closed) => {
                self.state = other;
                return Err(CommandError::NoEhlo);
            }
        };
        let mail = Mail::read(argument, &self.settings)?;
        match answer {
            Some(Ok(envelope)) => {
                self.state = State::Open(Transaction::begin(envelope, &mail));
                self.say(reply::REVERSE_PATH_OK, replies);
            }
            Some(Err(why)) => self.say(reply::try_again(why), replies),
            None => {
                if let Verdict::Refuse(refusal) = self.settings.policy.reverse_path(mail.reverse_path()) {
                    self.say(refusal.reply(), replies);
                } else {
                    self.state = State::Asking;
                    return Ok(Some(Step::Ask(Question::Transaction { size: mail.size() })));
                }
            }
        }
        Ok(None)
    }

    /// RCPT (RFC 5321 §4.1.1.3).
    fn handle_rcpt(&mut self, argument: &[u8]) -> Result<Reply, CommandError> {
        match &mut self.state {
            State::Open(transaction) => transaction.add_recipient(argument, &self.settings),
            State::Connected => Err(CommandError::NoEhlo),
            State::TurnedAway
            | State::Ready
            | State::Asking
            | State::Begun(_)
            | State::Declined(_)
            | State::Receiving(_)
            | State::Delivering
            | State::Closed => Err(CommandError::NoMail),
        }
    }

    /// DATA (RFC 5321 §4.1.1.4). One good recipient among refused ones is enough (§3.3).
    fn handle_data(&mut self) -> Result<(), CommandError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(transaction) if transaction.has_recipients() => {
                let Settings { bare_lf, bare_cr, limits, .. } = &*self.settings;
                let envelope = transaction.into_envelope();
                let reception = Reception::new(envelope, *bare_lf, *bare_cr, limits.message_size_max);
                self.state = State::Receiving(reception);
                Ok(())
            }
            other => {
                let error = match &other {
                    State::Open(_) => CommandError::NoRecipients,
                    State::Connected => CommandError::NoEhlo,
                    State::TurnedAway
                    | State::Ready
                    | State::Asking
                    | State::Begun(_)
                    | State::Declined(_)
                    | State::Receiving(_)
                    | State::Delivering
                    | State::Closed => CommandError::NoMail,
                };
                self.state = other;
                Err(error)
            }
        }
    }

    /// None: go on.
    fn handle_mail_data(&mut self, next: Next, replies: &mut ReplyBuffer, now: Instant) -> Option<Step> {
        match next {
            Next::Data(range) => Some(Step::Data(range)),
            Next::Insert(octets) => Some(Step::Insert(octets)),
            Next::Discard => Some(Step::Discard),
            Next::NeedInput => Some(Step::NeedInput),
            Next::Endless => Some(self.close(reply::ENDLESS_MAIL_DATA, replies)),
            Next::End => self.finish_mail_data(replies, now),
        }
    }

    fn finish_mail_data(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Option<Step> {
        let State::Receiving(reception) = std::mem::replace(&mut self.state, State::Ready) else {
            return None;
        };
        match reception.finish() {
            Ok(envelope) => {
                self.state = State::Delivering;
                self.deadline = now + SINK_ANSWER_MAX;
                Some(Step::Deliver(envelope))
            }
            Err(fault) => {
                self.say(fault.reply(), replies);
                self.await_command(now);
                self.end_if_due(replies)
            }
        }
    }

    /// Says 421 when the client has used up its errors, or when the server stops and no recipient was accepted yet.
    fn end_if_due(&mut self, replies: &mut ReplyBuffer) -> Option<Step> {
        let may_finish = match self.state {
            State::Closed => return Some(Step::Close),
            State::Open(ref transaction) => transaction.has_recipients(),
            State::Receiving(_) | State::Delivering => true,
            State::Connected
            | State::TurnedAway
            | State::Ready
            | State::Asking
            | State::Begun(_)
            | State::Declined(_) => false,
        };
        if self.errors >= self.settings.limits.errors_max {
            return Some(self.close(reply::TOO_MANY_ERRORS, replies));
        }
        (self.stopping && !may_finish).then(|| self.close(reply::SHUTTING_DOWN, replies))
    }

    fn close(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        self.say(reply, replies);
        self.handle_end_of_input();
        Step::Close
    }

    fn say(&mut self, reply: Reply, replies: &mut ReplyBuffer) {
        self.count(reply);
        replies.push(reply);
    }

    fn count(&mut self, reply: Reply) {
        if reply.is_5yz() {
            self.errors += 1;
            self.summary.refused_5yz += 1;
        } else if reply.is_4yz() {
            self.summary.refused_4yz += 1;
        }
    }

    /// The wait for a command begins; reads that do not complete its line do not make it longer.
    fn await_command(&mut self, now: Instant) {
        self.deadline = now + self.settings.limits.command_timeout;
    }

    /// Mail data received moves the deadline on, by a second for each `DATA_RATE_MIN` octets, never further than
    /// `data_timeout` from now: so both a pause and a trickle end the session.
    fn earn(&mut self, octets: usize, now: Instant) {
        const NANOS_PER_OCTET: u64 = 1_000_000_000 / DATA_RATE_MIN;
        let earned = Duration::from_nanos((octets as u64).saturating_mul(NANOS_PER_OCTET));
        self.deadline = (self.deadline + earned).min(now + self.settings.limits.data_timeout);
    }
}

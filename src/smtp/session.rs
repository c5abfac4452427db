//! One SMTP session, sans-IO: commands and mail data in; replies and steps out (RFC 5321).
//!
//! ```text
//!          MAIL, RCPT, …: Ask              DATA: 354
//!   Command ──────────────► Waiting  Command ────────► Data ──end of mail data──► Waiting
//!      ▲                      │         ▲                │ refused: one 4yz or 5yz  │
//!      └────────resolve───────┘         └────────────────┴──────────resolve─────────┘
//! ```
//!
//! MAIL and RCPT are in two halves. The first *proposes*: it writes its argument into the envelope and asks.
//! The answer *concludes*: what was proposed stays, or is taken back.
//!
//! Splitting the input anywhere changes nothing: neither replies nor envelope nor mail data. Something
//! unexpected from a client is a reply or a 421, never an assert.

mod answers;
mod budgets;
mod chunking;
mod commands;
mod data;
mod deadlines;
mod envelope;
mod handled;
mod hello;
#[cfg(test)]
mod late_answers;
mod opening;
mod pipelining;
mod standing;
mod starttls;
mod state;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::standing::Standing;
use self::state::{AwaitedReply, Hello, State, Wait};
use super::denial::{Denial, Words};
use super::ended_by::EndedBy;
pub use super::input::Input;
use super::line::LineReader;
use super::policy::{Judgement, Verdict};
pub use super::proxy::NoProxyHeader;
use super::question::{Awaited, Question, Storing};
use super::reason::Reason;
use super::reply::{self, Reply, ReplyBuffer};
use super::settings::Settings;
use super::tally::Tally;
use super::transaction::Transaction;
use crate::mail::client::{ClientFacts, TlsFacts};
use crate::mail::envelope::{Envelope, Mailbox};
use crate::mail::foreign_reply::ForeignReply;
use crate::mail::network::canonical;

/// What the session needs from outside before it can go on.
#[derive(Debug)]
pub enum Step {
    /// All input is consumed.
    NeedInput,
    /// This range of the input is mail data.
    Data(Range<usize>),
    /// The run in the [`Supplies`](super::supplies::Supplies) of the input is mail data. It holds normalised
    /// line ends, a CR that turned out to be mail data, and what came in ranges too short to be handed on one
    /// by one.
    Insert,
    /// The mail data so far can be dropped: it will be refused. The session reads on to its true end.
    Discard,
    /// The outside has to answer, now or later: [`Session::resolve`].
    Ask(Question),
    /// The end of the mail data: the message is complete. The outside has to answer what became of it, as the
    /// answer to [`Storing`] ([`Session::asked`]).
    Deliver(Box<Envelope>),
    /// The replies are so many that they have to be sent before it can go on.
    Flush,
    /// Send the replies and close.
    Close,
}

/// What a session did, for the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Command lines.
    pub commands: u32,
    /// Messages answered 250.
    pub accepted: u32,
    /// Replies of 4yz.
    pub refused_4yz: u32,
    /// Replies of 5yz.
    pub refused_5yz: u32,
    /// Of those, all but recipients that nobody knows.
    pub errors: u32,
    /// Of both, those whose reason is this machine.
    pub refused_ours: u32,
    /// Command lines other than EHLO, HELO, NOOP and QUIT.
    pub commands_of_use: u32,
    /// Refusals that were not noted, because there were too many, but for those below.
    pub refusals_more: u32,
    /// Of those that were not noted, those whose reason is this machine, and the last reason.
    pub refusals_more_ours: Option<(Reason, u32)>,
}

/// One session.
pub struct Session {
    settings: Arc<Settings>,
    /// The TCP client: whether a PROXY header is believed is judged by its address only. Never an IPv4-mapped
    /// address.
    front: SocketAddr,
    /// Whose XCLIENT is believed; without one, nobody's. That is the TCP client, or whom its PROXY header
    /// names, because whoever comes through a front is no front. What XCLIENT names is never trusted and does
    /// not end the trust.
    xclient_front: Option<IpAddr>,
    /// The SMTP client: the TCP client, or whom a trusted front speaks for. Never an IPv4-mapped address, so
    /// that one client has one spelling wherever it is told.
    client: SocketAddr,
    /// The session ended because the front sent no header.
    no_proxy_header: Option<NoProxyHeader>,
    line: LineReader,
    state: State,
    hello: Hello,
    /// The transaction, from the MAIL that proposes it until it is delivered, or abandoned.
    transaction: Option<Transaction>,
    /// The outside holds mail data that nothing will become of, and is still to be told.
    must_discard: bool,
    /// The transaction that began last has SMTPUTF8. It outlives the transaction, because the session's name
    /// for the protocol does.
    smtputf8: bool,
    /// What was negotiated, once the connection is under TLS.
    tls: Option<TlsFacts>,
    /// How long the greeting waits, whatever the listener's does.
    greeting_delay: Duration,
    /// Each recipient that can be read is asked about, whatever the policy says of it.
    asks_about_each: bool,
    /// What another program said of the last message, where it refused that.
    foreign: Option<Box<ForeignReply>>,
    /// The number of the last question.
    questions: u32,
    /// 5yz replies since the last accepted message. `<= errors_max`.
    errors: u32,
    /// Commands that brought nothing forward, since the last accepted message. `<= idle_commands_max`.
    idle_commands: u32,
    /// RCPT commands past the limit that were not counted as idle, since the last accepted message.
    /// `<= EXCESS_RECIPIENTS_FREE`
    excess_recipients: u32,
    /// What is awaited now has to come by then, and what else bounds it: see [`Session::deadline`].
    deadline: Instant,
    /// Then a session that waits for a command ends, unless a message is under way. An accepted message puts
    /// it off.
    session_end: Instant,
    /// A reply that the client has to wait for has not been handed over to be sent: what comes until then was
    /// not sent in answer to it.
    reply_waits: Option<AwaitedReply>,
    /// EHLO or HELO was accepted, whatever made the session forget it since. Until then it may be that no
    /// SMTP client speaks.
    said_hello: bool,
    /// The server stops: the session ends with the transaction.
    stopping: bool,
    /// What a refusal now is about: the verb of a command, or another word.
    step: &'static str,
    /// Refusals that may still be noted.
    refusals_left: u8,
    /// Why it ended, once it has.
    ended_by: Option<EndedBy>,
    /// When the transaction was proposed that was proposed last.
    mail_at: Instant,
    /// When the mail data began that began last.
    data_at: Instant,
    summary: Summary,
    /// Where it is counted together with others; none where nobody counts.
    tally: Option<Arc<Tally>>,
}

impl Session {
    /// A session with a client that just connected.
    pub fn new(settings: Arc<Settings>, client: SocketAddr, now: Instant) -> Self {
        let deadline = now + settings.limits.command_timeout;
        let session_end = now + settings.limits.session_without_mail_max;
        let client = canonical(client);
        let xclient_front = Some(client.ip()).filter(|client| settings.gate.trusts_xclient(*client));
        let refusals_left = settings.refusals_noted_max;
        Self {
            settings,
            xclient_front,
            front: client,
            client,
            no_proxy_header: None,
            line: LineReader::default(),
            state: State::Command,
            hello: Hello::None,
            transaction: None,
            must_discard: false,
            smtputf8: false,
            tls: None,
            greeting_delay: Duration::ZERO,
            asks_about_each: false,
            foreign: None,
            questions: 0,
            errors: 0,
            idle_commands: 0,
            excess_recipients: 0,
            deadline,
            session_end,
            reply_waits: None,
            said_hello: false,
            stopping: false,
            step: "CONNECT",
            refusals_left,
            ended_by: None,
            mail_at: now,
            data_at: now,
            summary: Summary::default(),
            tally: None,
        }
    }

    /// Counted together with other sessions of this thread.
    #[must_use]
    pub fn counted_in(self, tally: &Arc<Tally>) -> Self {
        Self { tally: Some(Arc::clone(tally)), ..self }
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Consumes input until the outside is needed. Must not be called while an answer is awaited.
    pub fn advance(&mut self, input: &mut Input<'_>, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if let Some(reply) = self.reply_waits.filter(|_| !input.rest().is_empty()) {
            return self.close_for_pipelining(reply, replies);
        }
        loop {
            if self.must_discard && !matches!(self.state, State::Closed) {
                self.must_discard = false;
                return Step::Discard;
            }
            let step = match &self.state {
                State::Closed => return Step::Close,
                State::Waiting(_) => return Step::NeedInput,
                State::Securing => return self.refuse_plaintext(input),
                State::Proxy(_) => self.advance_proxy(input, now),
                State::Delayed | State::Greeted if input.rest().is_empty() => return Step::NeedInput,
                State::Delayed | State::Greeted => self.handle_early_input(replies, now),
                State::Data(_) => self.advance_data(input, replies, now),
                State::Chunk(_) => self.advance_chunk(input, replies, now),
                State::Command if replies.is_full() => return Step::Flush,
                State::Command => self.advance_command(input, replies, now),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// The mail data under way cannot be kept: it is read on to its end and answered so there. Between two
    /// chunks the outside has to remember it until the message is delivered.
    pub fn handle_lost_data(&mut self, why: Denial) {
        match &mut self.state {
            State::Data(data) => {
                data.refusal.get_or_insert(why.reply());
                data.data.refuse();
            }
            State::Chunk(_) => self.refuse_chunk(why.reply()),
            State::Proxy(_)
            | State::Delayed
            | State::Greeted
            | State::Command
            | State::Waiting(_)
            | State::Securing
            | State::Closed => {}
        }
    }

    /// The client closed its half, and all its input is consumed. What is unfinished is never delivered.
    pub fn handle_end_of_input(&mut self) {
        if let State::Proxy(reader) = &self.state {
            let how = if reader.is_empty() { NoProxyHeader::Silent } else { NoProxyHeader::Ended };
            self.no_proxy_header = Some(how);
            self.ended_by.get_or_insert(EndedBy::ProxyHeader);
        }
        self.ended_by.get_or_insert(EndedBy::Client);
        self.close();
    }

    /// The server stops. True when the session ended at once; else it ends with the transaction under way.
    pub fn shut_down(&mut self, replies: &mut ReplyBuffer) -> bool {
        self.stopping = true;
        if self.in_transaction() {
            return false;
        }
        self.cut_off(replies);
        true
    }

    /// Ends the session with `421 4.3.2` whatever is under way: the server stops, or has no room for it.
    pub fn cut_off(&mut self, replies: &mut ReplyBuffer) {
        let reply = if self.stopping { reply::SHUTTING_DOWN } else { reply::CUT_OFF };
        self.close_with(reply, replies);
    }

    /// Ends the session because all sessions of its client together have had too many errors. It goes on
    /// while mail data comes or an answer is awaited: to be asked again.
    pub fn end_for_errors(&mut self, replies: &mut ReplyBuffer) {
        if matches!(self.state, State::Delayed | State::Greeted | State::Command) {
            self.turn_away(Denial::TOO_MANY_ERRORS, replies);
        }
    }

    /// Ends the session without a word, for a reason outside of it: the connection goes. What is unfinished
    /// is never delivered.
    pub fn break_off(&mut self) {
        self.close();
    }

    /// Whether the session has ended: its replies are to be sent, and the connection is to be closed.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What is said when a bug of ours ended a session.
    pub fn say_local_trouble(replies: &mut ReplyBuffer) {
        replies.push(reply::BUG);
    }

    /// The recipient that [`Question::Recipient`] asks about; none when no such answer is awaited.
    pub fn proposed_recipient(&self) -> Option<Mailbox<'_>> {
        let transaction = self.transaction.as_ref().filter(|_| self.awaits() == Some(Awaited::Recipient))?;
        transaction.envelope.last_recipient()
    }

    /// From now on each recipient is asked about, or only those whose policy asks. Whoever answers has to ask
    /// the policy: [`Session::judge_proposed`].
    pub fn ask_about_each_recipient(&mut self, asks: bool) {
        self.asks_about_each = asks;
    }

    /// What the policy says of the recipient that [`Question::Recipient`] asks about.
    pub fn judge_proposed(&self) -> Judgement {
        let transaction = self.transaction.as_ref().filter(|_| self.awaits() == Some(Awaited::Recipient));
        let judge = |transaction: &Transaction| transaction.judge_last(&*self.settings.policy);
        transaction.map_or(Judgement::Known(Verdict::TryAgain), judge)
    }

    /// The reverse-path of the transaction; none where there is none, empty for the null one.
    pub fn reverse_path(&self) -> Option<&[u8]> {
        self.transaction.as_ref().map(|transaction| transaction.envelope.reverse_path())
    }

    /// A reply as this session says it, without its CRLF.
    pub fn wording(&self, reply: Reply) -> String {
        let (enhanced, text) = self.parts_of(reply);
        let space = if enhanced.is_empty() { "" } else { " " };
        format!("{} {enhanced}{space}{text}", reply.code)
    }

    /// A denial as this session says it, without its CRLF.
    pub fn wording_of(&self, denial: Denial) -> String {
        self.wording(denial.reply())
    }

    /// The enhanced code of a reply, and what it says after that.
    fn parts_of(&self, reply: Reply) -> (&str, &str) {
        let own = (reply.enhanced, reply.text);
        match reply.words {
            None => own,
            Some(Words::Operator(number)) => {
                let words = self.settings.words.get(usize::from(number));
                words.map_or(own, |words| (reply.enhanced, words))
            }
            Some(Words::Foreign) => {
                self.foreign.as_ref().map_or(own, |foreign| (foreign.enhanced(), foreign.text()))
            }
        }
    }

    /// Whether a transaction is under way: from MAIL to the answer to its mail data, or to a chunk that is
    /// passed over.
    pub fn in_transaction(&self) -> bool {
        let chunk = matches!(self.state, State::Chunk(_));
        self.transaction.is_some() || self.awaits().is_some() || chunk
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// What the client called itself; empty when it did not.
    pub fn ehlo_name(&self) -> &[u8] {
        self.hello.name()
    }

    /// The `with` of trace information (RFC 3848; RFC 6531 §4.3).
    pub fn protocol(&self) -> &'static str {
        self.hello.protocol(self.smtputf8, self.tls.is_some())
    }

    /// Writes down what is known of the client.
    pub fn tell(&self, facts: &mut ClientFacts) {
        facts.address = self.client;
        facts.protocol = self.protocol();
        facts.tls.clone_from(&self.tls);
        facts.ehlo.clear();
        facts.ehlo.extend_from_slice(self.ehlo_name());
    }

    /// Why the session ended; none while it goes on.
    pub fn ended_by(&self) -> Option<EndedBy> {
        self.ended_by
    }

    /// When MAIL proposed the transaction, and when its mail data began. They are of the message that is
    /// delivered, or of the last one.
    pub fn phases(&self) -> (Instant, Instant) {
        (self.mail_at, self.data_at)
    }

    /// Whether the TCP client is a front: a balancer, or what looks whether this server is alive.
    pub fn comes_from_a_front(&self) -> bool {
        self.settings.gate.is_front(self.front.ip())
    }

    /// What the session did so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The transaction comes to nothing; there need not be one.
    fn abandon_transaction(&mut self) {
        let chunked = self.transaction.take().and_then(|transaction| transaction.chunked);
        self.must_discard |= chunked.is_some();
    }

    /// Goes on after the transaction, unless the server stops.
    fn end_transaction(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        self.abandon_transaction();
        self.wait_for_command(now);
        self.close_if_stopping(replies).unwrap_or(Step::NeedInput)
    }

    /// The message is complete: what becomes of it is awaited.
    fn deliver(&mut self, envelope: Box<Envelope>, now: Instant) -> Step {
        self.ask::<Storing>(Wait::Storing, now);
        Step::Deliver(envelope)
    }

    /// Ends a session that outlived the end of the server for its transaction only.
    fn close_if_stopping(&mut self, replies: &mut ReplyBuffer) -> Option<Step> {
        (self.stopping && !self.in_transaction()).then(|| self.close_with(reply::SHUTTING_DOWN, replies))
    }
}

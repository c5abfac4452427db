//! One SMTP session, sans-IO: commands and mail data in; replies and steps out (RFC 5321).
//!
//! ```text
//!          MAIL, RCPT, …: Ask              DATA: 354
//!   Command ──────────────► Waiting  Command ────────► Data ──end of mail data──► Waiting
//!      ▲                      │         ▲                │ refused: one 4yz or 5yz  │
//!      └────────resolve───────┘         └────────────────┴──────────resolve─────────┘
//! ```
//!
//! MAIL and RCPT are in two halves. The first *proposes*: it writes its argument into the envelope and asks. The answer *concludes*:
//! what was proposed stays, or is taken back.
//!
//! Splitting the input anywhere changes nothing: neither replies nor envelope nor mail data. Something unexpected from a
//! client is a reply or a 421, never an assert.

mod answers;
mod chunking;
mod data;
mod deadlines;
mod opening;
mod pipelining;
mod standing;
mod starttls;
mod transaction;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use self::data::{DataState, SizeLimit};
pub use self::opening::{NoProxyHeader, is_front};
pub use self::standing::Standing;
use super::chunk::ChunkedData;
use super::command::{self, Command, LineError, Verb};
use super::extension::push_ehlo_reply;
pub use super::input::Input;
use super::line::{Line, LineReader};
use super::proxy::ProxyReader;
use super::question::{Awaited, Delivery, Question};
use super::reply::{self, Reply, ReplyBuffer};
use super::supplies::Supplies;
use crate::limits::{EHLO_NAME_BYTES_MAX, EXCESS_RECIPIENTS_FREE};
use crate::mail::client::{ClientFacts, TlsFacts};
use crate::mail::envelope::{Envelope, Mailbox};
use crate::mail::network::canonical;
use crate::mail::outcome::TryAgain;
use crate::smtp::settings::{Pipelining, Refusal, Settings};

/// What the session needs from outside before it can go on.
#[derive(Debug)]
pub enum Step {
    /// All input is consumed.
    NeedInput,
    /// This range of the input is mail data.
    Data(Range<usize>),
    /// What the [`Supplies`] of the input hold as a run is mail data: normalised line ends, a CR that turned out to be mail data, and what came in ranges too
    /// short to be handed on one by one.
    Insert,
    /// The mail data so far can be dropped: it will be refused. The session reads on to its true end.
    Discard,
    /// [`Session::resolve`] has to be called with the answer.
    Ask(Question),
    /// The end of the mail data: the message is complete. [`Session::resolve`] has to be called with what became of it, as the answer
    /// to [`Delivery`] ([`Session::asked`]).
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
}

/// One session.
pub struct Session {
    settings: Arc<Settings>,
    /// The TCP client: whether a PROXY header is believed is judged by its address only. Never an IPv4-mapped address.
    front: SocketAddr,
    /// Whose XCLIENT is believed; none: nobody's. That is the TCP client, or whom its PROXY header names, because whoever comes
    /// through a front is no front. What XCLIENT names is never trusted and does not end the trust.
    xclient_front: Option<IpAddr>,
    /// The SMTP client: the TCP client, or whom a trusted front speaks for. Never an IPv4-mapped address, so that one client has one
    /// spelling wherever it is told.
    client: SocketAddr,
    /// The session ended because the front sent no header.
    no_proxy_header: Option<NoProxyHeader>,
    line: LineReader,
    state: State,
    hello: Hello,
    /// The transaction, from an accepted MAIL to its end.
    envelope: Option<Box<Envelope>>,
    /// What came of the mail data in chunks, from the first one accepted to the end of the transaction.
    chunked: Option<ChunkedData>,
    /// The outside holds mail data that nothing will become of, and is still to be told.
    must_discard: bool,
    /// The transaction was begun with SMTPUTF8; also while it is delivered.
    smtputf8: bool,
    /// What was negotiated, once the connection is under TLS.
    tls: Option<TlsFacts>,
    /// The number of the last question.
    questions: u32,
    /// Accepted RCPT commands of the transaction, repeated recipients included.
    recipients: usize,
    /// 5yz replies since the last accepted message. `<= errors_max`.
    errors: u32,
    /// Commands that brought nothing forward, since the last accepted message. `<= idle_commands_max`.
    idle_commands: u32,
    /// RCPT commands past the limit that were not counted as idle, since the last accepted message. `<= EXCESS_RECIPIENTS_FREE`
    excess_recipients: u32,
    /// What is awaited now has to come by then, and what else bounds it: see [`Session::deadline`].
    deadline: Instant,
    /// Then a session that waits for a command ends, unless a message was accepted or is under way.
    session_end: Instant,
    /// Then the message under way is given up, from DATA or the first BDAT to the end of the transaction.
    message_end: Option<Instant>,
    /// Octets of mail data since these were put off last.
    unearned: u64,
    /// A reply that the client has to wait for has not been handed over to be sent: what comes until then was not sent in answer to
    /// it.
    reply_waits: Option<AwaitedReply>,
    /// EHLO or HELO was accepted, whatever made the session forget it since. Until then it may be that no SMTP client speaks.
    said_hello: bool,
    /// The server stops: the session ends with the transaction.
    stopping: bool,
    summary: Summary,
}

/// Which greeting the client gave, and under which name.
#[derive(Debug)]
enum Hello {
    None,
    Helo(Box<[u8]>),
    Ehlo(Box<[u8]>),
}

#[derive(Debug)]
enum State {
    /// The header of a trusted front is awaited.
    Proxy(ProxyReader),
    /// The greeting waits for early talkers.
    Delayed,
    /// The greeting is said and not sent.
    Greeted,
    Command,
    /// An answer is awaited.
    Waiting(Wait),
    /// A handshake is awaited: nothing is read until [`Session::handle_tls`].
    Securing,
    Data(DataState),
    Chunk(ChunkState),
    Closed,
}

/// A reply that a client has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AwaitedReply {
    /// To DATA.
    Data,
    /// To the session's first EHLO or HELO.
    Hello,
}

/// Which answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Whether the transaction that MAIL proposes may begin.
    Beginning,
    /// Whether the client may have this connection.
    Admission(Admitting),
    /// Whether the recipient that RCPT proposes is accepted.
    Recipient,
    /// Whether TLS can begin.
    Encryption,
    /// What became of the message.
    Delivery,
}

/// What named the client that may or may not have this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admitting {
    ProxyHeader,
    Xclient,
}

/// A chunk while it is received, or passed over.
#[derive(Debug)]
struct ChunkState {
    /// Octets of it that have not come.
    left: u64,
    /// The mail data ends with it.
    last: bool,
    /// How many octets the chunks of the transaction may have together.
    limit: SizeLimit,
    /// Set when it is refused: what is left of it is passed over, then this is said.
    refusal: Option<Reply>,
}

/// How the handling of a command line ends.
enum Handled {
    /// This is the reply.
    Reply(Reply),
    /// It has replied by itself.
    Replied,
    /// The reply, and nothing more is read.
    Close(Reply),
    /// It has to ask; the answer says how it ends.
    Ask(Question),
}

impl Session {
    /// A session with a client that just connected.
    pub fn new(settings: Arc<Settings>, client: SocketAddr, now: Instant) -> Self {
        let deadline = now + settings.limits.command_timeout;
        let session_end = now + settings.limits.session_without_mail_max;
        let client = canonical(client);
        let xclient_front = Some(client.ip()).filter(|client| settings.gate.trusts_xclient(*client));
        Self {
            settings,
            xclient_front,
            front: client,
            client,
            no_proxy_header: None,
            line: LineReader::default(),
            state: State::Command,
            hello: Hello::None,
            envelope: None,
            chunked: None,
            must_discard: false,
            smtputf8: false,
            tls: None,
            questions: 0,
            recipients: 0,
            errors: 0,
            idle_commands: 0,
            excess_recipients: 0,
            deadline,
            session_end,
            message_end: None,
            unearned: 0,
            reply_waits: None,
            said_hello: false,
            stopping: false,
            summary: Summary::default(),
        }
    }

    /// Consumes input until the outside is needed. Must not be called while an answer is awaited.
    pub fn advance(&mut self, input: &mut Input<'_>, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if let Some(reply) = self.reply_waits.filter(|_| !input.rest().is_empty()) {
            return self.close_for_pipelining(reply, replies);
        }
        loop {
            let step = match &mut self.state {
                State::Closed => return Step::Close,
                _ if std::mem::take(&mut self.must_discard) => return Step::Discard,
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

    /// The mail data under way cannot be kept: it is read on to its end and answered so there. Between two chunks the outside
    /// has to remember it until the message is delivered.
    pub fn handle_lost_data(&mut self, why: TryAgain) {
        match &mut self.state {
            State::Data(data) => {
                data.refusal.get_or_insert(why.into());
                data.data.refuse();
            }
            State::Chunk(_) => self.refuse_chunk(why.into()),
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
        if matches!(self.state, State::Proxy(_)) {
            self.no_proxy_header = Some(NoProxyHeader::Ended);
        }
        self.state = State::Closed;
        self.envelope = None;
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

    /// Ends the session with `421 4.3.2` whatever is under way.
    pub fn cut_off(&mut self, replies: &mut ReplyBuffer) {
        self.close_with(reply::SHUTTING_DOWN, replies);
    }

    /// What is said when a bug of ours ended a session.
    pub fn say_local_trouble(replies: &mut ReplyBuffer) {
        replies.push(reply::BUG);
    }

    /// The recipient that [`Question::Recipient`] asks about; none when no such answer is awaited.
    pub fn proposed_recipient(&self) -> Option<Mailbox<'_>> {
        let envelope = self.envelope.as_ref().filter(|_| self.awaits() == Some(Awaited::Recipient))?;
        envelope.last_recipient()
    }

    /// Whether a transaction is under way: from MAIL to the answer to its mail data, or to a chunk that is passed over.
    pub fn in_transaction(&self) -> bool {
        let chunk = matches!(self.state, State::Chunk(_));
        self.envelope.is_some() || self.awaits().is_some() || chunk
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// What the client called itself; empty when it did not.
    pub fn ehlo_name(&self) -> &[u8] {
        match &self.hello {
            Hello::None => b"",
            Hello::Helo(name) | Hello::Ehlo(name) => name,
        }
    }

    /// The `with` of trace information (RFC 3848; RFC 6531 §4.3).
    pub fn protocol(&self) -> &'static str {
        match (&self.hello, self.smtputf8, self.tls.is_some()) {
            (_, true, false) => "UTF8SMTP",
            (_, true, true) => "UTF8SMTPS",
            (Hello::None | Hello::Helo(_), false, _) => "SMTP",
            (Hello::Ehlo(_), false, false) => "ESMTP",
            (Hello::Ehlo(_), false, true) => "ESMTPS",
        }
    }

    /// Writes down what is known of the client.
    pub fn tell(&self, facts: &mut ClientFacts) {
        facts.address = self.client;
        facts.protocol = self.protocol();
        facts.tls.clone_from(&self.tls);
        facts.ehlo.clear();
        facts.ehlo.extend_from_slice(self.ehlo_name());
    }

    /// What the session did so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    // Commands.

    /// Reads and handles one command line, if there is one.
    fn advance_command(
        &mut self,
        input: &mut Input<'_>,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Option<Step> {
        if !self.said_hello
            && self.line.is_at_start()
            && input.rest().first().is_some_and(|octet| !command::can_begin(*octet))
        {
            self.summary.commands += 1;
            self.count(reply::NOT_SMTP);
            return Some(self.close_with(reply::NOT_SMTP, replies));
        }
        let handled = match self.line.next(input, self.settings.limits.line_bytes_max) {
            Line::Incomplete => return Some(Step::NeedInput),
            Line::InPlace { text, count } => {
                let pending = input.more || input.rest().len() > count;
                input.consume(count);
                self.handle_line_with(text, pending, input.supplies, replies, now)
            }
            Line::Carried(text) => {
                let pending = input.more || !input.rest().is_empty();
                self.handle_line_with(&text, pending, input.supplies, replies, now)
            }
            Line::BareLf => Handled::Close(reply::BARE_LINE_END),
            Line::TooLong if self.line.too_long_was_bdat() => Handled::Close(reply::LINE_TOO_LONG),
            Line::TooLong => Handled::Reply(reply::LINE_TOO_LONG),
            Line::Endless => Handled::Close(reply::ENDLESS),
        };
        let open = match handled {
            Handled::Ask(question) => {
                self.summary.commands += 1;
                return Some(Step::Ask(question));
            }
            Handled::Replied => true,
            Handled::Reply(reply) => self.reply(reply, replies),
            Handled::Close(reply) => {
                self.summary.commands += 1;
                self.count(reply);
                return Some(self.close_with(reply, replies));
            }
        };
        self.summary.commands += 1;
        if matches!(self.state, State::Command) {
            self.wait_for_command(now);
        }
        if !open || matches!(self.state, State::Closed) {
            return Some(Step::Close);
        }
        self.close_if_stopping(replies)
    }

    /// Ends a session that outlived the end of the server for its transaction only.
    fn close_if_stopping(&mut self, replies: &mut ReplyBuffer) -> Option<Step> {
        (self.stopping && !self.in_transaction()).then(|| self.close_with(reply::SHUTTING_DOWN, replies))
    }

    /// Handles a command line; [`Session::handle_line_with`] looks after what stands behind DATA.
    fn handle_line(
        &mut self,
        line: &[u8],
        pending: bool,
        supplies: &mut Supplies,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Handled {
        if !self.said_hello && command::is_foreign_protocol(line) {
            return Handled::Close(reply::NOT_SMTP);
        }
        let Command { verb, argument } = match command::parse(line) {
            Ok(command) => command,
            Err(LineError::BareCr) => return Handled::Close(reply::BARE_LINE_END),
            // Nobody knows how many octets of a chunk follow.
            Err(LineError::Octet) if command::is_bdat(line) => return Handled::Close(reply::BAD_OCTET),
            Err(LineError::Octet) => return Handled::Reply(reply::BAD_OCTET),
            Err(LineError::Argument) => return Handled::Reply(reply::NO_ARGUMENT),
            Err(LineError::Unrecognized) if line.is_empty() => return Handled::Reply(reply::EMPTY_LINE),
            Err(LineError::Unrecognized) => return Handled::Reply(reply::UNRECOGNIZED),
        };
        if pending && self.settings.gate.pipelining == Pipelining::Reject && verb.ends_command_group() {
            return Handled::Close(reply::PIPELINED_INPUT);
        }
        if self.settings.gate.refuse == Some(Refusal::NotNow) && verb != Verb::Quit {
            return Handled::Reply(reply::REFUSING);
        }
        if self.lacks_tls(verb) {
            return Handled::Reply(reply::TLS_FIRST);
        }
        let idle = matches!(
            verb,
            Verb::Noop | Verb::Rset | Verb::Vrfy | Verb::Help | Verb::Ehlo | Verb::Helo | Verb::Xclient
        );
        if idle && !self.may_be_idle() {
            return Handled::Close(reply::TOO_MANY_IDLE_COMMANDS);
        }
        match verb {
            Verb::Ehlo | Verb::Helo => self.handle_hello(verb, argument, pending, replies),
            Verb::Mail | Verb::Rcpt => {
                let handled = if verb == Verb::Mail {
                    self.handle_mail(argument, supplies, now)
                } else {
                    self.handle_rcpt(argument, now)
                };
                match handled {
                    Handled::Reply(reply) if !self.may_put_off(reply) => {
                        Handled::Close(reply::TOO_MANY_IDLE_COMMANDS)
                    }
                    handled => handled,
                }
            }
            Verb::Data => Handled::Reply(self.handle_data(now)),
            Verb::Bdat => self.handle_bdat(argument, now),
            Verb::Xclient => self.handle_xclient(argument, now),
            Verb::StartTls => self.handle_starttls(pending, now),
            Verb::Rset => {
                self.abandon_transaction();
                Handled::Reply(reply::OK)
            }
            Verb::Noop => Handled::Reply(reply::OK),
            Verb::Vrfy => Handled::Reply(self.handle_vrfy(argument)),
            Verb::Help => Handled::Reply(reply::HELP),
            Verb::Quit => Handled::Close(reply::BYE),
            Verb::NotImplemented => Handled::Reply(reply::NOT_IMPLEMENTED),
        }
    }

    /// EHLO and HELO (RFC 5321 §4.1.1.1): a new beginning; the name is never judged (§4.1.4).
    fn handle_hello(
        &mut self,
        verb: Verb,
        argument: &[u8],
        pending: bool,
        replies: &mut ReplyBuffer,
    ) -> Handled {
        if argument.is_empty() {
            return Handled::Reply(reply::EHLO_NAME_MISSING);
        }
        if let Some(refusal) = self.begin_first_hello(pending) {
            return refusal;
        }
        self.abandon_transaction();
        let name = argument.get(..EHLO_NAME_BYTES_MAX).unwrap_or(argument).into();
        let hostname = &self.settings.hostname;
        if verb == Verb::Helo {
            replies.push_parts(250, true, &[hostname]);
            self.hello = Hello::Helo(name);
            return Handled::Replied;
        }
        let xclient = self.offers_xclient().then_some(super::xclient::KEYWORD);
        push_ehlo_reply(replies, hostname, self.offered(), &self.settings.limits, xclient);
        self.hello = Hello::Ehlo(name);
        Handled::Replied
    }

    // Ends.

    fn abandon_transaction(&mut self) {
        self.envelope = None;
        self.must_discard |= self.chunked.take().is_some();
        self.recipients = 0;
        // What is left of a refused chunk still has to come.
        if !matches!(self.state, State::Chunk(_)) {
            self.message_end = None;
        }
    }

    fn end_transaction(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        self.abandon_transaction();
        self.wait_for_command(now);
        self.close_if_stopping(replies).unwrap_or(Step::NeedInput)
    }

    /// The message is complete: what becomes of it is awaited.
    fn deliver(&mut self, envelope: Box<Envelope>, now: Instant) -> Step {
        self.ask::<Delivery>(Wait::Delivery, now);
        Step::Deliver(envelope)
    }

    /// Appends a reply within the budget for errors; past it a 421 takes its place. False when the session is over.
    fn reply(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> bool {
        self.count(reply);
        if reply.code >= 500 {
            if self.errors == self.settings.limits.errors_max {
                self.close_with(reply::TOO_MANY_ERRORS, replies);
                return false;
            }
            self.errors += 1;
        }
        replies.push(reply);
        true
    }

    /// Counts a command that brings nothing forward. False when it is one too many.
    fn may_be_idle(&mut self) -> bool {
        let is_within = self.idle_commands < self.settings.limits.idle_commands_max;
        self.idle_commands += u32::from(is_within);
        is_within
    }

    /// Counts a 4yz to MAIL or RCPT, which brings nothing forward. False when it is one too many.
    fn may_put_off(&mut self, reply: Reply) -> bool {
        if !(400..500).contains(&reply.code) {
            return true;
        }
        if reply == reply::TOO_MANY_RECIPIENTS && self.excess_recipients < EXCESS_RECIPIENTS_FREE {
            self.excess_recipients += 1;
            return true;
        }
        self.may_be_idle()
    }

    fn count(&mut self, reply: Reply) {
        match reply.code {
            400..=499 => self.summary.refused_4yz += 1,
            500..=599 => self.summary.refused_5yz += 1,
            _ => {}
        }
    }

    fn close_with(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        replies.push(reply);
        self.state = State::Closed;
        self.envelope = None;
        Step::Close
    }
}

//! The client's side of SMTP (RFC 5321) and LMTP (RFC 2033), sans-IO: octets of replies in; octets to send
//! and steps out. For whoever hands stored messages on.
//!
//! Nothing in here sees a socket, file, thread, log or clock, and it runs under Miri.
//!
//! ```text
//!   Greeting ─► Hello ─► Ready ─┬─► Exchanging ──► Settled ─► Ready …
//!                ▲  │           ├─► [ResetFirst] ─► Xclient ─► Hello ─► Exchanging …
//!                │  ▼           └─► Quit ─► Over
//!            Securing ◄─ StartTls           any state but Over ─► [Settled] ─► Over
//! ```
//!
//! [`Client::advance`] consumes what was received, appends to the output, and stops at a [`Step`] that needs
//! the outside. [`Client::begin`] begins a transaction, which comes to [`Step::Done`] once, whatever happens;
//! then [`Client::results`] has what became of each recipient. Nobody is `Accepted` but by the 2yz that
//! answers the end of the mail data. Where the replies are split changes nothing; whatever a server sends has
//! a bounded, clear ending.

mod commands;
mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod offers;
mod opening;
mod phase;
mod reader;
mod reply;
mod results;
mod settings;
mod step;
#[cfg(test)]
mod tests;
mod transaction;
pub mod transparency;
mod violation;

use std::sync::Arc;

use exchange::{Exchange, Next};
pub use offers::{Offers, XclientAttributes};
pub use phase::{
    CONTENT_WAIT_MAX, DATA_WAIT_MAX, END_WAIT_MAX, GREETING_WAIT_MAX, HELLO_WAIT_MAX, MAIL_WAIT_MAX, Phase,
    QUIT_WAIT_MAX, RECIPIENT_WAIT_MAX, TLS_WAIT_MAX,
};
use reader::ReplyReader;
pub use reply::{Enhanced, REPLY_TEXT_BYTES_MAX, Reply};
pub use results::RecipientResult;
use results::Results;
pub use settings::{Protocol, Settings, Tls};
pub use step::{End, Form, Loss, Step};
pub use transaction::{Content, Recipient, Transaction, Unfit};
pub use violation::Violation;

/// The reply code with which a server closes the connection (RFC 5321 §3.8).
const CLOSING: u16 = 421;

/// One session with a server.
#[derive(Debug)]
pub struct Client {
    settings: Arc<Settings>,
    state: State,
    reader: ReplyReader,
    offers: Offers,
    /// Whether the connection is under TLS; whether the server was authenticated, then.
    tls: Option<bool>,
    exchange: Exchange,
    results: Results,
    /// A transaction has begun, and waits for the next hop to be told of its client.
    is_pending: bool,
    /// The server has a transaction that is to be ended by RSET.
    is_open: bool,
    /// The last XCLIENT that was said; empty before the first.
    presented: Vec<u8>,
    /// The next XCLIENT, while it is compared.
    presenting: Vec<u8>,
    /// What was offered when it was said.
    offered: Offers,
    /// What XCLIENT takes, since it was first offered: a server may offer it no more to whom it is told of.
    xclient: Option<XclientAttributes>,
    /// What the reply that comes next answers was said after octets of it had come.
    is_stale: bool,
    /// MAIL commands of this session.
    transactions: u64,
    /// Whole replies that were read.
    replies: u64,
    /// The number of the reply that ended the session.
    end_reply: Option<u32>,
}

/// What a session does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The greeting is awaited.
    Greeting,
    /// EHLO or LHLO is to be said, under TLS.
    Secured,
    /// The reply to EHLO or LHLO is awaited.
    Hello,
    /// The reply to HELO is awaited.
    Helo,
    /// The reply to STARTTLS is awaited.
    StartTls,
    /// The handshake is awaited.
    Securing,
    /// A transaction may begin.
    Ready,
    /// The reply to RSET is awaited, and then XCLIENT is to be said.
    ResetFirst,
    /// The reply to XCLIENT is awaited.
    Xclient,
    /// A transaction is under way.
    Exchanging,
    /// A transaction has its results, which are to be told; then the session is over, or ready.
    Settled(Option<End>),
    /// The reply to QUIT is awaited.
    Quit,
    /// It is over.
    Over(End),
}

impl Client {
    /// A session on a connection that was just made.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            state: State::Greeting,
            reader: ReplyReader::default(),
            offers: Offers::default(),
            tls: None,
            exchange: Exchange::default(),
            results: Results::default(),
            is_pending: false,
            is_open: false,
            presented: Vec::new(),
            presenting: Vec::new(),
            offered: Offers::default(),
            xclient: None,
            is_stale: false,
            transactions: 0,
            replies: 0,
            end_reply: None,
        }
    }

    /// Consumes octets that the server sent, appends what is to be sent, and says what it needs. Also to be
    /// called without input: after [`Self::begin`], after [`Self::handle_lost`], and after each step but
    /// `NeedInput` and `Over`.
    pub fn advance(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Step {
        loop {
            let said = output.len();
            if let Some(step) = self.turn(input, output) {
                return step;
            }
            // What was received before it was said is no answer to it.
            self.is_stale |= output.len() > said && !input.is_empty();
        }
    }

    /// Begins a transaction, for at least one recipient. Its commands are appended to the output; what to do
    /// next is said by [`Self::advance`]. An error means that nothing was said and the session is where it
    /// was: another message may follow.
    ///
    /// # Panics
    /// Without recipients, and when the last step was not [`Step::Ready`].
    pub fn begin<'r>(
        &mut self,
        transaction: &Transaction<'_>,
        recipients: impl IntoIterator<Item = Recipient<'r>>,
        output: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        self.begin_as(transaction, recipients, false, output)
    }

    /// Asks whether the server would take mail for at least one recipient, by a transaction with the null
    /// reverse-path that ends after RCPT (RSET comes before what is said next). Nobody is `Accepted` by it:
    /// who would be is `Welcome`. As [`Self::begin`] otherwise.
    ///
    /// # Panics
    /// As [`Self::begin`].
    pub fn ask<'r>(
        &mut self,
        recipients: impl IntoIterator<Item = Recipient<'r>>,
        output: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        self.begin_as(&Transaction::QUESTION, recipients, true, output)
    }

    fn begin_as<'r>(
        &mut self,
        transaction: &Transaction<'_>,
        recipients: impl IntoIterator<Item = Recipient<'r>>,
        only_asks: bool,
        output: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        assert!(self.state == State::Ready && !self.is_spent(), "a transaction begins after Step::Ready");
        self.exchange.clear();
        self.results.clear();
        if let Err(unfit) = self.prepare(transaction, recipients) {
            self.results.clear();
            return Err(unfit);
        }
        self.exchange.only_asks = only_asks;
        self.is_stale = !self.reader.is_between();
        if self.says_xclient(transaction.client) {
            self.is_pending = true;
            self.present(output);
        } else {
            self.begin_exchange(output);
        }
        Ok(())
    }

    /// Says QUIT, between two transactions. In any other state nothing is said: the connection can only be
    /// closed.
    pub fn quit(&mut self, output: &mut Vec<u8>) {
        if self.state == State::Ready {
            output.extend_from_slice(b"QUIT\r\n");
            self.state = State::Quit;
        }
    }

    /// The TLS handshake is done. `is_authenticated`: the certificate is one of the next hop, by a trust
    /// anchor or DANE; REQUIRETLS demands that (RFC 8689 §4.2.1). All that was learned before is forgotten
    /// (RFC 3207 §4.2). Where TLS begins with the connection it may be called before the greeting.
    ///
    /// # Panics
    /// In other states.
    pub fn handle_secured(&mut self, is_authenticated: bool) {
        assert!(
            self.state == State::Securing || (self.state == State::Greeting && self.replies == 0),
            "TLS begins after Step::StartTls, or with the connection"
        );
        self.tls = Some(is_authenticated);
        self.reader.clear();
        self.offers = Offers::default();
        self.xclient = None;
        if self.state == State::Securing {
            self.state = State::Secured;
        }
    }

    /// The last octet of the content, with the end of the mail data in the form of a dot, was handed over to
    /// be sent. To be called before any reply that is received afterwards is shown.
    ///
    /// # Panics
    /// When [`Step::SendContent`] was not said.
    pub fn handle_content_sent(&mut self) {
        // A reply that has begun, and is to nothing that was said before, comes too early.
        self.is_stale |= !self.exchange.expects_reply() && !self.reader.is_between();
        let was_told = self.state == State::Exchanging && self.exchange.handle_content_sent();
        // While it was sent, the session may have ended.
        let has_ended = matches!(self.state, State::Settled(_) | State::Over(_));
        assert!(was_told || has_ended, "content is sent after Step::SendContent");
    }

    /// The connection is lost, or given up; also how a time-out is told.
    pub fn handle_lost(&mut self, how: Loss) {
        let end = if self.state == State::Quit { End::Quit } else { End::Lost(how, self.phase()) };
        self.end(end);
    }

    /// What became of each recipient of the transaction that was done last, in the order in which they were
    /// given; until the next one begins.
    pub fn results(&self) -> impl ExactSizeIterator<Item = RecipientResult<'_>> {
        self.results.iter()
    }

    /// Whether MAIL of the transaction that was done last was refused: then what its recipients were answered
    /// is about that, and not about them.
    pub fn was_mail_refused(&self) -> bool {
        self.exchange.is_refused()
    }

    /// The reply that ended the session, if one did.
    pub fn end_reply(&self) -> Option<Reply<'_>> {
        self.results.reply(self.end_reply?)
    }

    /// Whether no other client can be named on this connection: the server was told of one by XCLIENT and
    /// offers that no more. Postfix judges XCLIENT by the client that it was told of.
    pub fn is_for_one_client(&self) -> bool {
        self.settings.xclient && !self.presented.is_empty() && self.offers.xclient.is_none()
    }

    /// What the server offers. After [`Self::begin`] it tells whether the parameters of DSN are handed on.
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// What is awaited.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Greeting => Phase::Greeting,
            State::Secured | State::Hello | State::Helo => Phase::Hello,
            State::StartTls => Phase::StartTls,
            State::Securing => Phase::Handshake,
            State::Ready | State::Settled(_) | State::Over(_) => Phase::Ready,
            State::ResetFirst => Phase::Reset,
            State::Xclient => Phase::Xclient,
            State::Exchanging => self.exchange.phase(),
            State::Quit => Phase::Quit,
        }
    }

    /// Whole replies that were read so far. The time of a phase begins anew with each of them, and with
    /// nothing less: a server that sends one octet now and then does not prolong it.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Writes down all that is to be said of a transaction, if the server can take it.
    fn prepare<'r>(
        &mut self,
        transaction: &Transaction<'_>,
        recipients: impl IntoIterator<Item = Recipient<'r>>,
    ) -> Result<(), Unfit> {
        let Self { exchange, offers, settings, .. } = self;
        exchange.form = Some(transaction.form(offers, self.tls == Some(true), settings)?);
        exchange.content_bytes = transaction.content.bytes;
        exchange.groups = settings.pipelining && offers.pipelining;
        let most = offers.recipients_max.and_then(|most| usize::try_from(most).ok());
        let mut is_ascii = transaction.reverse_path.is_ascii();
        is_ascii &= !offers.dsn || transaction.envid.is_ascii();
        for recipient in recipients {
            let is_tried = most.is_none_or(|most| exchange.count < most);
            self.results.push(is_tried);
            if is_tried {
                exchange.count += 1;
                is_ascii &= recipient.mailbox.is_ascii();
                is_ascii &= !offers.dsn || recipient.parameters.orcpt.is_ascii();
                commands::push_recipient(&recipient, offers.dsn, &mut exchange.recipients)?;
            }
        }
        assert!(exchange.count > 0, "a transaction has recipients");
        if !is_ascii && !offers.smtputf8 {
            return Err(Unfit::Utf8Address);
        }
        let is_utf8 = transaction.smtputf8 || !is_ascii;
        commands::push_mail(transaction, is_utf8, offers, &mut exchange.mail)
    }

    /// One state further; a step where the outside is needed.
    fn turn(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Option<Step> {
        match self.state {
            State::Over(end) => return Some(Step::Over(end)),
            State::Settled(end) => {
                self.state = end.map_or(State::Ready, State::Over);
                return Some(Step::Done);
            }
            State::Secured => {
                self.say_hello(output);
                return None;
            }
            State::Securing if input.is_empty() => return Some(Step::StartTls),
            State::Securing => {
                self.violate(Violation::Plaintext);
                return None;
            }
            State::Exchanging => {
                if let Some(form) = self.exchange.take_due() {
                    // What has come is no answer to what is sent now.
                    self.is_stale |= !input.is_empty();
                    return Some(Step::SendContent(form));
                }
            }
            State::Greeting
            | State::Hello
            | State::Helo
            | State::StartTls
            | State::Ready
            | State::ResetFirst
            | State::Xclient
            | State::Quit => {}
        }
        let notes = (self.state == State::Hello).then_some(&mut self.offers);
        match self.reader.read(input, notes) {
            Ok(false) => return Some(self.waits()),
            Ok(true) => self.handle_reply(!input.is_empty(), output),
            Err(violation) => self.violate(violation),
        }
        None
    }

    /// What it waits for, when all input is consumed.
    fn waits(&self) -> Step {
        match self.state {
            State::Ready if self.is_spent() => Step::Spent,
            State::Ready => Step::Ready,
            _ => Step::NeedInput(self.phase()),
        }
    }

    fn is_spent(&self) -> bool {
        self.offers.transactions_max.is_some_and(|most| self.transactions >= most)
    }

    /// Takes the reply that was just read; `more`: other octets follow it.
    fn handle_reply(&mut self, more: bool, output: &mut Vec<u8>) {
        self.replies += 1;
        let code = self.reader.reply().code;
        if code == CLOSING && self.state != State::Quit {
            return self.handle_closing();
        }
        if std::mem::take(&mut self.is_stale) || self.state == State::Ready {
            return self.violate(Violation::Unasked(code));
        }
        match self.state {
            State::Exchanging => self.handle_exchange_reply(output),
            State::Quit => self.end(End::Quit),
            State::Greeting
            | State::Hello
            | State::Helo
            | State::StartTls
            | State::ResetFirst
            | State::Xclient => {
                self.handle_opening_reply(more, output);
            }
            State::Secured | State::Securing | State::Ready | State::Settled(_) | State::Over(_) => {}
        }
    }

    fn handle_exchange_reply(&mut self, output: &mut Vec<u8>) {
        let phase = self.exchange.phase_of_reply();
        match self.exchange.handle_reply(self.reader.reply(), &mut self.results, output) {
            Next::Goes => {}
            Next::Done => {
                self.is_open = self.exchange.leaves_open(&self.results);
                self.state = State::Settled(None);
            }
            Next::Broken(violation) => self.violate_in(violation, phase),
            Next::Refused => self.end_with_reply(End::Refused(phase)),
        }
    }

    /// 421: what is not answered is refused for now, and the session is over.
    fn handle_closing(&mut self) {
        let phase = self.phase();
        if self.is_pending || self.state == State::Exchanging {
            let answer = self.results.temporary(self.reader.reply());
            self.results.set_open(answer);
        }
        self.end_with_reply(End::Closing(phase));
    }

    fn violate(&mut self, violation: Violation) {
        self.violate_in(violation, self.phase());
    }

    fn violate_in(&mut self, violation: Violation, phase: Phase) {
        match violation {
            Violation::Unexpected(_) | Violation::Unasked(_) => {
                self.end_with_reply(End::Violation(violation, phase));
            }
            Violation::Malformed
            | Violation::LineTooLong
            | Violation::TooManyLines
            | Violation::CodeChanged
            | Violation::Plaintext => self.end(End::Violation(violation, phase)),
        }
    }

    /// The reply that was just read ends the session.
    fn end_with_reply(&mut self, end: End) {
        self.end_reply = Some(self.results.keep(self.reader.reply()));
        self.end(end);
    }

    /// The session is over. A transaction under way is settled first.
    fn end(&mut self, end: End) {
        let was_pending = std::mem::take(&mut self.is_pending);
        self.state = match self.state {
            // What ended it first stays.
            State::Over(_) | State::Settled(Some(_)) => return,
            State::Exchanging => {
                self.results.lose(self.exchange.content_is_sent());
                State::Settled(Some(end))
            }
            State::Settled(None) => State::Settled(Some(end)),
            _ if was_pending => {
                self.results.lose(false);
                State::Settled(Some(end))
            }
            _ => State::Over(end),
        };
    }

    /// The transaction is said, now that the next hop knows on whose behalf.
    fn begin_exchange(&mut self, output: &mut Vec<u8>) {
        self.is_pending = false;
        self.transactions += 1;
        self.exchange.begin(self.settings.protocol, std::mem::take(&mut self.is_open));
        self.state = State::Exchanging;
        self.exchange.say(output);
    }
}

//! How a session begins: a trusted front's PROXY header, admission, the greeting; and once more after
//! XCLIENT.
//!
//! ```text
//!   Proxy ──header──► Waiting ──► (Delayed) ──220──► Greeted ──sent──► Command
//!     │ none or bad: close without a word      │ input: 554 5.5.0 and close
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::handled::Handled;
use super::state::{Admitting, Hello, State, Wait};
use super::{Session, Step};
use crate::mail::network::canonical;
use crate::smtp::denial::Denial;
use crate::smtp::ended_by::EndedBy;
use crate::smtp::input::Input;
use crate::smtp::proxy::{Header, NoProxyHeader, ProxyReader};
use crate::smtp::question::Question;
use crate::smtp::reply::{self, ReplyBuffer};
use crate::smtp::settings::{EarlyTalkers, Refusal, TlsPolicy};
use crate::smtp::xclient;

impl Session {
    /// Begins the session: says the greeting, unless a PROXY header or the delay of greetings comes before
    /// it. The step is `NeedInput`, or `Close` on a listener that takes no mail.
    pub fn greet(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if self.settings.gate.expects_proxy_header(self.front.ip()) {
            self.state = State::Proxy(ProxyReader::default());
            self.wait_for_command(now);
            return Step::NeedInput;
        }
        self.open(replies, now)
    }

    /// The client is not served.
    pub fn turn_away(&mut self, why: Denial, replies: &mut ReplyBuffer) -> Step {
        self.refuse_and_close(why.reply(), replies)
    }

    /// The greeting waits at least so long. Before it is said.
    pub fn delay_greeting(&mut self, delay: Duration) {
        self.greeting_delay = delay;
    }

    /// The greeting waits no longer, if it does.
    pub fn end_delay(&mut self, replies: &mut ReplyBuffer, now: Instant) {
        if self.waits_to_greet() {
            self.handle_delay_over(replies, now);
        }
    }

    /// Whether the greeting waits for early talkers.
    pub fn waits_to_greet(&self) -> bool {
        matches!(self.state, State::Delayed)
    }

    /// There is no place for the client, or the server stops.
    pub fn refuse_place(&mut self, is_stopping: bool, replies: &mut ReplyBuffer) -> Step {
        self.stopping = is_stopping;
        let reply = if is_stopping { reply::SHUTTING_DOWN } else { reply::CUT_OFF };
        self.refuse_and_close(reply, replies)
    }

    /// All replies so far were handed over to be sent: what comes from now on may be an answer to them.
    pub fn handle_sending(&mut self) {
        self.reply_waits = None;
    }

    /// All that was handed over is sent. What comes from now on is no early talk.
    pub fn handle_sent(&mut self) {
        if matches!(self.state, State::Greeted) {
            self.state = State::Command;
        }
    }

    /// The trusted front that speaks for the client, if one does.
    pub fn front(&self) -> Option<SocketAddr> {
        (self.front != self.client).then_some(self.front)
    }

    /// Reads the header of a trusted front. Its octets are no early talk; what follows them before the
    /// greeting is.
    pub(super) fn advance_proxy(&mut self, input: &mut Input<'_>, now: Instant) -> Option<Step> {
        let State::Proxy(reader) = &mut self.state else { return None };
        match reader.advance(input) {
            Header::Incomplete => return Some(Step::NeedInput),
            // Whoever speaks to us here is no front of ours, and learns nothing.
            Header::Bad => return Some(self.end_without_header(NoProxyHeader::OtherOctets)),
            Header::Client(Some(client)) => {
                self.client = canonical(client);
                let is_trusted = self.settings.gate.trusts_xclient(self.client.ip());
                self.xclient_front = is_trusted.then_some(self.client.ip());
            }
            Header::Client(None) => {}
        }
        Some(Step::Ask(self.admission(Admitting::ProxyHeader, now)))
    }

    /// Whether, and how, the session ended because the front sent no PROXY header.
    pub fn no_proxy_header(&self) -> Option<NoProxyHeader> {
        self.no_proxy_header
    }

    pub(super) fn end_without_header(&mut self, how: NoProxyHeader) -> Step {
        self.no_proxy_header = Some(how);
        self.close_by(EndedBy::ProxyHeader)
    }

    /// The answer to a question for admission.
    pub(super) fn handle_admission(
        &mut self,
        admitted: Result<(), Denial>,
        after_xclient: bool,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Step {
        if let Err(why) = admitted {
            return self.turn_away(why, replies);
        }
        if after_xclient { self.say_greeting(replies, now) } else { self.open(replies, now) }
    }

    /// The greeting's delay is over.
    pub(super) fn handle_delay_over(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        self.state = State::Greeted;
        self.say_greeting(replies, now)
    }

    /// Whether it matters that input waits before the greeting is sent.
    pub fn watches_for_early_input(&self) -> bool {
        matches!(self.state, State::Greeted) && self.settings.gate.early_talkers == EarlyTalkers::Reject
    }

    /// Input, which is still to be received, waited before the greeting was sent.
    pub fn handle_waiting_input(&mut self, replies: &mut ReplyBuffer) -> Step {
        self.refuse_and_close(reply::EARLY_INPUT, replies)
    }

    /// Input before the greeting was sent. None: it is read as if it came later.
    pub(super) fn handle_early_input(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Option<Step> {
        match self.settings.gate.early_talkers {
            EarlyTalkers::Reject => Some(self.handle_waiting_input(replies)),
            EarlyTalkers::Tolerate => {
                if matches!(self.state, State::Delayed) {
                    self.say_greeting(replies, now);
                }
                self.state = State::Command;
                None
            }
        }
    }

    pub(super) fn open(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if self.settings.tls == TlsPolicy::Implicit && self.tls.is_none() {
            self.state = State::Securing;
            self.wait_for_handshake(now);
            return Step::NeedInput;
        }
        let delay = self.settings.gate.greeting_delay.max(self.greeting_delay);
        if delay.is_zero() {
            self.state = State::Greeted;
            return self.say_greeting(replies, now);
        }
        self.state = State::Delayed;
        self.deadline = now + delay;
        Step::NeedInput
    }

    /// The greeting: our name first (RFC 5321 §4.2).
    fn say_greeting(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        let hostname = &self.settings.hostname;
        match self.settings.gate.refuse {
            None => {
                replies.push_parts(220, true, &[hostname, " ESMTP ringmx"]);
                self.note_said(reply::GREETING);
            }
            Some(Refusal::NotNow) => {
                replies.push_parts(554, true, &[hostname, " takes no mail now"]);
                self.note_said(reply::NO_MAIL_NOW);
            }
            Some(Refusal::Never) => {
                replies.push_parts(521, true, &[hostname, " does not accept mail"]);
                self.note_said(reply::NO_MAIL_EVER);
                return self.close_by(EndedBy::TakesNoMail);
            }
        }
        self.wait_for_command(now);
        self.session_end = now + self.settings.limits.session_without_mail_max;
        Step::NeedInput
    }

    /// Whether XCLIENT is offered.
    pub(super) fn offers_xclient(&self) -> bool {
        self.xclient_front.is_some()
    }

    /// XCLIENT: whom the front speaks for. The session begins anew with a greeting.
    pub(super) fn handle_xclient(&mut self, argument: &[u8], now: Instant) -> Handled {
        if self.settings.gate.xclient_from.is_empty() {
            return Handled::Reply(reply::UNRECOGNIZED);
        }
        if !self.offers_xclient() {
            return Handled::Reply(reply::NOT_TRUSTED);
        }
        if self.transaction.is_some() {
            return Handled::Reply(reply::MAIL_TWICE);
        }
        let Ok(attributes) = xclient::parse(argument) else {
            return Handled::Reply(reply::BAD_ATTRIBUTE);
        };
        let address = attributes.address.unwrap_or(self.client.ip());
        // A port belongs to its address: a new address without one has no port.
        let port =
            attributes.port.unwrap_or(if attributes.address.is_some() { 0 } else { self.client.port() });
        self.client = canonical(SocketAddr::new(address, port));
        let was_esmtp = matches!(self.hello, Hello::Ehlo(_));
        self.hello = match attributes.helo {
            None => Hello::None,
            Some(name) if attributes.is_esmtp.unwrap_or(was_esmtp) => Hello::Ehlo(name),
            Some(name) => Hello::Helo(name),
        };
        self.abandon_transaction();
        Handled::Ask(self.admission(Admitting::Xclient, now))
    }

    /// Asks whether the client that a front speaks for may have this connection.
    fn admission(&mut self, named_by: Admitting, now: Instant) -> Question {
        let asked = self.ask(Wait::Admission(named_by), now);
        // Another front that comes through this one: those it will speak for are counted, and not itself.
        let front = self.xclient_front.unwrap_or(self.front.ip());
        Question::Admission { asked, client: self.client.ip(), front }
    }
}

//! TLS in a session: STARTTLS (RFC 3207), TLS from the first octet, and what is refused without it.
//!
//! ```text
//!   Command ──STARTTLS──► Waiting ──220──► Securing ──handshake──► Command, nothing remembered
//!   (implicit)   Proxy ──header──► Waiting ──► Securing ──handshake──► greeting
//! ```
//!
//! Nothing that came in plaintext after STARTTLS is ever read: what is pending with it closes the connection,
//! and later octets belong to the handshake.

use std::time::Instant;

use super::handled::Handled;
use super::state::{Hello, State, Wait};
use super::{Session, Step};
use crate::mail::client::TlsFacts;
use crate::smtp::ended_by::EndedBy;
use crate::smtp::extension::{Extension, ExtensionSet};
use crate::smtp::input::Input;
use crate::smtp::question::Question;
use crate::smtp::reply::{self, ReplyBuffer};
use crate::smtp::settings::TlsPolicy;

impl Session {
    /// Whether the outside has to begin TLS: whatever is received from now on is ciphertext.
    pub fn wants_tls(&self) -> bool {
        matches!(self.state, State::Securing)
    }

    /// What was negotiated; none in plaintext.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// Whether nothing may be said in plaintext: the listener speaks TLS from the first octet.
    pub fn speaks_tls_only(&self) -> bool {
        self.settings.tls == TlsPolicy::Implicit && self.tls.is_none()
    }

    /// The handshake is done. All that was said before is forgotten (RFC 3207 §4.2); with implicit TLS the
    /// greeting is said. The step is `NeedInput`, or `Close` on a listener that takes no mail.
    pub fn handle_tls(&mut self, facts: TlsFacts, replies: &mut ReplyBuffer, now: Instant) -> Step {
        self.tls = Some(facts);
        self.hello = Hello::None;
        self.abandon_transaction();
        if self.settings.tls == TlsPolicy::Implicit {
            return self.open(replies, now);
        }
        self.state = State::Command;
        self.wait_for_command(now);
        Step::NeedInput
    }

    /// What is offered now: STARTTLS only in plaintext (RFC 3207 §4.2), REQUIRETLS only under TLS (RFC 8689
    /// §2).
    pub(super) fn offered(&self) -> ExtensionSet {
        let offered = self.settings.extensions;
        if self.tls.is_some() {
            return offered.without(Extension::StartTls);
        }
        let offered = offered.without(Extension::RequireTls);
        match self.settings.tls {
            TlsPolicy::Offered | TlsPolicy::Required => offered,
            TlsPolicy::Off | TlsPolicy::Implicit => offered.without(Extension::StartTls),
        }
    }

    /// Whether commands have to wait for TLS (RFC 3207 §4).
    pub(super) fn lacks_tls(&self) -> bool {
        self.settings.tls == TlsPolicy::Required && self.tls.is_none()
    }

    /// STARTTLS, after which input is `pending` or not (RFC 3207 §4; the class of CVE-2011-0411).
    pub(super) fn handle_starttls(&mut self, pending: bool, now: Instant) -> Handled {
        if self.tls.is_some() {
            return Handled::Reply(reply::TLS_TWICE);
        }
        if !self.offered().offers(Extension::StartTls) {
            return Handled::Reply(reply::NOT_IMPLEMENTED);
        }
        if pending {
            return Handled::Close(reply::PIPELINED_INPUT);
        }
        Handled::Ask(Question::Encryption { asked: self.ask(Wait::Encryption, now) })
    }

    /// Whether TLS can begin.
    pub(super) fn handle_tls_answer(
        &mut self,
        possible: bool,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Step {
        if !possible {
            let open = self.reply(reply::NO_TLS_NOW, replies);
            self.wait_for_command(now);
            return if open { Step::NeedInput } else { Step::Close };
        }
        self.say(reply::READY_FOR_TLS, replies);
        self.state = State::Securing;
        self.wait_for_handshake(now);
        Step::NeedInput
    }

    pub(super) fn wait_for_handshake(&mut self, now: Instant) {
        let limits = &self.settings.limits;
        self.deadline = now + limits.tls_handshake_timeout.min(limits.command_timeout);
    }

    /// Octets that nobody decrypted must not come here while a handshake is awaited.
    pub(super) fn refuse_plaintext(&mut self, input: &Input<'_>) -> Step {
        if input.rest().is_empty() {
            return Step::NeedInput;
        }
        self.close_by(EndedBy::Tls)
    }
}

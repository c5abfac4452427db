//! What comes before a transaction: greeting, EHLO, STARTTLS; and XCLIENT, after which the server greets
//! anew.

use super::reply::Class;
use super::settings::{Protocol, Tls};
use super::step::End;
use super::violation::Violation;
use super::{Client, State, commands};
use crate::client::offers::Offers;
use crate::mail::client::ClientFacts;

/// The codes by which a server of RFC 821 refuses EHLO (RFC 5321 §3.2, §4.1.4).
const NO_EHLO: [u16; 4] = [500, 501, 502, 504];

impl Client {
    /// Says EHLO or LHLO. What is offered is learned from its reply, and from nothing before.
    pub(super) fn say_hello(&mut self, output: &mut Vec<u8>) {
        self.offers = Offers::default();
        self.push_hello(
            match self.settings.protocol {
                Protocol::Smtp => *b"EHLO ",
                Protocol::Lmtp => *b"LHLO ",
            },
            output,
        );
        self.state = State::Hello;
    }

    fn push_hello(&self, verb: [u8; 5], output: &mut Vec<u8>) {
        output.extend_from_slice(&verb);
        output.extend_from_slice(self.settings.name.as_bytes());
        output.extend_from_slice(b"\r\n");
    }

    /// Takes a reply other than 421 to what stands before transactions; `more`: other octets follow it.
    pub(super) fn handle_opening_reply(&mut self, more: bool, output: &mut Vec<u8>) {
        let code = self.reader.reply().code;
        match (self.state, Class::of(code)) {
            (_, Class::Intermediate) => self.violate(Violation::Unexpected(code)),
            (State::Hello, Class::Permanent) if self.falls_back(code) => {
                self.offers = Offers::default();
                self.push_hello(*b"HELO ", output);
                self.state = State::Helo;
            }
            (_, Class::Temporary | Class::Permanent) => self.end_with_reply(End::Refused(self.phase())),
            (State::Greeting, Class::Positive) => self.say_hello(output),
            (State::Xclient, Class::Positive) => {
                // The session begins anew.
                self.is_open = false;
                std::mem::swap(&mut self.presented, &mut self.presenting);
                self.say_hello(output);
            }
            (State::Hello | State::Helo, Class::Positive) => self.handle_hello(output),
            (State::StartTls, Class::Positive) if more => self.violate(Violation::Plaintext),
            (State::StartTls, Class::Positive) => self.state = State::Securing,
            (State::ResetFirst, Class::Positive) => {
                self.is_open = false;
                self.present(output);
            }
            (
                State::Secured
                | State::Securing
                | State::Ready
                | State::Exchanging
                | State::Settled(_)
                | State::Quit
                | State::Over(_),
                Class::Positive,
            ) => {}
        }
    }

    /// Whether HELO is tried. LMTP has none; TLS and XCLIENT need EHLO.
    fn falls_back(&self, code: u16) -> bool {
        let has_helo = self.settings.protocol == Protocol::Smtp && self.settings.tls != Tls::Required;
        has_helo && !self.is_pending && self.tls.is_none() && NO_EHLO.contains(&code)
    }

    /// The server has said what it offers.
    fn handle_hello(&mut self, output: &mut Vec<u8>) {
        if self.is_pending {
            return self.go_on(output);
        }
        if self.settings.is_elsewhere && self.has_our_name() {
            return self.end(End::OurName);
        }
        match (self.settings.tls, self.tls, self.offers.starttls) {
            (Tls::Required, None, false) => self.end(End::TlsNotOffered),
            (Tls::Required | Tls::Offered, None, true) => {
                output.extend_from_slice(b"STARTTLS\r\n");
                self.state = State::StartTls;
            }
            (Tls::Off | Tls::Offered | Tls::Required, _, _) => self.state = State::Ready,
        }
    }

    /// The reply to EHLO or HELO begins with the server's name (RFC 5321 §4.1.1.1).
    fn has_our_name(&self) -> bool {
        let reply = self.reader.reply();
        let first = reply.text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        first.eq_ignore_ascii_case(self.settings.name.as_bytes())
    }

    /// The next hop knows the client of the transaction that waits, and has said anew what it offers. The
    /// transaction was made for what it offered before.
    fn go_on(&mut self, output: &mut Vec<u8>) {
        if self.offers.serves_as(&self.offered) {
            self.begin_exchange(output);
        } else {
            self.is_pending = false;
            self.results.set_untried();
            self.state = State::Settled(None);
        }
    }

    /// Whether XCLIENT has to be said for this client; it is written down then.
    pub(super) fn says_xclient(&mut self, client: Option<&ClientFacts>) -> bool {
        self.xclient = self.offers.xclient.or(self.xclient);
        let Some(takes) = self.xclient.filter(|_| self.settings.xclient) else { return false };
        if client.is_none() && self.presented.is_empty() {
            return false;
        }
        self.presenting.clear();
        commands::push_xclient(client, takes, &mut self.presenting);
        self.presenting != self.presented
    }

    /// Says XCLIENT, after RSET where the server has a transaction.
    pub(super) fn present(&mut self, output: &mut Vec<u8>) {
        self.offered = self.offers;
        if self.is_open {
            output.extend_from_slice(b"RSET\r\n");
            self.state = State::ResetFirst;
        } else {
            output.extend_from_slice(&self.presenting);
            self.state = State::Xclient;
        }
    }
}

//! What lies between a connection's socket and its session: nothing, or TLS.
//!
//! ```text
//!   Plain ──the session wants TLS──► Tls ──failure──► Broken
//! ```
//!
//! There is no way back to plaintext: whatever is received under TLS is decrypted or is nothing, and what cannot be encrypted is
//! not said. Handshakes are the dearest thing a client can ask for, so a turn works on a few of them only
//! ([`HANDSHAKES_PER_TURN_MAX`]); the others wait for the next turn.

use super::connection::{Connection, Phase, Unread};
use super::context::Context;
use crate::buffer::BufferId;
use crate::limits::{HANDSHAKE_BYTES_WAITING_MAX, HANDSHAKES_PER_TURN_MAX};
use crate::mail::client::TlsFacts;
use crate::metrics::ShardMetrics;
use crate::ring::Ring;
use crate::smtp::question::{Asked, Encryption};
use crate::tls::{Cause, State, Tls};

/// Octets to and from the socket.
#[derive(Debug)]
pub(super) enum Transport {
    /// As they are.
    Plain,
    /// Encrypted.
    Tls(Box<Secured>),
    /// TLS failed.
    Broken {
        cause: Cause,
        /// The last that is said, if it is anything.
        alert: Vec<u8>,
    },
}

/// A connection under TLS.
#[derive(Debug)]
pub(super) struct Secured {
    tls: Tls,
    /// What is to be sent as it is.
    outgoing: Vec<u8>,
    /// Handshake octets that wait for a turn that has time for them.
    waiting: Vec<u8>,
    /// Nothing is encrypted behind close_notify.
    closed: bool,
}

/// What a receive came to under TLS.
struct Decrypted {
    plaintext: Vec<u8>,
    /// With a failure: what the client is told.
    alert: Vec<u8>,
    /// The handshake ended with it.
    negotiated: Option<TlsFacts>,
    /// The client sends nothing more.
    ended: bool,
    failure: Option<Cause>,
}

impl Transport {
    /// Octets that it keeps: of handshakes that wait, records that are not whole, and what is to be sent.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Tls(secured) => {
                secured.waiting.capacity() + secured.outgoing.capacity() + secured.tls.held_bytes()
            }
            Self::Broken { alert, .. } => alert.capacity(),
        }
    }

    /// Nothing is received any more: what waits for the rest of it is given up.
    pub(super) fn drop_input(&mut self) {
        if let Self::Tls(secured) = self {
            secured.waiting = Vec::new();
            secured.tls.drop_partial();
        }
    }
}

impl Secured {
    fn decrypt(&mut self, octets: &mut [u8]) -> Decrypted {
        let was = self.tls.state();
        let mut plaintext = Vec::new();
        let received =
            self.tls.receive(octets, &mut self.outgoing, |record| plaintext.extend_from_slice(record));
        let failure = received.err().map(|failure| failure.cause());
        Decrypted {
            plaintext,
            alert: if failure.is_some() { std::mem::take(&mut self.outgoing) } else { Vec::new() },
            negotiated: if was == State::Handshaking { self.tls.facts() } else { None },
            ended: self.tls.state() == State::PeerClosed,
            failure,
        }
    }

    /// Encrypts replies, to be sent behind what is to be sent already. In a handshake nobody can be told anything, and they are lost.
    /// Later that is a failure: each reply behind one that is lost would answer something else.
    fn encrypt(&mut self, replies: &[u8]) -> Result<(), Cause> {
        match self.tls.send(replies, &mut self.outgoing) {
            Err(failure) if self.tls.state() != State::Handshaking => Err(failure.cause()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Connection {
    /// Whether received octets are not the session's before they are decrypted.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.transport, Transport::Plain)
    }

    /// The session asks whether TLS can begin. If it can, the replies so far are the last in plaintext.
    pub(super) fn answer_tls<R: Ring>(&mut self, asked: Asked<Encryption>, context: &mut Context<R>) {
        let tls = self.tls_config.as_ref().and_then(|config| Tls::new(config).ok());
        self.resolve(asked, tls.is_some(), context);
        if let Some(tls) = tls {
            self.secure(tls, context);
        }
    }

    /// Implicit TLS begins.
    pub(super) fn begin_tls<R: Ring>(&mut self, context: &mut Context<R>) {
        match self.tls_config.as_ref().map(Tls::new) {
            Some(Ok(tls)) => self.secure(tls, context),
            Some(Err(_)) | None => self.break_off(Cause::Other, Vec::new(), context),
        }
    }

    /// From here on all is ciphertext, what was received already included. With implicit TLS that is the dear first flight, which
    /// waits for its turn like any other.
    fn secure<R: Ring>(&mut self, tls: Tls, context: &mut Context<R>) {
        let outgoing = self.replies.replace(Vec::new());
        let mut waiting = Vec::new();
        for unread in std::mem::take(&mut self.unread) {
            waiting.extend_from_slice(unread.octets(&context.pool).0);
            if let Unread::Buffer { id, .. } = unread {
                context.pool.unpin(id);
            }
        }
        let waits = !waiting.is_empty();
        self.transport = Transport::Tls(Box::new(Secured { tls, outgoing, waiting, closed: false }));
        if waits && context.take_handshake_step() {
            self.decrypt_waiting(context);
        } else if waits {
            context.handshakes_waiting.push_back(self.key);
        }
    }

    /// A receive under TLS.
    pub(super) fn handle_encrypted<R: Ring>(&mut self, id: BufferId, count: usize, context: &mut Context<R>) {
        // What cannot be parsed now has to be held.
        if !self.unread.is_empty() && !context.may_hold(count) {
            context.pool.unpin(id);
            context.metrics.held_refusals.add(1);
            return self.cut_off(context);
        }
        let Transport::Tls(secured) = &mut self.transport else {
            return context.pool.unpin(id);
        };
        let waits = !secured.waiting.is_empty();
        if waits || secured.tls.state() == State::Handshaking && !context.take_handshake_step() {
            if !context.may_hold(count) {
                context.pool.unpin(id);
                return self.break_off(Cause::Misbehaved, Vec::new(), context);
            }
            secured.waiting.extend_from_slice(context.pool.bytes(id, 0..count));
            context.pool.unpin(id);
            if secured.waiting.len() > HANDSHAKE_BYTES_WAITING_MAX {
                return self.break_off(Cause::Misbehaved, Vec::new(), context);
            }
            if !waits {
                context.handshakes_waiting.push_back(self.key);
            }
            return;
        }
        let decrypted = secured.decrypt(context.pool.bytes_mut(id, 0..count));
        context.pool.unpin(id);
        self.handle_decrypted(decrypted, context);
    }

    /// Whether received octets wait for a turn that has time for its handshake.
    pub(super) fn handshake_waits(&self) -> bool {
        matches!(&self.transport, Transport::Tls(secured) if !secured.waiting.is_empty())
    }

    /// Whether so much of that waits that no more is received. A client has nothing to say before it is answered.
    pub(super) fn is_handshake_full(&self) -> bool {
        matches!(&self.transport, Transport::Tls(secured) if secured.waiting.len() > HANDSHAKE_BYTES_WAITING_MAX / 8)
    }

    /// A turn may have time for its handshake. One that was given up meanwhile costs nothing and is not finished.
    pub(super) fn resume_handshake<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.phase == Phase::Serving && self.handshake_waits() {
            context.take_handshake_step();
            self.decrypt_waiting(context);
            self.advance(context);
        }
    }

    fn decrypt_waiting<R: Ring>(&mut self, context: &mut Context<R>) {
        if let Transport::Tls(secured) = &mut self.transport {
            let mut octets = std::mem::take(&mut secured.waiting);
            let decrypted = secured.decrypt(&mut octets);
            self.handle_decrypted(decrypted, context);
        }
    }

    /// Goes on with what a receive came to.
    fn handle_decrypted<R: Ring>(&mut self, decrypted: Decrypted, context: &mut Context<R>) {
        let Decrypted { plaintext, alert, negotiated, ended, failure } = decrypted;
        if let Some(cause) = failure {
            return self.break_off(cause, alert, context);
        }
        if let Some(facts) = negotiated {
            context.metrics.tls_handshakes.add(1);
            context.metrics.tls_resumptions.add(u64::from(facts.resumed));
            let step = self.session.handle_tls(facts, &mut self.replies, context.now);
            self.follow_close(&step, context);
        }
        if !plaintext.is_empty() {
            self.unread.push_back(Unread::Copied { octets: plaintext, start: 0 });
        }
        // The client sends nothing more; what it asked for is answered.
        self.input_ended |= ended;
    }

    /// TLS failed. Nothing that was begun is finished.
    fn break_off<R: Ring>(&mut self, cause: Cause, alert: Vec<u8>, context: &mut Context<R>) {
        count_failure(&context.metrics, cause);
        self.replies.clear();
        self.session.handle_end_of_input();
        self.transport = Transport::Broken { cause, alert };
        self.flush_and_close(context);
    }

    /// The connection ends. One in its handshake has failed, for this cause.
    pub(super) fn give_up_handshake<R: Ring>(&mut self, cause: Cause, context: &Context<R>) {
        if let Transport::Tls(secured) = &mut self.transport
            && secured.tls.state() == State::Handshaking
        {
            count_failure(&context.metrics, cause);
            let alert = std::mem::take(&mut secured.outgoing);
            self.transport = Transport::Broken { cause, alert };
        }
    }

    /// Why TLS failed, for the log; none when it did not.
    pub(super) fn tls_failure(&self) -> Option<Cause> {
        if let Transport::Broken { cause, .. } = self.transport { Some(cause) } else { None }
    }

    /// What is to be sent now, of replies that the session has said; none when that is nothing.
    pub(super) fn take_outgoing<R: Ring>(&mut self, context: &mut Context<R>) -> Option<Vec<u8>> {
        let outgoing = match &mut self.transport {
            Transport::Plain if self.session.speaks_tls_only() => {
                // A client of this port cannot read plaintext.
                self.replies.clear();
                return None;
            }
            Transport::Plain if self.replies.is_empty() => return None,
            Transport::Plain => self.replies.replace(context.spare_replies.pop().unwrap_or_default()),
            Transport::Tls(secured) => {
                let mut encrypted = Ok(());
                if !self.replies.is_empty() {
                    let said = self.replies.replace(context.spare_replies.pop().unwrap_or_default());
                    encrypted = secured.encrypt(&said);
                    context.keep_spare(said);
                }
                let is_last = encrypted.is_ok() && self.phase == Phase::Flushing;
                if is_last && !std::mem::replace(&mut secured.closed, true) {
                    secured.tls.close(&mut secured.outgoing);
                }
                let outgoing = std::mem::take(&mut secured.outgoing);
                if let Err(cause) = encrypted {
                    self.break_off(cause, Vec::new(), context);
                }
                outgoing
            }
            Transport::Broken { alert, .. } => std::mem::take(alert),
        };
        (!outgoing.is_empty()).then_some(outgoing)
    }
}

fn count_failure(metrics: &ShardMetrics, cause: Cause) {
    let counter = match cause {
        Cause::NotTls => &metrics.tls_failures_not_tls,
        Cause::NothingInCommon => &metrics.tls_failures_nothing_in_common,
        Cause::Protocol => &metrics.tls_failures_protocol,
        Cause::ClientAlert => &metrics.tls_failures_client_alert,
        Cause::ServerName => &metrics.tls_failures_server_name,
        Cause::Misbehaved => &metrics.tls_failures_misbehaved,
        Cause::Decrypt => &metrics.tls_failures_decrypt,
        Cause::TimedOut => &metrics.tls_failures_timed_out,
        Cause::Gone => &metrics.tls_failures_gone,
        Cause::Other => &metrics.tls_failures_other,
    };
    counter.add(1);
}

impl<R> Context<R> {
    /// Whether this turn has time for one more step of a handshake.
    fn take_handshake_step(&mut self) -> bool {
        let has_time = self.handshake_steps < HANDSHAKES_PER_TURN_MAX;
        self.handshake_steps += usize::from(has_time);
        has_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};
    use crate::tls::context::Context;

    fn secured() -> Secured {
        let config = Config::embedded_default();
        let tls = config::Tls { self_signed: true, ..config::Tls::default() };
        let (context, _) = Context::open(&tls, "mx.test").expect("a certificate");
        let server = context.server_config(&config.listeners[0]).expect("good").expect("TLS");
        let tls = Tls::new(&server).expect("a server");
        Secured { tls, outgoing: Vec::new(), waiting: Vec::new(), closed: false }
    }

    #[test]
    fn replies_in_a_handshake_are_no_failure_and_say_nothing() {
        let mut secured = secured();
        assert_eq!(secured.encrypt(b"421 4.3.2\r\n"), Ok(()));
        assert!(secured.outgoing.is_empty());
    }

    #[test]
    fn a_reply_that_cannot_be_encrypted_is_a_failure() {
        let mut secured = secured();
        let mut client = crate::tls::tests::usual_client();
        let mut wire = Vec::new();
        while client.is_handshaking() || client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
            assert!(secured.decrypt(&mut std::mem::take(&mut wire)).failure.is_none());
            let answer = std::mem::take(&mut secured.outgoing);
            client.read_tls(&mut &answer[..]).expect("memory");
            client.process_new_packets().expect("good records");
        }
        assert_eq!(secured.encrypt(b"250 2.0.0\r\n"), Ok(()));
        assert!(!secured.outgoing.is_empty());
        // When both have said that they send nothing more, nothing can be sent.
        client.send_close_notify();
        client.write_tls(&mut wire).expect("memory");
        assert!(secured.decrypt(&mut wire).ended);
        assert_eq!(secured.encrypt(b"221 2.0.0\r\n"), Ok(()), "the client may still hear");
        secured.tls.close(&mut secured.outgoing);
        assert!(secured.encrypt(b"250 2.0.0\r\n").is_err());
    }
}

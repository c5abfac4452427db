//! What lies between a connection's wire and its session: nothing, or TLS. Octets in, octets out; it sees no
//! socket and no session.
//!
//! ```text
//!   Plain ──the session wants TLS──► Tls ──failure──► Broken
//! ```
//!
//! There is no way back to plaintext: whatever is received under TLS is decrypted or is nothing, and what
//! cannot be encrypted is not said.

use crate::limits::HANDSHAKE_BYTES_WAITING_MAX;
use crate::mail::client::TlsFacts;
use crate::metrics::ShardMetrics;
use crate::tls::{Cause, State, TLS12, Tls};

/// Octets to and from the wire.
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
    /// Nothing is encrypted after close_notify.
    closed: bool,
}

/// What a receive came to under TLS.
#[derive(Debug)]
pub(super) struct Decrypted {
    pub(super) plaintext: Vec<u8>,
    /// The handshake ended with it.
    pub(super) negotiated: Option<TlsFacts>,
    /// The client sends nothing more.
    pub(super) ended: bool,
}

/// What replies came to.
#[derive(Debug)]
pub(super) struct Encrypted {
    /// What is to be sent.
    pub(super) octets: Vec<u8>,
    /// Replies whose memory can be used again.
    pub(super) used: Vec<u8>,
    /// They could not be encrypted, and are not said.
    pub(super) failed: Option<Cause>,
}

/// Why TLS failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    /// What the client is told.
    pub(super) alert: Vec<u8>,
}

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        Self { cause, alert: Vec::new() }
    }
}

impl Transport {
    /// Whether received octets are the session's as they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// From here on all is ciphertext: `waiting`, what was received and not parsed, already. `said` is the
    /// last in plaintext.
    pub(super) fn secure(&mut self, tls: Tls, said: Vec<u8>, waiting: Vec<u8>) {
        *self = Self::Tls(Box::new(Secured { tls, outgoing: said, waiting, closed: false }));
    }

    /// TLS has failed. Nothing is decrypted or encrypted any more.
    pub(super) fn break_off(&mut self, failure: Fault) {
        let Fault { cause, alert } = failure;
        *self = Self::Broken { cause, alert };
    }

    /// The connection ends: one in its handshake has failed, for this cause. True when it had one.
    pub(super) fn give_up_handshake(&mut self, cause: Cause) -> bool {
        let Self::Tls(secured) = self else { return false };
        let is_handshaking = secured.tls.state() == State::Handshaking;
        if is_handshaking {
            let alert = std::mem::take(&mut secured.outgoing);
            self.break_off(Fault { cause, alert });
        }
        is_handshaking
    }

    /// Why TLS failed, for the log; none when it did not.
    pub(super) fn failure(&self) -> Option<Cause> {
        if let Self::Broken { cause, .. } = self { Some(*cause) } else { None }
    }

    /// Whether what is received now is a step of a handshake, and waits for a turn that has time for it.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(secured) if secured.tls.state() == State::Handshaking)
    }

    /// Whether received octets wait for a turn that has time for its handshake.
    pub(super) fn handshake_waits(&self) -> bool {
        matches!(self, Self::Tls(secured) if !secured.waiting.is_empty())
    }

    /// Whether so much of that waits that no more is received. A client has nothing to say before it is
    /// answered.
    pub(super) fn is_handshake_full(&self) -> bool {
        matches!(self, Self::Tls(secured) if secured.waiting.len() > HANDSHAKE_BYTES_WAITING_MAX / 8)
    }

    /// These octets of a handshake wait. False when they are more than any client needs.
    pub(super) fn wait_with(&mut self, octets: &[u8]) -> bool {
        let Self::Tls(secured) = self else { return true };
        secured.waiting.extend_from_slice(octets);
        secured.waiting.len() <= HANDSHAKE_BYTES_WAITING_MAX
    }

    /// Decrypts what waited. None when this is not TLS.
    pub(super) fn decrypt_waiting(&mut self) -> Option<Result<Decrypted, Fault>> {
        let Self::Tls(secured) = self else { return None };
        let mut octets = std::mem::take(&mut secured.waiting);
        Some(secured.decrypt(&mut octets))
    }

    /// Decrypts a receive, in place. None when this is not TLS.
    pub(super) fn decrypt(&mut self, octets: &mut [u8]) -> Option<Result<Decrypted, Fault>> {
        if let Self::Tls(secured) = self { Some(secured.decrypt(octets)) } else { None }
    }

    /// What is to be sent now: what was made ready before, then these replies, then, if they are the last,
    /// that nothing follows.
    pub(super) fn encrypt(&mut self, replies: Vec<u8>, are_last: bool) -> Encrypted {
        match self {
            Self::Plain => Encrypted { octets: replies, used: Vec::new(), failed: None },
            Self::Tls(secured) => {
                let encrypted = if replies.is_empty() { Ok(()) } else { secured.encrypt(&replies) };
                if encrypted.is_ok() && are_last && !std::mem::replace(&mut secured.closed, true) {
                    secured.tls.close(&mut secured.outgoing);
                }
                let octets = std::mem::take(&mut secured.outgoing);
                Encrypted { octets, used: replies, failed: encrypted.err() }
            }
            Self::Broken { alert, .. } => {
                Encrypted { octets: std::mem::take(alert), used: replies, failed: None }
            }
        }
    }

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
    fn decrypt(&mut self, octets: &mut [u8]) -> Result<Decrypted, Fault> {
        let was = self.tls.state();
        let mut plaintext = Vec::new();
        let received =
            self.tls.receive(octets, &mut self.outgoing, |record| plaintext.extend_from_slice(record));
        match received {
            Err(failure) => Err(Fault { cause: failure.cause(), alert: std::mem::take(&mut self.outgoing) }),
            Ok(()) => Ok(Decrypted {
                plaintext,
                negotiated: if was == State::Handshaking { self.tls.facts() } else { None },
                ended: self.tls.state() == State::PeerClosed,
            }),
        }
    }

    /// Encrypts replies, to be sent after what is to be sent already. In a handshake nobody can be told
    /// anything, and they are lost. Later that is a failure: each reply after one that is lost would answer
    /// something else.
    fn encrypt(&mut self, replies: &[u8]) -> Result<(), Cause> {
        match self.tls.send(replies, &mut self.outgoing) {
            Err(failure) if self.tls.state() != State::Handshaking => Err(failure.cause()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Counts a handshake that is done.
pub(super) fn count_handshake(metrics: &ShardMetrics, facts: &TlsFacts) {
    let resumed = u64::from(facts.resumed);
    metrics.tls_handshakes.add(1);
    metrics.tls_resumptions.add(resumed);
    if facts.version == TLS12 {
        metrics.tls12_handshakes.add(1);
        metrics.tls12_resumptions.add(resumed);
    }
}

/// Counts a failure of TLS.
pub(super) fn count_failure(metrics: &ShardMetrics, cause: Cause) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};
    use crate::tls::context::TlsContext;

    fn secured() -> Secured {
        let config = Config::embedded_default();
        let tls = config::Tls { self_signed: true, ..config::Tls::default() };
        let (context, _) = TlsContext::open(&tls, "mx.test").expect("a certificate");
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
            assert!(secured.decrypt(&mut std::mem::take(&mut wire)).is_ok());
            let answer = std::mem::take(&mut secured.outgoing);
            client.read_tls(&mut &answer[..]).expect("memory");
            client.process_new_packets().expect("good records");
        }
        assert_eq!(secured.encrypt(b"250 2.0.0\r\n"), Ok(()));
        assert!(!secured.outgoing.is_empty());
        // When both have said that they send nothing more, nothing can be sent.
        client.send_close_notify();
        client.write_tls(&mut wire).expect("memory");
        assert!(secured.decrypt(&mut wire).is_ok_and(|decrypted| decrypted.ended));
        assert_eq!(secured.encrypt(b"221 2.0.0\r\n"), Ok(()), "the client may still hear");
        secured.tls.close(&mut secured.outgoing);
        assert!(secured.encrypt(b"250 2.0.0\r\n").is_err());
    }
}

//! The client's end of one TLS connection: octets of the socket in, octets for the socket out. No socket and
//! no clock.
//!
//! Mail data is encrypted a portion at a time, each once the last was sent: a message of any size takes
//! little memory.

use std::fmt;
use std::io::{BufRead, IoSlice, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};

use super::handshakes::Negotiated;

/// Octets of mail data that are encrypted at a time: whole records, and enough for a send to be worth its
/// cost.
const PORTION_BYTES: usize = 128 * 1024;

/// See the file's head.
pub struct Channel {
    connection: ClientConnection,
    /// When ClientHello was made.
    begun_at: Instant,
    /// The handshake is done.
    established: bool,
    /// Mail data after the portion that was encrypted last.
    rest: &'static [u8],
    /// The send under way, or the last one, has octets that the session said.
    carries: bool,
    /// Nothing more is said: close_notify was, or an alert.
    closed: bool,
    /// The server said that it sends nothing more (close_notify).
    ended: bool,
}

impl Channel {
    /// One that has not said anything yet.
    pub fn new(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        now: Instant,
    ) -> Result<Self, rustls::Error> {
        let mut connection = ClientConnection::new(Arc::clone(config), name.clone())?;
        // What is encrypted at a time is bounded by the portion.
        connection.set_buffer_limit(None);
        Ok(Self {
            connection,
            begun_at: now,
            established: false,
            rest: &[],
            carries: false,
            closed: false,
            ended: false,
        })
    }

    /// When the handshake began.
    pub fn begun_at(&self) -> Instant {
        self.begun_at
    }

    /// Whether the session may speak.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Takes some octets off the front of those received: at least one, or it fails. What they brought is to
    /// be asked for before the next ones: [`Self::take_established`], [`Self::take_plaintext`],
    /// [`Self::is_ended`]; also after a failure, which closes the channel.
    pub fn receive(&mut self, octets: &mut &[u8]) -> Result<(), rustls::Error> {
        let count = self.connection.read_tls(octets).map_err(|error| failure(&error))?;
        match self.connection.process_new_packets() {
            Ok(_) if count == 0 => Err(rustls::Error::General("octets that TLS does not take".to_owned())),
            Ok(state) => {
                self.ended = state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                self.closed = true;
                Err(error)
            }
        }
    }

    /// What was negotiated and whether a session was resumed: once, when the handshake is done.
    pub fn take_established(&mut self) -> Option<(Negotiated, bool)> {
        if self.established || self.closed || self.connection.is_handshaking() {
            return None;
        }
        self.established = true;
        let resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Some((self.negotiated(), resumed))
    }

    /// Hands over what was decrypted.
    pub fn take_plaintext(&mut self, mut plaintext: impl FnMut(&[u8])) {
        let mut reader = self.connection.reader();
        // An error says that there is no more for now, or that the connection ended without close_notify.
        while let Ok(octets) = reader.fill_buf()
            && !octets.is_empty()
        {
            plaintext(octets);
            let count = octets.len();
            reader.consume(count);
        }
    }

    /// Whether the server said that it sends nothing more (close_notify).
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Encrypts what the session says, and appends it to `out`: `head`, and of `body` as much as goes at a
    /// time.
    pub fn say(&mut self, head: &[u8], body: &'static [u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let (now, rest) = body.split_at(body.len().min(PORTION_BYTES));
        self.rest = rest;
        self.carries = true;
        self.encrypt(&[head, now], out)
    }

    /// Appends the next portion of what the session said last.
    pub fn say_rest(&mut self, out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        self.say(&[], self.rest, out)
    }

    /// Whether there is one.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Whether the send that ended had octets of the session's. Asked for once a send.
    pub fn take_carries(&mut self) -> bool {
        std::mem::take(&mut self.carries)
    }

    fn encrypt(&mut self, parts: &[&[u8]; 2], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        let written = match parts {
            _ if count == 0 => Ok(0),
            [[], only] | [only, []] => self.connection.writer().write(only),
            both => self.connection.writer().write_vectored(&both.map(IoSlice::new)),
        };
        match written {
            Ok(written) if written == count => {
                self.take_pending(out);
                Ok(())
            }
            Ok(_) => Err(rustls::Error::EncryptError),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Appends what TLS itself has to send: of the handshake, or an alert.
    pub fn take_pending(&mut self, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        while self.connection.wants_write() && self.connection.write_tls(out).is_ok_and(|count| count > 0) {}
    }

    /// Appends the last octets: close_notify (RFC 8446 §6.1), or the alert that tells why we go; nothing when
    /// it is called again, or in a handshake.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.established && !self.closed {
            self.connection.send_close_notify();
        }
        if self.established || self.closed {
            self.take_pending(out);
        }
        self.closed = true;
    }

    fn negotiated(&self) -> Negotiated {
        let cipher = self.connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group = self.connection.negotiated_key_exchange_group();
        Negotiated {
            version: match self.connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLS",
            },
            // The registry's names; rustls tells its own of TLS 1.3 apart.
            cipher: match cipher {
                Some("TLS13_AES_256_GCM_SHA384") => "TLS_AES_256_GCM_SHA384",
                Some("TLS13_AES_128_GCM_SHA256") => "TLS_AES_128_GCM_SHA256",
                Some("TLS13_CHACHA20_POLY1305_SHA256") => "TLS_CHACHA20_POLY1305_SHA256",
                Some(cipher) => cipher,
                None => "?",
            },
            group: group.and_then(|group| group.name().as_str()),
        }
    }
}

/// What rustls says through an error of `io`.
fn failure(error: &std::io::Error) -> rustls::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.cloned().unwrap_or_else(|| rustls::Error::General(error.to_string()))
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("established", &self.established)
            .field("rest", &self.rest.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

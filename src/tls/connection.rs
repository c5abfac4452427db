//! The server's end of one TLS connection, and what it does with the records that come.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::server::{ServerConfig, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion};

use super::certificate;
use super::failure::Failure;
use super::record::{missing_octets, whole_records};
use crate::limits::HANDSHAKE_BYTES_FREE;
use crate::mail::client::TlsFacts;

/// Octets of an incomplete record or handshake message that are kept: a handshake message has at most 64 KiB,
/// and records of 16 KiB have a little more with what encryption adds.
pub(super) const PARTIAL_BYTES_MAX: usize = 96 * 1024;

/// TLS 1.2, as it is told.
pub const TLS12: &str = "TLSv1.2";

/// What the library has for each certificate besides its octets.
const CERTIFICATE_PLACE_BYTES: usize = 64;

/// The server's end of one TLS connection.
pub struct Tls {
    connection: Box<UnbufferedServerConnection>,
    /// What came and is no whole record or handshake message yet.
    partial: Vec<u8>,
    /// Octets of `partial` that are whole records of an incomplete handshake message. rustls moves what is in
    /// them: their headers are not looked at again. `whole <= partial.len()`
    whole: usize,
    state: State,
    /// The name that the client asked for.
    server_name: Option<Arc<str>>,
    /// What the library keeps of what the client chose, beyond [`HANDSHAKE_BYTES_FREE`]: in the handshake no
    /// more than was received, then the certificates that it showed.
    kept_bytes: usize,
    /// Octets of its handshake so far.
    received_bytes: usize,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The handshake is under way.
    Handshaking,
    /// Both sides may send.
    Established,
    /// The client said that it sends nothing more (close_notify).
    PeerClosed,
}

impl Tls {
    /// A connection of which nothing was received yet.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, Failure> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config)).map_err(Failure)?;
        Ok(Self {
            connection: Box::new(connection),
            partial: Vec::new(),
            whole: 0,
            state: State::Handshaking,
            server_name: None,
            kept_bytes: 0,
            received_bytes: 0,
        })
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Octets kept of a record that is not whole, and of a handshake or certificates that are larger than
    /// usual.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.kept_bytes
    }

    /// Forgets a record that is not whole: nothing is received any more.
    pub fn drop_partial(&mut self) {
        self.partial = Vec::new();
    }

    /// Takes received octets and changes them. Calls `plaintext` for each record that is whole, and appends
    /// to `out` what is to be sent. After a failure `out` holds the alert; the connection is to be closed and
    /// this not called again.
    pub fn receive(
        &mut self,
        octets: &mut [u8],
        out: &mut Vec<u8>,
        plaintext: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        if self.state != State::Handshaking {
            return guarded(|| self.assemble(octets, out, plaintext));
        }
        self.received_bytes += octets.len();
        // What another connection left that failed.
        drop(certificate::take_asked_name());
        let taken = guarded(|| self.assemble(octets, out, plaintext));
        self.kept_bytes = match self.state {
            State::Handshaking => self.received_bytes.saturating_sub(HANDSHAKE_BYTES_FREE),
            State::Established | State::PeerClosed => self.shown_bytes().saturating_sub(HANDSHAKE_BYTES_FREE),
        };
        self.server_name = certificate::take_asked_name().or(self.server_name.take());
        taken
    }

    /// Octets of the certificates that the client showed, each with what its place takes.
    fn shown_bytes(&self) -> usize {
        let shown = self.connection.peer_certificates().unwrap_or_default();
        shown.iter().map(|certificate| certificate.len() + CERTIFICATE_PLACE_BYTES).sum()
    }

    /// [`Tls::receive`], record by record.
    fn assemble(
        &mut self,
        mut octets: &mut [u8],
        out: &mut Vec<u8>,
        mut plaintext: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        // What follows close_notify is nothing (RFC 8446 §6.1).
        while !octets.is_empty() && self.state != State::PeerClosed {
            if self.partial.is_empty() {
                let whole = whole_records(octets);
                let used = process(&mut self.connection, &mut self.state, octets, out, &mut plaintext)?;
                self.partial.extend_from_slice(octets.get(used..).unwrap_or_default());
                self.whole = whole.saturating_sub(used);
                break;
            }
            // Only what completes the record is copied; whole records after it are decrypted where they lie.
            let missing = missing_octets(self.begun()).min(octets.len());
            let (now, rest) = octets.split_at_mut(missing);
            self.partial.extend_from_slice(now);
            octets = rest;
            if self.partial.len() > PARTIAL_BYTES_MAX {
                return Err(Failure(rustls::InvalidMessage::HandshakePayloadTooLarge.into()));
            }
            self.whole += whole_records(self.begun());
            let used =
                process(&mut self.connection, &mut self.state, &mut self.partial, out, &mut plaintext)?;
            self.partial.drain(..used);
            self.whole = self.whole.saturating_sub(used);
        }
        if self.partial.is_empty() || self.state == State::PeerClosed {
            self.partial = Vec::new();
            self.whole = 0;
        }
        Ok(())
    }

    /// The record that has begun and is not whole.
    pub(super) fn begun(&self) -> &[u8] {
        self.partial.get(self.whole..).unwrap_or_default()
    }

    /// Encrypts replies.
    pub fn send(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        self.write(out, |traffic, space| match traffic.encrypt(plaintext, space) {
            Err(EncryptError::InsufficientSize(error)) => Err(Short::Space(error.required_size)),
            Err(EncryptError::EncryptExhausted) => Err(Short::Failed(rustls::Error::EncryptError)),
            Ok(count) => Ok(count),
        })
    }

    /// Says that we send nothing more (RFC 8446 §6.1); a connection that is still in its handshake says
    /// nothing.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        // A client that cannot be told is cut off without it.
        let _ = self.write(out, |traffic, space| match traffic.queue_close_notify(space) {
            Err(EncryptError::InsufficientSize(error)) => Err(Short::Space(error.required_size)),
            Err(EncryptError::EncryptExhausted) => Err(Short::Failed(rustls::Error::EncryptError)),
            Ok(count) => Ok(count),
        });
    }

    /// What was negotiated; none before the handshake is done.
    pub fn facts(&self) -> Option<TlsFacts> {
        let cipher = match self.connection.negotiated_cipher_suite()?.suite().as_str()? {
            // The registry's names; rustls tells its own of TLS 1.3 apart.
            "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
            "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
            "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
            cipher => cipher,
        };
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            ProtocolVersion::TLSv1_2 => TLS12,
            _ => return None,
        };
        (self.state != State::Handshaking).then(|| TlsFacts {
            version,
            cipher,
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate: self.connection.peer_certificates().is_some(),
            server_name: self.server_name.clone(),
        })
    }

    /// Writes once the connection is ready to, growing `out` by what is needed.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, Short>,
    ) -> Result<(), Failure> {
        guarded(|| self.write_when_ready(out, write))
    }

    fn write_when_ready(
        &mut self,
        out: &mut Vec<u8>,
        mut write: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, Short>,
    ) -> Result<(), Failure> {
        loop {
            // rustls remembers how far it has looked at what is incomplete, and panics when that is not shown
            // again. It finds nothing new in it, so it discards nothing.
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.partial);
            match state.map_err(Failure)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return fill(out, |space| write(&mut traffic, space));
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                // The edge of close_notify: we may go on writing.
                ConnectionState::PeerClosed => self.state = State::PeerClosed,
                _ => return Err(Failure(rustls::Error::HandshakeNotComplete)),
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("state", &self.state)
            .field("partial", &self.partial.len())
            .finish_non_exhaustive()
    }
}

/// A panic in the library is the failure of one connection, not of the shard and of all that it serves.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Failure(rustls::Error::General("TLS panicked".to_owned()))))
}

/// Why a write into a space did not succeed.
enum Short {
    /// It needs this many octets.
    Space(usize),
    Failed(rustls::Error),
}

/// Lets `write` fill the space after what `out` holds, as much as it needs.
fn fill(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, Short>) -> Result<(), Failure> {
    let start = out.len();
    let mut needed = 0;
    loop {
        out.resize(start + needed, 0);
        match write(out.get_mut(start..).unwrap_or_default()) {
            Ok(count) => {
                out.truncate(start + count);
                return Ok(());
            }
            Err(Short::Space(required)) if required > needed => needed = required,
            Err(Short::Space(_)) => return Err(Failure(rustls::Error::General("no space".to_owned()))),
            Err(Short::Failed(error)) => {
                out.truncate(start);
                return Err(Failure(error));
            }
        }
    }
}

fn encode(
    data: &mut rustls::unbuffered::EncodeTlsData<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    fill(out, |space| match data.encode(space) {
        Err(EncodeError::InsufficientSize(error)) => Err(Short::Space(error.required_size)),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
        Ok(count) => Ok(count),
    })
}

/// Processes what is whole in `octets` and returns how many octets of it are done with.
fn process(
    connection: &mut UnbufferedServerConnection,
    progress: &mut State,
    octets: &mut [u8],
    out: &mut Vec<u8>,
    plaintext: &mut impl FnMut(&[u8]),
) -> Result<usize, Failure> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { mut discard, state } =
            connection.process_tls_records(octets.get_mut(used..).unwrap_or_default());
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                let rest = octets.get_mut(used + discard..).unwrap_or_default();
                take_alert(connection, rest, out);
                return Err(Failure(error));
            }
        };
        let mut is_done = false;
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(Failure)?;
                    discard += record.discard;
                    plaintext(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            // Not in a handshake: there rustls believes no close_notify.
            ConnectionState::PeerClosed => *progress = State::PeerClosed,
            ConnectionState::WriteTraffic(_) => {
                if *progress == State::Handshaking {
                    *progress = State::Established;
                }
                is_done = true;
            }
            // Early data is never offered; nothing else is left to do.
            _ => is_done = true,
        }
        used += discard;
        if is_done {
            return Ok(used);
        }
    }
}

/// After a failure: the alert that rustls has for the client, if it has one, and what it had to say before
/// that. It is asked with the `rest` of the octets, because it panics when it is not shown what it has looked
/// at. After the alert it is not asked again, because then it would look at the bad record again.
fn take_alert(connection: &mut UnbufferedServerConnection, rest: &mut [u8], out: &mut Vec<u8>) {
    /// Types of records in front of an alert in a handshake that fails half-way (RFC 8446 §5.1): an alert has
    /// its own, or, when it is encrypted, that of data.
    const CHANGE_CIPHER_SPEC: u8 = 20;
    const HANDSHAKE: u8 = 22;
    while let Ok(ConnectionState::EncodeTlsData(mut data)) = connection.process_tls_records(rest).state {
        let start = out.len();
        // A client that cannot be told is cut off without it.
        let encoded = encode(&mut data, out);
        let goes_on = matches!(out.get(start), Some(&(CHANGE_CIPHER_SPEC | HANDSHAKE)));
        if encoded.is_err() || !goes_on {
            break;
        }
    }
}

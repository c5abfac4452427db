//! An SMTP client: as it is counted, and what is known of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An SMTP client as it is counted, wherever one client may have only so much of something:
/// an IPv4 address, or the /64 of an IPv6 address, because whoever has one address of it has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// The address.
    V4(u32),
    /// The upper half of the address.
    V6(u64),
}

impl Client {
    /// The client at this address. None for a loopback address, which is exempt from every count.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(Self::V4(address.to_bits())),
            IpAddr::V6(address) => Some(Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or_default())),
        }
    }
}

/// What a sink and the log may tell of the SMTP client.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// Its address and port.
    pub address: SocketAddr,
    /// EHLO or HELO name as sent, cut at `EHLO_NAME_BYTES_MAX`. Escape it before it is shown.
    pub ehlo: Vec<u8>,
    /// The `with` of trace information, for instance `ESMTP` (RFC 3848).
    pub protocol: &'static str,
    /// What TLS the connection was under; none in plaintext.
    pub tls: Option<TlsFacts>,
    /// What others say of it.
    pub standing: Standing,
}

/// What others say of a client, as far as they were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its name by its address, which leads back to it (RFC 8601 §2.7.3): letters, digits, hyphens,
    /// underscores and dots; empty for none.
    pub reverse_name: Vec<u8>,
    /// What speaks against it, and for it: the sum is its score.
    pub reasons: Vec<Reason>,
}

/// What one check adds to a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The check, or the public name of a list: printable ASCII, at most 255 octets.
    pub name: Box<str>,
    /// Negative where it speaks for the client.
    pub weight: i32,
}

impl Standing {
    /// The score.
    pub fn score(&self) -> i32 {
        self.reasons.iter().fold(0, |sum, reason| sum.saturating_add(reason.weight))
    }
}

impl ClientFacts {
    /// Nothing known yet.
    pub fn unknown() -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            ehlo: Vec::new(),
            protocol: "SMTP",
            tls: None,
            standing: Standing::default(),
        }
    }
}

/// What a TLS handshake negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// A session was resumed.
    pub resumed: bool,
    /// The client showed a certificate. It is never verified against anything.
    pub client_certificate: bool,
    /// The name that the client asked for (SNI), in lower case; none when it asked for none.
    pub server_name: Option<Arc<str>>,
}

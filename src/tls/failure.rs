//! Why a TLS connection failed, in classes that are counted and logged.

use std::fmt;

use rustls::{AlertDescription, PeerMisbehaved};

/// Why a TLS connection failed.
#[derive(Debug)]
pub struct Failure(pub(super) rustls::Error);

/// Failures in classes, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The client does not speak TLS.
    NotTls,
    /// No common version, cipher suite, group or signature scheme.
    NothingInCommon,
    /// The client offered protocols (ALPN) and `smtp` is none of them.
    Protocol,
    /// The client sent a fatal alert: for instance, it does not trust the certificate.
    ClientAlert,
    /// The client asked for a server name (SNI) that is no host name. rustls ends the handshake, and nothing
    /// can be done before it does: both sides hash the octets that the client sent (RFC 6066 §3, RFC 8446
    /// §4.4.1).
    ServerName,
    /// The client broke the rules of TLS.
    Misbehaved,
    /// A record that was not encrypted under our keys.
    Decrypt,
    /// The handshake was not done in time.
    TimedOut,
    /// The client went away in the handshake.
    Gone,
    /// All else.
    Other,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTls => "not-tls",
            Self::NothingInCommon => "nothing-in-common",
            Self::Protocol => "protocol",
            Self::ClientAlert => "client-alert",
            Self::ServerName => "server-name",
            Self::Misbehaved => "misbehaved",
            Self::Decrypt => "decrypt",
            Self::TimedOut => "timed-out",
            Self::Gone => "gone",
            Self::Other => "other",
        })
    }
}

impl Failure {
    /// Its class.
    pub fn cause(&self) -> Cause {
        use rustls::InvalidMessage as Message;
        match &self.0 {
            rustls::Error::InvalidMessage(
                Message::InvalidServerName | Message::IllegalEmptyList("ServerNames"),
            )
            | rustls::Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName) => {
                Cause::ServerName
            }
            // What cannot be the head of a record, nor its octets a message.
            rustls::Error::InvalidMessage(
                Message::InvalidContentType
                | Message::InvalidEmptyPayload
                | Message::MessageTooLarge
                | Message::UnknownProtocolVersion
                | Message::HandshakePayloadTooLarge,
            ) => Cause::NotTls,
            // A record of TLS, and in it a message that is none.
            rustls::Error::InvalidMessage(_) => Cause::Misbehaved,
            rustls::Error::PeerIncompatible(_) => Cause::NothingInCommon,
            rustls::Error::NoApplicationProtocol => Cause::Protocol,
            rustls::Error::AlertReceived(_) => Cause::ClientAlert,
            rustls::Error::PeerMisbehaved(_) | rustls::Error::InappropriateMessage { .. } => {
                Cause::Misbehaved
            }
            rustls::Error::DecryptError => Cause::Decrypt,
            _ => Cause::Other,
        }
    }

    /// The alert that the client sent, if it was one.
    pub fn alert(&self) -> Option<AlertDescription> {
        match self.0 {
            rustls::Error::AlertReceived(alert) => Some(alert),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Failure {}

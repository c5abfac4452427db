//! A completed message on its way to a sink, and the receipt that carries it home.

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::buffer::MailData;
use crate::smtp::envelope::{Envelope, TlsFacts};

/// One completed message: envelope, trace information and mail data. Made and taken apart by its shard, read by a sink.
///
/// Not `Clone`: exactly one place is answerable for it.
#[derive(Debug)]
pub struct Message {
    /// Its name from MAIL on: in the reply, in Received: and in the store.
    pub id: QueueId,
    /// The shard and connection that wait for the receipt.
    pub origin: Origin,
    /// Whom it came from and to whom it goes.
    pub envelope: Box<Envelope>,
    /// What was known of the SMTP client at the end of the mail data.
    pub client: ClientFacts,
    /// When the mail data ended.
    pub received_at: SystemTime,
    /// Our `Received:` field with its CRLF, and what has to stand between it and the mail data: an empty line where that begins with
    /// text, the name of a field and no line end where it begins with a mailbox line. A sink puts it directly in front of the mail data.
    pub received: Vec<u8>,
    /// The mail data after transparency, octet for octet as sent.
    pub data: MailData,
    /// Where the sink stored it, for the log; written by the sink.
    pub place: String,
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
}

impl ClientFacts {
    /// Nothing known yet.
    pub fn unknown() -> Self {
        Self { address: SocketAddr::from(([0, 0, 0, 0], 0)), ehlo: Vec::new(), protocol: "SMTP", tls: None }
    }
}

/// Which connection waits for a receipt. Only its shard can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Number of the shard.
    pub shard: u16,
    /// The shard's own word for the connection: slot and generation.
    pub connection: u64,
}

/// Name of a message, unique over all shards and starts of this host.
///
/// From the top: 40 bits of seconds since 1970, 88 bits that are unique and say nothing ([`super::queue_ids`]). Shown as 26 characters of
/// Crockford's base 32 in lower case, which sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct QueueId(pub u128);

impl QueueId {
    /// Length of the text form.
    pub const TEXT_BYTES: usize = 26;
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// Bits below the time.
    pub const OPAQUE_BITS: u32 = 88;

    /// Puts an id together; each part is cut to its width.
    pub fn new(seconds: u64, opaque: u128) -> Self {
        let seconds = u128::from(seconds & ((1 << 40) - 1));
        Self(seconds << Self::OPAQUE_BITS | opaque & ((1 << Self::OPAQUE_BITS) - 1))
    }

    /// The text form.
    pub fn text(self) -> [u8; Self::TEXT_BYTES] {
        std::array::from_fn(|place| {
            let shift = 5 * (Self::TEXT_BYTES - 1 - place);
            Self::ALPHABET[(self.0 >> shift & 31) as usize]
        })
    }

    /// Reads the text form; none when it is not one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_BYTES {
            return None;
        }
        text.iter()
            .try_fold(0_u128, |value, character| {
                let digit = Self::ALPHABET.iter().position(|letter| letter == character)?;
                value.checked_mul(32)?.checked_add(digit as u128)
            })
            .map(Self)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().iter().try_for_each(|character| fmt::Write::write_char(f, char::from(*character)))
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of a message. All or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As safe as the sink promises; 250 may leave.
    Durable,
    /// Not stored for a reason that passes: 4yz.
    TryAgain(TryAgain),
    /// Never to be stored, for a property of the message or the address itself: 5yz.
    Refused(Refused),
}

/// Why a message may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryAgain {
    /// `451 4.3.2`: the channel to the sink stayed full, or memory ran out.
    Overload,
    /// `451 4.3.0`: a write, a sync or the configuration of the store failed.
    Local,
    /// `452 4.3.1`: no space, or over quota.
    NoSpace,
}

/// Why a message is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `550 5.1.3`: the sink cannot name a file for this recipient.
    Recipient,
}

/// The answer of a sink; it carries the message home.
#[derive(Debug)]
pub struct Receipt {
    /// The message, to be taken apart by its shard.
    pub message: Box<Message>,
    /// What became of it.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_id_sorts_by_time_and_reads_back() {
        let id = QueueId::new(1_800_000_000, 7 << 56 | 0x2a);
        assert!(id.to_string() < QueueId::new(1_800_000_001, 0).to_string());
        assert_eq!(QueueId::parse(id.to_string().as_bytes()), Some(id));
        assert_eq!(QueueId::parse(b"too short"), None);
        assert_eq!(QueueId::parse(&[b'z'; QueueId::TEXT_BYTES]), None, "over 128 bits");
    }
}

//! What a session does now, each state with what is true in it and nowhere else.

use crate::mail::envelope::Envelope;
use crate::smtp::data_watch::DataWatch;
use crate::smtp::input::Input;
use crate::smtp::mail_data::MailData;
use crate::smtp::message_clock::MessageClock;
use crate::smtp::nul_watch::NulWatch;
use crate::smtp::proxy::ProxyReader;
use crate::smtp::question::Awaited;
use crate::smtp::reply::Reply;
use crate::smtp::size_limit::SizeLimit;

/// What a session does now.
#[derive(Debug)]
pub(super) enum State {
    /// The header of a trusted front is awaited.
    Proxy(ProxyReader),
    /// The greeting waits for early talkers.
    Delayed,
    /// The greeting is said and not sent.
    Greeted,
    /// A command is awaited.
    Command,
    /// An answer is awaited.
    Waiting(Wait),
    /// A handshake is awaited: nothing is read until it is done.
    Securing,
    /// Mail data is awaited.
    Data(DataState),
    /// The rest of a chunk is awaited.
    Chunk(ChunkState),
    /// It is over.
    Closed,
}

/// Which answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Whether the transaction that MAIL proposes may begin.
    Beginning,
    /// Whether the client may have this connection.
    Admission(Admitting),
    /// Whether the recipient that RCPT proposes is accepted.
    Recipient,
    /// Whether TLS can begin.
    Encryption,
    /// What became of the message.
    Delivery,
}

impl Wait {
    /// What is awaited.
    pub(super) fn awaited(self) -> Awaited {
        match self {
            Self::Beginning => Awaited::Beginning,
            Self::Admission(_) => Awaited::Admission,
            Self::Recipient => Awaited::Recipient,
            Self::Encryption => Awaited::Encryption,
            Self::Delivery => Awaited::Delivery,
        }
    }
}

/// What named the client that may or may not have this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitting {
    ProxyHeader,
    Xclient,
}

/// Mail data while it is received.
#[derive(Debug)]
pub(super) struct DataState {
    pub(super) data: MailData,
    pub(super) watch: DataWatch,
    /// Looks at the octets as they were sent.
    pub(super) nul: NulWatch,
    /// Octets of mail data so far (RFC 1870: after transparency).
    pub(super) bytes: u64,
    /// How many there may be.
    pub(super) limit: SizeLimit,
    /// Set when the message is to be refused at its end.
    pub(super) refusal: Option<Reply>,
}

/// A chunk while it is received, or passed over.
#[derive(Debug)]
pub(super) struct ChunkState {
    /// Octets of it that have not come.
    pub(super) left: u64,
    /// The mail data ends with it.
    pub(super) last: bool,
    /// How many octets the chunks of the transaction may have together.
    pub(super) limit: SizeLimit,
    /// The time of the message.
    pub(super) clock: MessageClock,
    /// Set when it is refused: what is left of it is passed over, then this is said.
    pub(super) refusal: Option<Reply>,
    /// The envelope of the transaction that was refused with it, for the log.
    pub(super) refused: Option<Box<Envelope>>,
}

impl ChunkState {
    /// Consumes octets of a chunk that is refused.
    pub(super) fn pass_over(&mut self, input: &mut Input<'_>) {
        let count = input.rest().len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        input.consume(count);
        self.left -= count as u64;
    }
}

/// A reply that a client has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AwaitedReply {
    /// To DATA.
    Data,
    /// To the session's first EHLO or HELO.
    Hello,
}

/// Which greeting the client gave, and under which name.
#[derive(Debug)]
pub(super) enum Hello {
    None,
    Helo(Box<[u8]>),
    Ehlo(Box<[u8]>),
}

impl Hello {
    /// What the client called itself; empty when it did not.
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::None => b"",
            Self::Helo(name) | Self::Ehlo(name) => name,
        }
    }

    /// The `with` of trace information (RFC 3848; RFC 6531 §4.3).
    pub(super) fn protocol(&self, smtputf8: bool, is_under_tls: bool) -> &'static str {
        match (self, smtputf8, is_under_tls) {
            (_, true, false) => "UTF8SMTP",
            (_, true, true) => "UTF8SMTPS",
            (Self::None | Self::Helo(_), false, _) => "SMTP",
            (Self::Ehlo(_), false, false) => "ESMTP",
            (Self::Ehlo(_), false, true) => "ESMTPS",
        }
    }
}

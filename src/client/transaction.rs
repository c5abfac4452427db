//! A message for some recipients, as it is to be handed on, and what a next hop cannot take of it.

use std::fmt;

use super::offers::Offers;
use super::reply::Enhanced;
use super::settings::Settings;
use super::step::Form;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::{BodyType, Envelope, RecipientParameters, Ret};

/// A message as it is handed on. Its recipients are given beside it.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    /// Without angle brackets; empty for the null reverse-path.
    pub reverse_path: &'a [u8],
    /// BODY= as it was received.
    pub body: BodyType,
    /// SMTPUTF8 was given (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS was given (RFC 8689).
    pub requiretls: bool,
    /// RET= (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// ENVID= in xtext (RFC 3461 §4.4); empty when it was not given.
    pub envid: &'a [u8],
    /// What is sent of it as mail data.
    pub content: Content,
    /// On whose behalf it is, for a next hop that takes XCLIENT. None where there is no client, as of a
    /// notice of our own.
    pub client: Option<&'a ClientFacts>,
}

/// The content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Octets of it, exactly: what is in front of the mail data, and the mail data.
    pub bytes: u64,
    /// It holds a CR or an LF that is not part of a CRLF, so it can only be sent by BDAT.
    pub bare_line_ends: bool,
}

/// A recipient.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// `local-part@domain` without angle brackets.
    pub mailbox: &'a [u8],
    /// The parameters of DSN. They are said only where DSN is offered ([`Offers::dsn`]); elsewhere they end
    /// here, and who asked for SUCCESS is owed a notice that the message was relayed (RFC 3461 §5.2.2).
    pub parameters: RecipientParameters<'a>,
}

impl<'a> Transaction<'a> {
    /// One from nobody, of which nothing follows.
    pub(super) const QUESTION: Self = Self {
        reverse_path: b"",
        body: BodyType::SevenBit,
        smtputf8: false,
        requiretls: false,
        ret: None,
        envid: b"",
        content: Content { bytes: 0, bare_line_ends: false },
        client: None,
    };

    /// The message of this envelope with this many octets of content.
    pub fn of(envelope: &'a Envelope, content_bytes: u64, client: Option<&'a ClientFacts>) -> Self {
        Self {
            reverse_path: envelope.reverse_path(),
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            requiretls: envelope.requiretls,
            ret: envelope.ret,
            envid: envelope.envid(),
            content: Content { bytes: content_bytes, bare_line_ends: envelope.bare_line_ends },
            client,
        }
    }

    /// In which form the content goes to a server that offers this, or why the message cannot go there. What
    /// addresses need is not looked at. Nothing is ever converted.
    pub(super) fn form(
        &self,
        offers: &Offers,
        is_authenticated: bool,
        settings: &Settings,
    ) -> Result<Form, Unfit> {
        let chunking = settings.chunking && offers.chunking;
        if self.requiretls && !(is_authenticated && offers.requiretls) {
            return Err(Unfit::RequireTls);
        }
        if offers.size_max.is_some_and(|most| self.content.bytes > most) {
            return Err(Unfit::Size);
        }
        match self.body {
            BodyType::EightBitMime if !offers.eightbitmime => return Err(Unfit::EightBitMime),
            BodyType::BinaryMime if !(offers.binarymime && chunking) => return Err(Unfit::BinaryMime),
            BodyType::SevenBit | BodyType::EightBitMime | BodyType::BinaryMime => {}
        }
        if self.content.bare_line_ends && !chunking {
            return Err(Unfit::BareLineEnds);
        }
        if self.smtputf8 && !offers.smtputf8 {
            return Err(Unfit::SmtpUtf8);
        }
        Ok(if chunking { Form::Chunk } else { Form::Dot })
    }
}

/// What a next hop cannot take of a message. It is found before anything is said; another host may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// 8BITMIME is not offered.
    EightBitMime,
    /// BINARYMIME is not offered, or no CHUNKING.
    BinaryMime,
    /// CHUNKING is not offered, and the content has bare CR or LF, which DATA cannot carry (RFC 5321 §2.3.8).
    BareLineEnds,
    /// SMTPUTF8 is not offered, and an address or a parameter is not ASCII.
    Utf8Address,
    /// SMTPUTF8 is not offered, and the message was sent with it.
    SmtpUtf8,
    /// REQUIRETLS is not offered, or the session is not under TLS with a server that was authenticated
    /// (RFC 8689 §4.2.1).
    RequireTls,
    /// It has more octets than SIZE allows.
    Size,
    /// The reverse-path holds controls.
    ReversePath,
    /// A recipient is empty or holds controls.
    ForwardPath,
    /// ENVID or ORCPT hold spaces or controls.
    Parameter,
}

impl Unfit {
    /// What a notice says of it (RFC 3463, RFC 6531, RFC 8689).
    pub const fn enhanced(self) -> Enhanced {
        let (subject, detail) = match self {
            // "Conversion required but not supported": RFC 3463 §3.7 names this very case.
            Self::EightBitMime => (6, 3),
            // "Media not supported", by the delivery protocol or the next system.
            Self::BinaryMime | Self::BareLineEnds => (6, 1),
            Self::Utf8Address => (6, 7),
            // "UTF-8 header message cannot be transferred to one or more recipients".
            Self::SmtpUtf8 => (6, 9),
            Self::RequireTls => (7, 30),
            Self::Size => (3, 4),
            Self::ReversePath => (1, 7),
            Self::ForwardPath => (1, 3),
            Self::Parameter => (5, 4),
        };
        Enhanced::permanent(subject, detail)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EightBitMime => "the next hop does not take 8BITMIME",
            Self::BinaryMime => "the next hop does not take BINARYMIME",
            Self::BareLineEnds => "the message has bare line ends, and the next hop does not take CHUNKING",
            Self::Utf8Address => "an address is not ASCII, and the next hop does not take SMTPUTF8",
            Self::SmtpUtf8 => "the next hop does not take SMTPUTF8",
            Self::RequireTls => "the next hop does not keep REQUIRETLS",
            Self::Size => "the message is too large for the next hop",
            Self::ReversePath => "the reverse-path cannot be sent",
            Self::ForwardPath => "a recipient cannot be sent",
            Self::Parameter => "a parameter cannot be sent",
        })
    }
}

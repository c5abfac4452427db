//! What a session waits for.

use super::code::command;

/// What a session waits for: the milter's reply to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The options that were offered.
    Negotiation,
    /// Nothing: it is for the caller to begin a message.
    Idle,
    /// The SMTP client.
    Connect,
    /// Its EHLO or HELO.
    Helo,
    /// MAIL.
    Mail,
    /// A RCPT.
    Recipient,
    /// DATA.
    Data,
    /// A header field, or the end of the header section.
    Header,
    /// Octets of the body; or the body is to be given.
    Body,
    /// The end of the message: here most milters do what they are for.
    End,
}

impl Phase {
    pub(super) fn of(code: u8) -> Self {
        match code {
            command::NEGOTIATE => Self::Negotiation,
            command::CONNECT => Self::Connect,
            command::HELO => Self::Helo,
            command::MAIL => Self::Mail,
            command::RECIPIENT => Self::Recipient,
            command::DATA => Self::Data,
            command::FIELD | command::END_OF_HEADER => Self::Header,
            command::BODY => Self::Body,
            command::END => Self::End,
            _ => Self::Idle,
        }
    }

    /// The phase in words, for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Negotiation => "option negotiation",
            Self::Idle => "between messages",
            Self::Connect => "connection",
            Self::Helo => "HELO",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Header => "header section",
            Self::Body => "body",
            Self::End => "end of message",
        }
    }
}

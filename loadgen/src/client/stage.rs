//! The stages of a session, as drawn at the head of `mod.rs`, and how it ends.

use std::fmt;

use crate::ledger::entry::Step;

/// See the drawing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Ehlo,
    /// EHLO was refused: the server may be of RFC 821.
    Helo,
    /// STARTTLS is said alone: nothing follows it before its reply (RFC 3207 §4.2).
    StartTls,
    /// Of TLS: the session says and hears nothing.
    Handshake,
    /// Between transactions: a message or QUIT comes next.
    Ready,
    Mail,
    /// The RCPT of this index.
    Recipient(usize),
    Data,
    MailData,
    Reset,
    Quit,
    Over(SessionEnd),
}

impl Stage {
    /// The step of a transaction that a reply answers here.
    pub(super) fn step(self) -> Option<Step> {
        match self {
            Self::Mail => Some(Step::Mail),
            Self::Recipient(_) => Some(Step::Rcpt),
            Self::Data => Some(Step::Data),
            Self::MailData => Some(Step::End),
            Self::Greeting
            | Self::Ehlo
            | Self::Helo
            | Self::StartTls
            | Self::Handshake
            | Self::Ready
            | Self::Reset
            | Self::Quit
            | Self::Over(_) => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::StartTls => "STARTTLS",
            Self::Handshake => "TLS handshake",
            Self::Ready => "between transactions",
            Self::Mail => "MAIL",
            Self::Recipient(_) => "RCPT",
            Self::Data => "DATA",
            Self::MailData => "mail data",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
            Self::Over(_) => "end of session",
        })
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// QUIT was answered; the server closes the connection (§4.1.1.10).
    Quit,
    /// All that the scenario wants was done or heard; the connection is to be closed.
    Done,
    /// It cannot go on; the connection is to be closed.
    Broken,
}

//! What a client waits for, and how long it should (RFC 5321 §4.5.3.2).

use std::time::Duration;

/// The greeting of the server (§4.5.3.2.1), and the one after XCLIENT.
pub const GREETING_WAIT_MAX: Duration = Duration::from_mins(5);

/// The reply to EHLO, HELO or LHLO. RFC 5321 has no time for it; it costs a server no more than the greeting.
pub const HELLO_WAIT_MAX: Duration = Duration::from_mins(5);

/// The reply to STARTTLS, and the handshake after it.
pub const TLS_WAIT_MAX: Duration = Duration::from_mins(2);

/// The reply to MAIL (§4.5.3.2.2), and to RSET.
pub const MAIL_WAIT_MAX: Duration = Duration::from_mins(5);

/// The reply to one RCPT (§4.5.3.2.3).
pub const RECIPIENT_WAIT_MAX: Duration = Duration::from_mins(5);

/// The 354 to DATA (§4.5.3.2.4).
pub const DATA_WAIT_MAX: Duration = Duration::from_mins(2);

/// A block of mail data to be taken by the server (§4.5.3.2.5). Each that is taken begins the time anew.
pub const CONTENT_WAIT_MAX: Duration = Duration::from_mins(3);

/// The reply to the end of mail data (§4.5.3.2.6), or to the last chunk. Who waits for less makes duplicates
/// (RFC 1047).
pub const END_WAIT_MAX: Duration = Duration::from_mins(10);

/// The reply to QUIT: nothing depends on it.
pub const QUIT_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The greeting of the server.
    Greeting,
    /// The reply to EHLO, HELO or LHLO.
    Hello,
    /// The reply to STARTTLS.
    StartTls,
    /// The end of the TLS handshake.
    Handshake,
    /// The reply to XCLIENT.
    Xclient,
    /// Nothing: it is for the caller to begin a transaction, or to end the session.
    Ready,
    /// The reply to RSET.
    Reset,
    /// The reply to MAIL.
    Mail,
    /// The reply to a RCPT.
    Recipient,
    /// The 354 to DATA.
    Data,
    /// That the server takes the content, which is being sent.
    Content,
    /// The reply to the end of mail data, or to the last chunk.
    End,
    /// The reply to QUIT.
    Quit,
}

impl Phase {
    /// How long it may last. None where nothing of the server is awaited.
    pub fn wait_max(self) -> Option<Duration> {
        Some(match self {
            Self::Greeting | Self::Xclient => GREETING_WAIT_MAX,
            Self::Hello => HELLO_WAIT_MAX,
            Self::StartTls | Self::Handshake => TLS_WAIT_MAX,
            Self::Ready => return None,
            Self::Reset | Self::Mail => MAIL_WAIT_MAX,
            Self::Recipient => RECIPIENT_WAIT_MAX,
            Self::Data => DATA_WAIT_MAX,
            Self::Content => CONTENT_WAIT_MAX,
            Self::End => END_WAIT_MAX,
            Self::Quit => QUIT_WAIT_MAX,
        })
    }

    /// The phase in words, for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Handshake => "TLS handshake",
            Self::Xclient => "XCLIENT",
            Self::Ready => "between transactions",
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Content => "mail data",
            Self::End => "end of mail data",
            Self::Quit => "QUIT",
        }
    }
}

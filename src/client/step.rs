//! What a client needs from outside, and how its session ends.

use std::fmt;

use super::phase::Phase;
use super::violation::Violation;

/// What the client needs from outside before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All input is consumed. What was appended to the output is to be sent, and replies are awaited, as long
    /// as the phase says.
    NeedInput(Phase),
    /// The TLS handshake is to be done, once the output is sent: [`Client::handle_secured`].
    ///
    /// [`Client::handle_secured`]: super::Client::handle_secured
    StartTls,
    /// A transaction may begin ([`Client::begin`]), or the session may end ([`Client::quit`]). A connection
    /// that is kept is still listened to.
    ///
    /// [`Client::begin`]: super::Client::begin
    /// [`Client::quit`]: super::Client::quit
    Ready,
    /// The server takes no further transaction in this session (MAILMAX, RFC 9422): it is to be ended.
    Spent,
    /// The content is to be sent in this form, after the output. Once the last octet is on its way:
    /// [`Client::handle_content_sent`]. It is told once; until the content is sent, replies are still taken.
    ///
    /// [`Client::handle_content_sent`]: super::Client::handle_content_sent
    SendContent(Form),
    /// The transaction is over, as [`Client::results`] says. Each that begins comes to this once, whatever
    /// happens.
    ///
    /// [`Client::results`]: super::Client::results
    Done,
    /// The session is over: send the output if there is any, and close the connection.
    Over(End),
}

/// How the content is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// After DATA: through a [`Transparency`](super::transparency::Transparency), to its end.
    Dot,
    /// After `BDAT n LAST`: octet for octet as it is, and nothing else.
    Chunk,
}

/// How a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The server closed it.
    Closed,
    /// It failed.
    Failed,
    /// What the phase awaits did not come in time.
    TimedOut,
    /// The TLS handshake failed.
    Tls,
    /// The caller gives it up, for instance because the content cannot be read.
    GivenUp,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was ended by QUIT.
    Quit,
    /// The server refused the session itself with 4yz or 5yz in this phase ([`Client::end_reply`]). That is
    /// the host's fault, and not that of any message.
    ///
    /// [`Client::end_reply`]: super::Client::end_reply
    Refused(Phase),
    /// The server said 421 in this phase: it closes the connection (RFC 5321 §3.8).
    Closing(Phase),
    /// TLS is required, and the server does not offer it.
    TlsNotOffered,
    /// The server calls itself by our name, and was not to ([`Settings::is_elsewhere`]).
    ///
    /// [`Settings::is_elsewhere`]: super::Settings::is_elsewhere
    OurName,
    /// The connection was lost in this phase.
    Lost(Loss, Phase),
    /// The server did what no server may, in this phase.
    Violation(Violation, Phase),
}

impl End {
    /// Whether TLS is why the session ended.
    pub fn is_of_tls(self) -> bool {
        match self {
            Self::Refused(phase)
            | Self::Lost(_, phase)
            | Self::Closing(phase)
            | Self::Violation(_, phase) => matches!(phase, Phase::StartTls | Phase::Handshake),
            Self::Quit | Self::TlsNotOffered | Self::OurName => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, phase) = match self {
            Self::Quit => return f.write_str("ended by QUIT"),
            Self::TlsNotOffered => return f.write_str("TLS is required and not offered"),
            Self::OurName => return f.write_str("mail loop: the server has our own name"),
            Self::Refused(phase) => ("refused", phase),
            Self::Closing(phase) => ("closed by the server with 421", phase),
            Self::Lost(loss, phase) => {
                let how = match loss {
                    Loss::Closed => "closed by the server without a word",
                    Loss::Failed => "connection failed",
                    Loss::TimedOut => "timed out",
                    Loss::Tls => "TLS handshake failed",
                    Loss::GivenUp => "given up",
                };
                (how, phase)
            }
            Self::Violation(violation, phase) => return write!(f, "{violation} ({})", phase.name()),
        };
        write!(f, "{what} ({})", phase.name())
    }
}

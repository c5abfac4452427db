//! Why a session ended: a fixed list of words, for the log and for counting.

use super::reason::Reason;
use super::words::words;

words! {
    /// Why a session ended.
    EndedBy {
        /// The client said QUIT.
        Quit = "quit";
        /// The client closed its half first.
        Client = "client";
        /// The connection broke.
        Lost = "lost";
        /// Silent for too long, or no mail for too long.
        Idle = "idle";
        /// Too many errors, or one after which nothing can be read.
        Errors = "errors";
        /// Input before the greeting.
        EarlyTalker = "early-talker";
        /// A command with a CR or LF that is not part of a CRLF.
        BareLineEnd = "bare-line-end";
        /// Input before a reply that had to be waited for.
        Pipelining = "pipelining";
        /// No SMTP client spoke.
        NotSmtp = "not-smtp";
        /// A front sent no PROXY header, or a bad one.
        ProxyHeader = "proxy-header";
        /// Mail data came too slowly.
        TooSlow = "too-slow";
        /// Memory or the sink did not keep up.
        Overload = "overload";
        /// The server stops.
        Shutdown = "shutdown";
        /// TLS failed.
        Tls = "tls";
        /// The client had too many connections.
        Connections = "connections";
        /// The client connected too often, or made too many errors, lately.
        ClientLimit = "client-limit";
        /// A rule or lists spoke against the client.
        Refused = "refused";
        /// The listener takes no mail.
        TakesNoMail = "takes-no-mail";
        /// A bug of ringmx.
        Bug = "bug";
    }
}

impl From<Reason> for EndedBy {
    /// Why a session ended whose last reply had this reason.
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Idle => Self::Idle,
            Reason::TooSlow => Self::TooSlow,
            Reason::BareLineEnd => Self::BareLineEnd,
            Reason::EarlyTalker => Self::EarlyTalker,
            Reason::Pipelining => Self::Pipelining,
            Reason::NotSmtp => Self::NotSmtp,
            Reason::TakesNoMail => Self::TakesNoMail,
            Reason::TooManyConnections => Self::Connections,
            Reason::ClientLimit => Self::ClientLimit,
            Reason::Access | Reason::Listed => Self::Refused,
            Reason::Overload
            | Reason::LocalTrouble
            | Reason::NoSpace
            | Reason::LookupFailed
            | Reason::FilterUnavailable
            | Reason::OutcomeUnknown => Self::Overload,
            Reason::Shutdown => Self::Shutdown,
            Reason::TlsUnavailable => Self::Tls,
            Reason::Bug => Self::Bug,
            Reason::Syntax
            | Reason::UnknownCommand
            | Reason::OutOfSequence
            | Reason::BadAddress
            | Reason::ForeignDomain
            | Reason::DomainWithoutMail
            | Reason::UnknownRecipient
            | Reason::LocalPartDenied
            | Reason::Unstorable
            | Reason::MailboxFull
            | Reason::NoReverseName
            | Reason::SenderDomain
            | Reason::Spf
            | Reason::From
            | Reason::Dmarc
            | Reason::Filter
            | Reason::NextHop
            | Reason::Greylisted
            | Reason::TooManyRecipients
            | Reason::NoRecipients
            | Reason::TooLarge
            | Reason::LineTooLong
            | Reason::Nul
            | Reason::MailLoop
            | Reason::TlsRequired
            | Reason::NotTrusted
            | Reason::Endless
            | Reason::TooManyErrors
            | Reason::TooManyIdleCommands => Self::Errors,
        }
    }
}

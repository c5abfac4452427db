//! Why something was refused: a fixed list of words, for the log and for counting.
//!
//! Each reply of 4yz or 5yz has one reason (`reply.rs`); replies of other texts may share it.

use super::words::words;

words! {
    /// Why something was refused.
    Reason {
        /// Syntax of a command, its argument or a parameter.
        Syntax = "syntax";
        /// A command that is not known, or not implemented.
        UnknownCommand = "unknown-command";
        /// A command that may not come now.
        OutOfSequence = "out-of-sequence";
        /// An address that is none, or is not ASCII where it has to be.
        BadAddress = "bad-address";
        /// A domain that is not ours.
        ForeignDomain = "foreign-domain";
        /// A domain of ours that takes no mail.
        DomainWithoutMail = "domain-without-mail";
        /// A recipient that does not exist.
        UnknownRecipient = "unknown-recipient";
        /// A form of address that is not accepted.
        LocalPartDenied = "local-part-denied";
        /// An address that the store has no name for.
        Unstorable = "unstorable";
        /// The mailbox is full.
        MailboxFull = "mailbox-full";
        /// A rule of an access list.
        Access = "access";
        /// Lists in the DNS speak against the client.
        Listed = "listed";
        /// The client's address has no name that leads back to it.
        NoReverseName = "no-reverse-name";
        /// The domain of the reverse-path does not exist, or takes no mail.
        SenderDomain = "sender-domain";
        /// The client may not send for the domain of the reverse-path, or what that says is an error.
        Spf = "spf";
        /// `From:` is not one field with mailboxes of one domain.
        From = "from";
        /// The author's domain wants the message refused.
        Dmarc = "dmarc";
        /// A content filter refuses the message, or puts it off.
        Filter = "filter";
        /// The server that the message would have gone on to refuses it.
        NextHop = "next-hop";
        /// The client is asked to come back.
        Greylisted = "greylisted";
        /// More than a client may have or do lately.
        ClientLimit = "client-limit";
        /// Something could not be looked up: the recipient, or the client's name.
        LookupFailed = "lookup-failed";
        /// A content filter that has to be asked does not answer.
        FilterUnavailable = "filter-unavailable";
        /// More recipients than a transaction may have.
        TooManyRecipients = "too-many-recipients";
        /// No recipient was accepted.
        NoRecipients = "no-recipients";
        /// The message, declared or sent, is too large.
        TooLarge = "too-large";
        /// A line of mail data is too long.
        LineTooLong = "line-too-long";
        /// A CR or LF that is not part of a CRLF.
        BareLineEnd = "bare-line-end";
        /// A NUL in mail data.
        Nul = "nul";
        /// Too many `Received:` fields.
        MailLoop = "mail-loop";
        /// TLS is required and was not begun.
        TlsRequired = "tls-required";
        /// TLS cannot begin now.
        TlsUnavailable = "tls-unavailable";
        /// A command of a front from a client that is none.
        NotTrusted = "not-trusted";
        /// The listener takes no mail.
        TakesNoMail = "takes-no-mail";
        /// Input before the greeting.
        EarlyTalker = "early-talker";
        /// Input before the reply that had to be waited for.
        Pipelining = "pipelining";
        /// No SMTP client speaks.
        NotSmtp = "not-smtp";
        /// More octets than anybody needs.
        Endless = "endless";
        /// Too many errors.
        TooManyErrors = "too-many-errors";
        /// Too many commands that brought nothing forward.
        TooManyIdleCommands = "too-many-idle-commands";
        /// Too many connections of the client.
        TooManyConnections = "too-many-connections";
        /// Silent for too long, or no mail for too long.
        Idle = "idle";
        /// Mail data comes too slowly.
        TooSlow = "too-slow";
        /// Memory or the sink does not keep up.
        Overload = "overload";
        /// Something on this machine is in the way.
        LocalTrouble = "local-trouble";
        /// The disk is full.
        NoSpace = "no-space";
        /// The sink did not answer in time.
        OutcomeUnknown = "outcome-unknown";
        /// The server stops.
        Shutdown = "shutdown";
        /// A bug of ringmx.
        Bug = "bug";
    }
}

impl Reason {
    /// Whether this machine is the reason, not what the client did.
    pub const fn is_ours(self) -> bool {
        match self {
            Self::LookupFailed
            | Self::FilterUnavailable
            | Self::TlsUnavailable
            | Self::Overload
            | Self::LocalTrouble
            | Self::NoSpace
            | Self::OutcomeUnknown
            | Self::Shutdown
            | Self::Bug => true,
            Self::Syntax
            | Self::UnknownCommand
            | Self::OutOfSequence
            | Self::BadAddress
            | Self::ForeignDomain
            | Self::DomainWithoutMail
            | Self::UnknownRecipient
            | Self::LocalPartDenied
            | Self::Unstorable
            | Self::MailboxFull
            | Self::Access
            | Self::Listed
            | Self::NoReverseName
            | Self::SenderDomain
            | Self::Spf
            | Self::From
            | Self::Dmarc
            | Self::Filter
            | Self::NextHop
            | Self::Greylisted
            | Self::ClientLimit
            | Self::TooManyRecipients
            | Self::NoRecipients
            | Self::TooLarge
            | Self::LineTooLong
            | Self::BareLineEnd
            | Self::Nul
            | Self::MailLoop
            | Self::TlsRequired
            | Self::NotTrusted
            | Self::TakesNoMail
            | Self::EarlyTalker
            | Self::Pipelining
            | Self::NotSmtp
            | Self::Endless
            | Self::TooManyErrors
            | Self::TooManyIdleCommands
            | Self::TooManyConnections
            | Self::Idle
            | Self::TooSlow => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_a_name_of_its_own() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}

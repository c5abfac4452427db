//! Replies: codes, enhanced codes (RFC 3463, RFC 2034) and every text, in one place.
//!
//! A reply never holds octets of the client. Each line has at most 512 octets (RFC 5321 §4.5.3.1.5); the
//! greeting, EHLO and 354 carry no enhanced code.

use super::reason::Reason;
use super::refusals::Refusals;
pub use super::reply_line::Reply;
use crate::limits::{REPLY_BYTES_MAX, REPLY_BYTES_PER_COMMAND_MAX, REPLY_LINE_BYTES_MAX};
use crate::mail::outcome::{Refused, TryAgain};

macro_rules! reason {
    () => {
        None
    };
    ($reason:ident) => {
        Some(Reason::$reason)
    };
}

macro_rules! replies {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal $enhanced:literal $text:literal $(=> $reason:ident)?;)+) => {
        $(
            #[doc = concat!("`", $code, " ", $enhanced, " ", $text, "`")]
            $(#[doc = $doc])*
            pub(super) const $name: Reply =
                Reply { code: $code, enhanced: $enhanced, text: $text, reason: reason!($($reason)?), row: Row::$name as u8, words: None };
        )+

        /// The rows of the table, so that a reply knows its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Row { $($name),+ }

        /// All replies, each at the number of its row.
        pub(super) const ALL: &[Reply] = &[$($name),+];

        /// How many there are.
        pub(super) const COUNT: usize = ALL.len();
    };
}

replies! {
    // These three hold more than is written here: they are said by their session, part by part.
    GREETING = 220 "" "";
    HELLO = 250 "" "";
    MESSAGE_OK = 250 "2.0.0" "Ok: queued as";
    NO_MAIL_NOW = 554 "" "takes no mail now" => TakesNoMail;
    NO_MAIL_EVER = 521 "" "does not accept mail" => TakesNoMail;

    OK = 250 "2.0.0" "Ok";
    SENDER_OK = 250 "2.1.0" "Sender ok";
    RECIPIENT_OK = 250 "2.1.5" "Recipient ok";
    CHUNK_OK = 250 "2.0.0" "Chunk received";
    START_MAIL_DATA = 354 "" "End data with <CR><LF>.<CR><LF>";
    BYE = 221 "2.0.0" "Bye";
    HELP = 214 "2.0.0" "See RFC 5321";
    READY_FOR_TLS = 220 "2.0.0" "Ready to start TLS";
    CANNOT_VRFY = 252 "2.0.0" "Cannot verify, send mail and see";

    BAD_OCTET = 500 "5.5.2" "Line has an octet that may not be there" => Syntax;
    BARE_LINE_END = 500 "5.5.2" "Lines end with CRLF and hold no other CR or LF" => BareLineEnd;
    LINE_TOO_LONG = 500 "5.5.2" "Line too long" => Syntax;
    UNRECOGNIZED = 500 "5.5.1" "Command not recognized" => UnknownCommand;
    EMPTY_LINE = 500 "5.5.2" "Empty line" => Syntax;
    NO_ARGUMENT = 501 "5.5.4" "No argument allowed" => Syntax;
    EHLO_NAME_MISSING = 501 "" "Give your name" => Syntax;
    MAIL_SYNTAX = 501 "5.5.4" "Syntax: MAIL FROM:<address>" => Syntax;
    RCPT_SYNTAX = 501 "5.5.4" "Syntax: RCPT TO:<address>" => Syntax;
    BAD_REVERSE_PATH = 501 "5.1.7" "Bad sender address" => BadAddress;
    BAD_FORWARD_PATH = 501 "5.1.3" "Bad recipient address" => BadAddress;
    BAD_PARAMETER = 501 "5.5.4" "Bad parameter" => Syntax;
    BAD_CHUNK_SIZE = 501 "5.5.4" "No chunk size that can be read, so no command can follow" => Syntax;
    BAD_CHUNK_KEYWORD = 501 "5.5.4" "Syntax: BDAT size [LAST]" => Syntax;
    NO_TLS_NOW = 454 "4.7.0" "TLS is not possible now" => TlsUnavailable;
    TLS_FIRST = 530 "5.7.0" "Send STARTTLS first" => TlsRequired;
    NOT_IMPLEMENTED = 502 "5.5.1" "Command not implemented" => UnknownCommand;
    HELLO_FIRST = 503 "5.5.1" "Send EHLO first" => OutOfSequence;
    MAIL_TWICE = 503 "5.5.1" "A transaction is under way" => OutOfSequence;
    MAIL_FIRST = 503 "5.5.1" "Send MAIL first" => OutOfSequence;
    TLS_TWICE = 503 "5.5.1" "The connection is under TLS already" => OutOfSequence;
    CHUNKS_BEGUN = 503 "5.5.1" "Mail data has begun in chunks" => OutOfSequence;
    DATA_FOR_BINARY = 503 "5.5.1" "BINARYMIME is sent with BDAT" => OutOfSequence;
    NO_RECIPIENTS = 554 "5.5.1" "No valid recipients" => NoRecipients;
    UNKNOWN_PARAMETER = 555 "5.5.4" "Parameter not supported" => Syntax;
    NOT_ASCII = 553 "5.6.7" "Address is not ASCII, or not UTF-8" => BadAddress;

    NO_SUCH_DOMAIN = 550 "5.7.1" "We do not take mail for this domain" => ForeignDomain;
    DOMAIN_WITHOUT_MAIL = 556 "5.1.10" "This domain takes no mail" => DomainWithoutMail;
    NO_SUCH_RECIPIENT = 550 "5.1.1" "No such recipient here" => UnknownRecipient;
    LOCAL_PART_DENIED = 550 "5.1.3" "This form of address is not accepted here" => LocalPartDenied;
    TOO_MANY_RECIPIENTS = 452 "4.5.3" "Too many recipients in this transaction" => TooManyRecipients;
    MAILBOX_FULL = 452 "4.2.2" "Mailbox full, try again later" => MailboxFull;
    POLICY_TROUBLE = 451 "4.3.0" "Cannot look that up now" => LookupFailed;

    REFUSED_BY_RULE = 550 "5.7.1" "Refused by a rule of this site" => Access;
    REFUSED_AS_LISTED = 550 "5.7.1" "The client is listed" => Listed;
    NO_REVERSE_NAME = 550 "5.7.25" "The client's address has no name that leads back to it" => NoReverseName;
    REVERSE_NAME_UNKNOWN = 451 "4.7.25" "Cannot look up the name of the client's address now" => LookupFailed;
    NO_SENDER_DOMAIN = 550 "5.1.8" "The sender's domain does not exist" => SenderDomain;
    SENDER_TAKES_NO_MAIL = 550 "5.7.27" "The sender's domain takes no mail" => SenderDomain;
    SPF_FAIL = 550 "5.7.23" "The client may not send for the sender's domain (SPF)" => Spf;
    SPF_ERROR = 550 "5.7.24" "What the sender's domain says of its clients cannot be understood (SPF)" => Spf;
    SPF_UNKNOWN = 451 "4.7.24" "Cannot look up what the sender's domain says of its clients now (SPF)" => LookupFailed;
    GREYLISTED = 451 "4.7.1" "Not known yet, try again in some minutes" => Greylisted;
    TOO_MANY_MESSAGES = 450 "4.7.1" "Too many messages from this client, try again later" => ClientLimit;
    TOO_MANY_RECIPIENTS_LATELY = 450 "4.7.1" "Too many recipients from this client, try again later" => ClientLimit;
    TOO_MANY_UNKNOWN_LATELY = 450 "4.7.1" "Too many unknown recipients from this client, try again later" => ClientLimit;

    TOO_LARGE = 552 "5.3.4" "Message too large" => TooLarge;
    HEADER_TOO_LARGE = 552 "5.3.4" "Header section too large" => TooLarge;
    BAD_FROM = 550 "5.7.1" "From: has to be one field with mailboxes of one domain" => From;
    REFUSED_BY_DMARC = 550 "5.7.1" "Refused by the DMARC policy of the domain in From:" => Dmarc;
    DMARC_UNKNOWN = 451 "4.7.1" "Cannot find out now whether the domain in From: sent this" => LookupFailed;
    FILTER_REFUSES = 550 "5.7.1" "Refused by a content filter" => Filter;
    FILTER_PUTS_OFF = 451 "4.7.1" "Put off by a content filter, try again later" => Filter;
    FILTER_UNKNOWN = 451 "4.7.1" "Cannot check the message now, try again later" => FilterUnavailable;
    NEXT_HOP_REFUSES = 550 "5.0.0" "Refused by the server that it goes on to" => NextHop;
    NEXT_HOP_PUTS_OFF = 451 "4.0.0" "Put off by the server that it goes on to" => NextHop;
    COPIES_TOO_LARGE = 552 "5.3.4" "Message too large for so many recipients" => TooLarge;
    BARE_LINE_END_IN_DATA = 550 "5.5.2" "Mail data has a CR or LF that is not part of a CRLF" => BareLineEnd;
    NUL_IN_DATA = 550 "5.5.2" "Mail data has a NUL that cannot be kept" => Nul;
    OVERLOAD = 451 "4.3.2" "Busy, try again later" => Overload;
    LOCAL_TROUBLE = 451 "4.3.0" "Local trouble, try again later" => LocalTrouble;
    NO_SPACE = 452 "4.3.1" "No space, try again later" => NoSpace;
    CANNOT_STORE_RECIPIENT = 550 "5.1.3" "This address cannot be stored" => Unstorable;

    EARLY_INPUT = 554 "5.5.0" "Input before the greeting" => EarlyTalker;
    PIPELINED_INPUT = 554 "5.5.0" "Input before the reply" => Pipelining;
    REFUSING = 503 "5.5.1" "No mail is taken here now" => TakesNoMail;
    NOT_TRUSTED = 550 "5.7.0" "Not for you" => NotTrusted;
    BAD_ATTRIBUTE = 501 "5.5.4" "Bad attribute" => Syntax;
    MAIL_LOOP = 554 "5.4.6" "Too many Received fields, the message goes in circles" => MailLoop;
    DATA_LINE_TOO_LONG = 554 "5.6.0" "Mail data has a line that is too long" => LineTooLong;

    CLIENT_REFUSED = 554 "5.7.1" "No mail is taken from this client" => Access;
    CLIENT_LISTED = 554 "5.7.1" "No mail is taken from this client, it is listed" => Listed;
    TOO_MANY_CONNECTIONS_LATELY = 421 "4.7.0" "Too many connections lately, try again later" => ClientLimit;
    TOO_MANY_ERRORS_LATELY = 421 "4.7.0" "Too many errors lately, try again later" => ClientLimit;
    TOO_MANY_CONNECTIONS = 421 "4.3.2" "Too many connections, try again later" => TooManyConnections;
    TIMED_OUT = 421 "4.4.2" "Timed out" => Idle;
    NO_MAIL_FOR_LONG = 421 "4.4.2" "No message for too long" => Idle;
    TOO_SLOW = 421 "4.4.2" "Mail data comes too slowly" => TooSlow;
    MESSAGE_TOO_SLOW = 421 "4.4.2" "The message takes too long" => TooSlow;
    CUT_OFF = 421 "4.3.2" "Shutting down or overloaded, try again later" => Overload;
    SHUTTING_DOWN = 421 "4.3.2" "Shutting down or overloaded, try again later" => Shutdown;
    TOO_MANY_ERRORS = 421 "4.7.0" "Too many errors" => TooManyErrors;
    TOO_MANY_IDLE_COMMANDS = 421 "4.7.0" "Too many commands without mail" => TooManyIdleCommands;
    NOT_SMTP = 421 "4.7.0" "This is an SMTP server" => NotSmtp;
    ENDLESS = 421 "4.7.0" "More octets than anybody needs" => Endless;
    OUTCOME_UNKNOWN = 421 "4.3.0" "Cannot tell yet whether the message is stored" => OutcomeUnknown;
    BUG = 421 "4.3.0" "Local trouble, try again later" => Bug;
}

impl From<TryAgain> for Reply {
    fn from(why: TryAgain) -> Self {
        match why {
            TryAgain::Overload => OVERLOAD,
            TryAgain::Local => LOCAL_TROUBLE,
            TryAgain::NoSpace => NO_SPACE,
        }
    }
}

impl From<Refused> for Reply {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Recipient => CANNOT_STORE_RECIPIENT,
            Refused::TooLarge => TOO_LARGE,
        }
    }
}

/// Replies that wait to be sent.
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    octets: Vec<u8>,
    /// Which of them refuse something, for the log.
    refusals: Option<Box<Refusals>>,
}

impl ReplyBuffer {
    /// Nothing to send, no memory.
    pub const fn new() -> Self {
        Self { octets: Vec::new(), refusals: None }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Octets that wait.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// What waits.
    pub fn as_slice(&self) -> &[u8] {
        &self.octets
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.octets.clear();
    }

    /// Takes what waits and leaves empty memory for what comes next.
    pub fn replace(&mut self, empty: Vec<u8>) -> Vec<u8> {
        debug_assert!(empty.is_empty());
        std::mem::replace(&mut self.octets, empty)
    }

    /// The refusals that were noted since they were taken last; the log has to tell of them.
    pub fn take_refusals(&mut self) -> Option<Box<Refusals>> {
        self.refusals.take()
    }

    /// Where refusals are noted.
    pub(super) fn refusals(&mut self) -> &mut Refusals {
        self.refusals.get_or_insert_default()
    }

    /// Whether the next command's replies might not fit the bound.
    pub(super) fn is_full(&self) -> bool {
        self.octets.len() + REPLY_BYTES_PER_COMMAND_MAX > REPLY_BYTES_MAX
    }

    /// Appends a reply.
    pub(super) fn push(&mut self, reply: Reply) {
        self.push_parts(
            reply.code,
            true,
            &[reply.enhanced, if reply.enhanced.is_empty() { "" } else { " " }, reply.text],
        );
    }

    /// Appends one line of a reply; `last` is false for all but the last line of it.
    pub(super) fn push_parts(&mut self, code: u16, last: bool, parts: &[&str]) {
        let start = self.octets.len();
        let bytes = b"250 \r\n".len() + parts.iter().map(|part| part.len()).sum::<usize>();
        if self.octets.capacity() - start < bytes {
            self.grow(start + bytes);
        }
        let digit = |place: u16| b'0' + u8::try_from(code / place % 10).unwrap_or_default();
        self.octets.extend_from_slice(&[digit(100), digit(10), digit(1), if last { b' ' } else { b'-' }]);
        for part in parts {
            self.octets.extend_from_slice(part.as_bytes());
        }
        self.octets.truncate(start + REPLY_LINE_BYTES_MAX - b"\r\n".len());
        self.octets.extend_from_slice(b"\r\n");
    }
}

impl ReplyBuffer {
    /// Makes room for so many octets in all: twice what there was, as long as that is no more than replies
    /// may take.
    #[cold]
    fn grow(&mut self, needed: usize) {
        let room = (2 * self.octets.capacity()).min(REPLY_BYTES_MAX).max(needed);
        self.octets.reserve_exact(room - self.octets.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_within_their_bound_take_no_more_memory_than_it() {
        for reply in ALL {
            let mut buffer = ReplyBuffer::new();
            while !buffer.is_full() {
                buffer.push(*reply);
                assert!(buffer.octets.capacity() <= REPLY_BYTES_MAX, "{reply:?}");
            }
        }
    }

    #[test]
    fn every_reply_is_well_formed() {
        for reply in ALL {
            let mut buffer = ReplyBuffer::new();
            buffer.push(*reply);
            let text = std::str::from_utf8(buffer.as_slice()).expect("ASCII");
            assert!(text.len() <= REPLY_LINE_BYTES_MAX && text.ends_with("\r\n"), "{text}");
            // The class of the enhanced code is that of the reply code (RFC 2034 §4).
            if let Some(class) = reply.enhanced.chars().next() {
                assert_eq!(text.chars().next(), Some(class), "{text}");
                assert_eq!(reply.enhanced.split('.').count(), 3);
            }
            assert_eq!(text.trim_end(), reply.to_string().trim_end());
            assert_eq!(reply.reason.is_some(), reply.code >= 400, "{text}: a refusal has a reason");
            assert!(reply.text.chars().all(|character| matches!(character, ' '..='~')), "{text}");
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut buffer = ReplyBuffer::new();
        buffer.push_parts(250, true, &[&"x".repeat(1000)]);
        assert_eq!(buffer.len(), REPLY_LINE_BYTES_MAX);
    }
}

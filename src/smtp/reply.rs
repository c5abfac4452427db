//! Replies: codes, enhanced status codes, and every text that is sent (RFC 5321 §4.2, RFC 2034, RFC 3463).
//!
//! No reply holds an octet that a client sent. Lines are at most 512 octets (§4.5.3.1.5).

use super::extension::ExtensionSet;
use super::text::Text;
use crate::handoff::message::{QueueId, Refused, TryAgain};
use crate::limits::{DOMAIN_BYTES_MAX, REPLY_BYTES_MAX, REPLY_BYTES_PER_COMMAND_MAX, REPLY_LINE_BYTES_MAX};

/// A reply of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code; empty where there is none: greeting, EHLO, HELO and 354 (RFC 2034 §4).
    pub enhanced: &'static str,
    /// The text behind them.
    pub text: &'static str,
}

impl Reply {
    /// A reply whose line is short enough; checked when it is a constant, and all of them are.
    pub const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        assert!("250 ".len() + enhanced.len() + 1 + text.len() + "\r\n".len() <= REPLY_LINE_BYTES_MAX);
        assert!(code >= 200 && code < 600);
        Self { code, enhanced, text }
    }

    /// Refused for good.
    pub const fn is_5yz(self) -> bool {
        self.code >= 500
    }

    /// Refused for now.
    pub const fn is_4yz(self) -> bool {
        self.code >= 400 && self.code < 500
    }
}

// Success.
pub(super) const READY: Reply = Reply::new(220, "", "ESMTP ringmx");
pub(super) const HELP: Reply =
    Reply::new(214, "2.0.0", "Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT; see RFC 5321");
pub(super) const BYE: Reply = Reply::new(221, "2.0.0", "Bye");
pub(super) const OK: Reply = Reply::new(250, "2.0.0", "Ok");
pub(super) const REVERSE_PATH_OK: Reply = Reply::new(250, "2.1.0", "Ok");
pub(super) const RECIPIENT_OK: Reply = Reply::new(250, "2.1.5", "Ok");
pub(super) const CANNOT_VERIFY: Reply =
    Reply::new(252, "2.0.0", "Cannot verify, but will take mail and try (RFC 5321 section 3.5.3)");
pub(super) const START_MAIL_DATA: Reply = Reply::new(354, "", "End data with <CR><LF>.<CR><LF>");

// Closing. The session closes behind each of these.
pub(super) const SHUTTING_DOWN: Reply =
    Reply::new(421, "4.3.2", "Service not available now, try again later");
pub(super) const LOCAL_TROUBLE: Reply = Reply::new(421, "4.3.0", "Local trouble, try again later");
pub(super) const TIMEOUT: Reply = Reply::new(421, "4.4.2", "Waited too long, closing");
pub(super) const TOO_SLOW: Reply = Reply::new(421, "4.4.2", "Mail data comes too slowly, closing");
pub(super) const UNKNOWN_OUTCOME: Reply = Reply::new(421, "4.3.0", "No answer in time, try again later");
pub(super) const TOO_MANY_ERRORS: Reply = Reply::new(421, "4.7.0", "Too many errors, closing");
pub(super) const NO_PROGRESS: Reply = Reply::new(421, "4.7.0", "Too many commands without mail, closing");
pub(super) const NOT_SMTP: Reply = Reply::new(421, "4.7.0", "This is an SMTP server, closing");
pub(super) const ENDLESS_MAIL_DATA: Reply = Reply::new(421, "4.3.4", "Far too much mail data, closing");

// For now.
pub(super) const OVERLOAD: Reply = Reply::new(451, "4.3.2", "Too busy, try again later");
pub(super) const TRY_AGAIN: Reply = Reply::new(451, "4.3.0", "Local trouble, try again later");
pub(super) const NO_SPACE: Reply = Reply::new(452, "4.3.1", "Not enough space, try again later");
pub(super) const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, "4.5.3", "Too many recipients");

// For good: the command.
pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, "5.5.2", "Line too long");
pub(super) const EMPTY_LINE: Reply = Reply::new(500, "5.5.2", "Empty line");
pub(super) const BAD_OCTET: Reply = Reply::new(500, "5.5.2", "Control or 8-bit character in command");
pub(super) const BARE_LINE_END: Reply =
    Reply::new(500, "5.5.2", "Lines end with CR LF, nothing else; closing");
pub(super) const UNRECOGNIZED: Reply = Reply::new(500, "5.5.1", "Command not recognized");
pub(super) const NO_NAME: Reply = Reply::new(501, "", "Syntax: EHLO or HELO, space, your name");
pub(super) const NO_ARGUMENT_ALLOWED: Reply = Reply::new(501, "5.5.4", "This command takes no argument");
pub(super) const ARGUMENT_MISSING: Reply = Reply::new(501, "5.5.4", "This command needs an argument");
pub(super) const MAIL_SYNTAX: Reply = Reply::new(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]");
pub(super) const RCPT_SYNTAX: Reply = Reply::new(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]");
pub(super) const NOT_IMPLEMENTED: Reply = Reply::new(502, "5.5.1", "Command not implemented");
pub(super) const NO_EHLO: Reply = Reply::new(503, "5.5.1", "Send EHLO first");
pub(super) const NESTED_MAIL: Reply = Reply::new(503, "5.5.1", "A transaction is under way");
pub(super) const NO_MAIL: Reply = Reply::new(503, "5.5.1", "Send MAIL first");
pub(super) const NO_RECIPIENTS: Reply = Reply::new(554, "5.5.1", "No valid recipients");
pub(super) const TURNED_AWAY: Reply = Reply::new(503, "5.7.1", "No mail from you now, send QUIT");

// For good: parameters (RFC 5321 §4.1.1.11).
pub(super) const BAD_PARAMETER: Reply = Reply::new(501, "5.5.4", "Bad parameter");
pub(super) const UNKNOWN_PARAMETER: Reply = Reply::new(555, "5.5.4", "Parameter not recognized");
pub(super) const TOO_LARGE: Reply = Reply::new(552, "5.3.4", "Message too large");

// For good: addresses.
pub(super) const BAD_REVERSE_PATH: Reply = Reply::new(501, "5.1.7", "Bad sender address syntax");
pub(super) const BAD_FORWARD_PATH: Reply = Reply::new(501, "5.1.3", "Bad recipient address syntax");
pub(super) const ADDRESS_NOT_ASCII: Reply = Reply::new(553, "5.6.7", "Address must be ASCII");
pub(super) const NO_RELAY: Reply = Reply::new(550, "5.7.1", "No mail for this domain here");
pub(super) const UNKNOWN_RECIPIENT: Reply = Reply::new(550, "5.1.1", "No such recipient here");
pub(super) const DENIED_LOCAL_PART: Reply = Reply::new(550, "5.1.3", "Recipient address not acceptable");
pub(super) const REVERSE_PATH_REFUSED: Reply = Reply::new(550, "5.7.1", "No mail from this sender");

/// The greeting to a client that the policy refuses (RFC 5321 §3.1).
pub(super) const CLIENT_REFUSED: Reply = Reply::new(554, "", "No mail from you now");

// For good: mail data.
pub(super) const BARE_LINE_END_IN_MAIL_DATA: Reply = Reply::new(
    550,
    "5.5.2",
    "Mail data has CR or LF on its own; lines end with CR LF (RFC 5321 section 2.3.8)",
);

/// The reply to a transaction or message that may be tried again.
pub(super) const fn try_again(why: TryAgain) -> Reply {
    match why {
        TryAgain::Overload => OVERLOAD,
        TryAgain::Local => TRY_AGAIN,
        TryAgain::NoSpace => NO_SPACE,
    }
}

/// The reply to a message that the sink refuses.
pub(super) const fn refused(why: Refused) -> Reply {
    match why {
        Refused::Recipient => DENIED_LOCAL_PART,
    }
}

/// Replies that wait to be sent.
///
/// Bounded: the session stops with [`super::session::Step::Flush`] before a command whose reply might not fit.
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    bytes: Vec<u8>,
}

impl ReplyBuffer {
    /// Empty, without memory.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// What waits to be sent.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Octets that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Drops what waits and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Takes what waits, with its memory.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes what waits and goes on with the memory given, which must be empty.
    #[must_use]
    pub fn replace(&mut self, spare: Vec<u8>) -> Vec<u8> {
        debug_assert!(spare.is_empty());
        std::mem::replace(&mut self.bytes, spare)
    }

    /// Whether another command's reply fits.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() + REPLY_BYTES_PER_COMMAND_MAX <= REPLY_BYTES_MAX
    }

    /// Appends a reply.
    pub(super) fn push(&mut self, reply: Reply) {
        self.push_code(reply.code, b' ');
        if !reply.enhanced.is_empty() {
            self.bytes.extend_from_slice(reply.enhanced.as_bytes());
            self.bytes.push(b' ');
        }
        self.push_end(reply.text);
    }

    /// Appends a reply that begins with our name: the greeting, and the reply to HELO.
    pub(super) fn push_named(&mut self, code: u16, hostname: &str, text: &str) {
        self.push_code(code, b' ');
        self.push_hostname(hostname);
        if !text.is_empty() {
            self.bytes.push(b' ');
        }
        self.push_end(text);
    }

    /// Appends the reply to EHLO (RFC 5321 §4.1.1.1): our name, then one line an extension.
    pub(super) fn push_ehlo(&mut self, hostname: &str, extensions: ExtensionSet, message_size_max: u64) {
        let mut left = extensions.iter().count();
        self.push_code(250, if left == 0 { b' ' } else { b'-' });
        self.push_hostname(hostname);
        self.push_end("");
        for extension in extensions.iter() {
            left -= 1;
            self.push_code(250, if left == 0 { b' ' } else { b'-' });
            extension.push_line(message_size_max, &mut self.bytes);
            self.push_end("");
        }
    }

    /// Appends the reply to the end of mail data of an accepted message.
    pub(super) fn push_queued(&mut self, id: QueueId) {
        self.push_code(OK.code, b' ');
        self.bytes.extend_from_slice(b"2.0.0 Ok: queued as ");
        self.bytes.extend_from_slice(&id.text());
        self.push_end("");
    }

    fn push_code(&mut self, code: u16, separator: u8) {
        Text(&mut self.bytes).push(code);
        self.bytes.push(separator);
    }

    fn push_hostname(&mut self, hostname: &str) {
        let name = hostname.as_bytes();
        self.bytes.extend_from_slice(name.get(..DOMAIN_BYTES_MAX).unwrap_or(name));
    }

    fn push_end(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ehlo_reply_is_one_reply_of_several_lines() {
        let mut replies = ReplyBuffer::new();
        replies.push_ehlo("mx.test", ExtensionSet::default(), 1000);
        let text =
            "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n";
        assert_eq!(replies.as_slice(), text.as_bytes());
        replies.clear();
        replies.push_ehlo("mx.test", ExtensionSet::NONE, 1000);
        assert_eq!(replies.take(), b"250 mx.test\r\n");
    }

    #[test]
    fn greeting_and_354_have_no_enhanced_code() {
        let mut replies = ReplyBuffer::new();
        replies.push_named(READY.code, "mx.test", READY.text);
        replies.push(START_MAIL_DATA);
        replies.push(BYE);
        let text = b"220 mx.test ESMTP ringmx\r\n354 End data with <CR><LF>.<CR><LF>\r\n221 2.0.0 Bye\r\n";
        assert_eq!(replies.as_slice(), text);
    }
}

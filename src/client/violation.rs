//! What a server does that no server may.

use std::fmt;

/// Why nothing more that a server says can be believed. The session ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A line does not begin with a code from 200 to 599, followed by a space, a hyphen or its end.
    Malformed,
    /// A line of a reply has no end within the bound.
    LineTooLong,
    /// A reply has more lines than the bound.
    TooManyLines,
    /// A line of a reply has another code than its first.
    CodeChanged,
    /// A code that is no answer to what it answers: 250 to DATA, 354 to RCPT.
    Unexpected(u16),
    /// A reply that nothing asked for, or that came before what it answers was said.
    Unasked(u16),
    /// Octets in plaintext after the reply to STARTTLS: somebody put them there, to be taken for what came
    /// under TLS (RFC 3207 §6).
    Plaintext,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("a line that is no reply"),
            Self::LineTooLong => f.write_str("a line of a reply without an end"),
            Self::TooManyLines => f.write_str("a reply of too many lines"),
            Self::CodeChanged => f.write_str("a reply with two codes"),
            Self::Unexpected(code) => write!(f, "a reply {code} that does not fit"),
            Self::Unasked(code) => write!(f, "a reply {code} that nothing asked for"),
            Self::Plaintext => f.write_str("plaintext in place of TLS"),
        }
    }
}

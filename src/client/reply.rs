//! A reply of a server: code, enhanced status code, text (RFC 5321 §4.2, RFC 2034).

use std::fmt;

use crate::escape::Quoted;

/// Octets of a reply's text that are kept.
pub const REPLY_TEXT_BYTES_MAX: usize = 512;

/// A reply. Its text is the server's: escape it before it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// From 200 to 599.
    pub code: u16,
    /// The enhanced status code, where the first line has one whose class is that of the code (RFC 2034 §4).
    pub enhanced: Option<Enhanced>,
    /// The text without codes, at most [`REPLY_TEXT_BYTES_MAX`] octets. An LF stands between two lines.
    pub text: &'a [u8],
}

/// What the first digit of a code says (RFC 5321 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// 2yz
    Positive,
    /// 3yz
    Intermediate,
    /// 4yz
    Temporary,
    /// 5yz
    Permanent,
}

impl Class {
    /// The class of a code from 200 to 599.
    pub(super) fn of(code: u16) -> Self {
        match code {
            ..=299 => Self::Positive,
            300..=399 => Self::Intermediate,
            400..=499 => Self::Temporary,
            500.. => Self::Permanent,
        }
    }
}

impl Reply<'_> {
    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|octet| *octet == b'\n')
    }

    /// Whether a reply to RCPT says that the transaction has too many recipients. The recipient may be one of
    /// another transaction at once. RFC 5321 §4.5.3.1.10 has 452 for that, and 552 of older servers, which
    /// then is temporary, too.
    pub fn says_too_many_recipients(&self) -> bool {
        let says = |enhanced: Enhanced| (enhanced.subject, enhanced.detail) == (5, 3);
        match self.code {
            452 => self.enhanced.is_some_and(says),
            552 => self.enhanced.is_none_or(says),
            _ => false,
        }
    }
}

/// Code, enhanced status code and the text in quotes, as one harmless line.
impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", Quoted(self.text))?;
        }
        Ok(())
    }
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// At most three digits.
    pub subject: u16,
    /// At most three digits.
    pub detail: u16,
}

impl Enhanced {
    /// A permanent failure.
    pub const fn permanent(subject: u16, detail: u16) -> Self {
        Self { class: 5, subject, detail }
    }

    /// The enhanced status code that a line of a reply begins with, and the text after it. None when there is
    /// none, or when its class is not that of the reply code: then it is text.
    pub(super) fn split(code: u16, text: &[u8]) -> Option<(Self, &[u8])> {
        let end = text.iter().position(|octet| *octet == b' ').unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        let mut parts = word.split(|octet| *octet == b'.').map(number);
        let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        let fits = parts.next().is_none() && matches!(class, 2 | 4 | 5) && class == code / 100;
        let enhanced = Self { class: u8::try_from(class).ok()?, subject, detail };
        fits.then(|| (enhanced, rest.get(1..).unwrap_or_default()))
    }
}

/// One to three digits.
fn number(digits: &[u8]) -> Option<u16> {
    let fits = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enhanced_code_has_the_class_of_its_reply() {
        for (code, text, expected) in [
            (550, "5.1.1 no", Some(("5.1.1", "no"))),
            (550, "5.1.1", Some(("5.1.1", ""))),
            (250, "2.123.456  two", Some(("2.123.456", " two"))),
            (450, "5.1.1 no", None),
            (354, "3.0.0 go", None),
            (550, "5.1 no", None),
            (550, "5.1.1.1 no", None),
            (550, "5.1.1234 no", None),
            (550, "5.1.1x no", None),
            (550, "5..1 no", None),
            (550, "05.1.1 no", Some(("5.1.1", "no"))),
            (550, "", None),
        ] {
            let split = Enhanced::split(code, text.as_bytes());
            let split = split.map(|(enhanced, rest)| (enhanced.to_string(), rest.to_vec()));
            let expected = expected.map(|(enhanced, rest)| (enhanced.to_owned(), rest.as_bytes().to_vec()));
            assert_eq!(split, expected, "{code} {text}");
        }
    }

    #[test]
    fn too_many_recipients_is_told_from_a_full_mailbox() {
        for (code, enhanced, expected) in [
            (452, Some((4, 5, 3)), true),
            (452, Some((4, 2, 2)), false),
            (452, None, false),
            (552, None, true),
            (552, Some((5, 5, 3)), true),
            (552, Some((5, 2, 2)), false),
            (550, Some((5, 5, 3)), false),
        ] {
            let enhanced = enhanced.map(|(class, subject, detail)| Enhanced { class, subject, detail });
            let reply = Reply { code, enhanced, text: b"" };
            assert_eq!(reply.says_too_many_recipients(), expected, "{reply}");
        }
    }

    #[test]
    fn what_is_shown_is_one_harmless_line() {
        let reply = Reply { code: 550, enhanced: Some(Enhanced::permanent(1, 1)), text: b"no\n\x1b[2J\xff" };
        assert_eq!(reply.to_string(), "550 5.1.1 \"no\\n\\x1b[2J\\xff\"");
        assert_eq!(reply.lines().count(), 2);
        assert_eq!(Reply { code: 250, enhanced: None, text: b"" }.to_string(), "250");
    }
}

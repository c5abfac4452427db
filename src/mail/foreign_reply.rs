//! A refusal in the words of another program: of a content filter, or of a next hop. What a client is told of
//! it is one harmless line.

use std::fmt;

use super::harmless_line::harmless_line;

/// Octets of a text that are told. With the codes before it a line stays far below 512 octets (RFC 5321
/// §4.5.3.1.5).
const TEXT_BYTES_MAX: usize = 400;

/// Who refuses a message in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// A content filter.
    Filter,
    /// The server that the message would have gone on to.
    NextHop,
}

/// A refusal of a message by somebody else than us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignReply {
    code: u16,
    enhanced: String,
    text: String,
}

impl ForeignReply {
    /// One with this reply code and, where there is one, the subject and detail of its enhanced status code
    /// (RFC 3463). In the text octets that are no printable ASCII become `?`, a run of white space becomes
    /// one space, and what is too long is cut. None where the code is neither 4yz nor 5yz. `421` would close
    /// the session, which is not for others to say: it becomes `451`.
    pub fn new(code: u16, enhanced: Option<(u16, u16)>, text: &[u8]) -> Option<Self> {
        if !matches!(code, 400..=599) {
            return None;
        }
        let code = if code == 421 { 451 } else { code };
        Some(Self::made(code, enhanced.unwrap_or((7, 1)), text))
    }

    /// `550 5.7.1`, with this text as in [`Self::new`].
    pub fn refused(text: &[u8]) -> Self {
        Self::made(550, (7, 1), text)
    }

    /// `451 4.7.1`, with this text as in [`Self::new`].
    pub fn put_off(text: &[u8]) -> Self {
        Self::made(451, (7, 1), text)
    }

    fn made(code: u16, (subject, detail): (u16, u16), text: &[u8]) -> Self {
        let enhanced = format!("{}.{subject}.{detail}", code / 100);
        let text = harmless_line(text, TEXT_BYTES_MAX);
        let text = match (text.is_empty(), code) {
            (false, _) => text,
            (true, ..=499) => "Not now, try again later".to_owned(),
            (true, 500..) => "Refused".to_owned(),
        };
        Self { code, enhanced, text }
    }

    /// What is written as a line of a reply, as in `550 5.7.1 Not wanted`. An enhanced status code whose
    /// class is not that of the reply code is text.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (code, rest) = line.split_at_checked(3)?;
        let code = number(code)?;
        let text = match rest {
            [] => rest,
            [b' ' | b'-' | b'\t', text @ ..] => text,
            _ => return None,
        };
        let word = text.split(|octet| *octet == b' ').next().unwrap_or_default();
        let mut parts = word.split(|octet| *octet == b'.').map(number);
        let enhanced = match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
            (Some(class), Some(subject), Some(detail)) if class == code / 100 => Some((subject, detail)),
            _ => None,
        };
        let fits = enhanced.is_some() && parts.next().is_none();
        let text = if fits { text.get(word.len()..).unwrap_or_default() } else { text };
        Self::new(code, enhanced.filter(|_| fits), text)
    }

    /// The reply code: 4yz or 5yz, never 421.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether the message is refused for good.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The enhanced status code, of the class of the reply code.
    pub fn enhanced(&self) -> &str {
        &self.enhanced
    }

    /// The text: one line of printable ASCII, not empty.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// As it is sent, without its CRLF.
impl fmt::Display for ForeignReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.text)
    }
}

/// One to three digits.
fn number(digits: &[u8]) -> Option<u16> {
    let fits = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(code: u16, enhanced: Option<(u16, u16)>, text: &[u8]) -> Option<String> {
        ForeignReply::new(code, enhanced, text).map(|reply| reply.to_string())
    }

    #[test]
    fn it_is_one_harmless_line_of_a_refusal() {
        let said = |code, text: &str| line(code, None, text.as_bytes());
        assert_eq!(said(550, " Not\r\n250 wanted\t"), Some("550 5.7.1 Not 250 wanted".into()));
        assert_eq!(said(451, "gr\u{fc}n\0"), Some("451 4.7.1 gr??n?".into()));
        assert_eq!(said(550, " \r\n"), Some("550 5.7.1 Refused".into()));
        assert_eq!(said(450, ""), Some("450 4.7.1 Not now, try again later".into()));
        assert_eq!(said(421, "Bye"), Some("451 4.7.1 Bye".into()), "nobody else closes our sessions");
        for code in [0, 200, 250, 354, 399, 600, u16::MAX] {
            assert_eq!(said(code, "x"), None, "{code}");
        }
        assert_eq!(ForeignReply::refused(b"No\n").to_string(), "550 5.7.1 No");
        assert_eq!(ForeignReply::refused(b"").to_string(), "550 5.7.1 Refused");
        assert_eq!(ForeignReply::put_off(b"").to_string(), "451 4.7.1 Not now, try again later");
        let long = line(552, Some((2, 2)), &[b'x'; 2000]).unwrap_or_default();
        assert_eq!(long.len(), "552 5.2.2 ".len() + TEXT_BYTES_MAX);
    }

    #[test]
    fn a_line_of_a_reply_is_read() {
        let said = |line: &str| ForeignReply::parse(line.as_bytes()).map(|reply| reply.to_string());
        for (written, told) in [
            ("550 5.7.9 Not wanted", "550 5.7.9 Not wanted"),
            ("451 4.3.2  later", "451 4.3.2 later"),
            ("550 4.7.9 Not wanted", "550 5.7.1 4.7.9 Not wanted"),
            ("550 5.7.9.1 Not wanted", "550 5.7.1 5.7.9.1 Not wanted"),
            ("550 Not wanted", "550 5.7.1 Not wanted"),
            ("550", "550 5.7.1 Refused"),
            ("550 5.1.1", "550 5.1.1 Refused"),
            ("550-5.1.1 a", "550 5.1.1 a"),
        ] {
            assert_eq!(said(written).as_deref(), Some(told), "{written}");
        }
        for written in ["", "55", "5500 a", "abc no", "250 2.0.0 ok", "-50 no"] {
            assert_eq!(said(written), None, "{written}");
        }
    }
}

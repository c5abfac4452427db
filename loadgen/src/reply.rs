//! Reads SMTP replies (RFC 5321 §4.2) out of octets that arrive in any portions. Knows nothing of what was
//! asked.

use std::fmt;

/// Octets of the longest reply line that is accepted; §4.5.3.1.5 allows 512.
const LINE_BYTES_MAX: usize = 4096;

/// Lines of the longest reply that is accepted.
const LINES_MAX: usize = 256;

/// One line of a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplyLine<'a> {
    /// Reply code, `200 <= code <= 599`.
    pub code: u16,
    /// What follows the code and its separator, without CRLF.
    pub text: &'a [u8],
    /// Whether the reply is complete with this line.
    pub last: bool,
}

/// Octets that are no reply; the session cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    why: &'static str,
    line: Vec<u8>,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES_MAX: usize = 120;
        let shown = &self.line[..self.line.len().min(SHOWN_BYTES_MAX)];
        write!(f, "{}: \"{}\"", self.why, shown.escape_ascii())
    }
}

/// Replies of one session. Takes octets in, gives whole lines out.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The start of a line whose end has not come, or the line given out last.
    /// `carry.len() <= LINE_BYTES_MAX`.
    carry: Vec<u8>,
    /// Whether `carry` was given out and may be cleared.
    given: bool,
    /// Code and lines so far of a reply that goes on.
    unfinished: Option<(u16, usize)>,
}

impl ReplyReader {
    /// Takes the next line off `input`; `None` when it needs more octets, and then `input` is empty.
    pub fn next_line<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<ReplyLine<'a>>, Malformed> {
        if std::mem::take(&mut self.given) {
            self.carry.clear();
        }
        let end = input.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
        let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
        *input = rest;
        if self.carry.len() + taken.len() > LINE_BYTES_MAX {
            return Err(Malformed { why: "a reply line is too long", line: taken.to_vec() });
        }
        let line = if end.is_some() && self.carry.is_empty() {
            taken
        } else {
            self.carry.extend_from_slice(taken);
            if end.is_none() {
                return Ok(None);
            }
            self.given = true;
            &self.carry
        };
        parse(line, &mut self.unfinished).map(Some)
    }
}

fn parse<'a>(line: &'a [u8], unfinished: &mut Option<(u16, usize)>) -> Result<ReplyLine<'a>, Malformed> {
    let malformed = |why| Malformed { why, line: line.to_vec() };
    let line = line.strip_suffix(b"\r\n").ok_or_else(|| malformed("a reply line ends without CRLF"))?;
    let (digits, rest) = line.split_at_checked(3).ok_or_else(|| malformed("not a reply"))?;
    let &[b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = digits else { return Err(malformed("not a reply")) };
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (last, text) = match rest.split_first() {
        // §4.2.1: the text, and then the separator too, may be missing from the last line.
        None => (true, rest),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return Err(malformed("not a reply")),
    };
    let lines = match *unfinished {
        Some((first, _)) if first != code => return Err(malformed("the codes of a reply differ")),
        Some((_, LINES_MAX..)) => return Err(malformed("a reply has too many lines")),
        Some((_, lines)) => lines + 1,
        None => 1,
    };
    *unfinished = (!last).then_some((code, lines));
    Ok(ReplyLine { code, text, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[u8] = b"250-mx.test\r\n250-PIPELINING\r\n250 SIZE\r\n354\r\n421 4.3.2 Closing\r\n";

    fn read_all(portions: &[&[u8]]) -> Result<Vec<(u16, String, bool)>, Malformed> {
        let (mut reader, mut lines) = (ReplyReader::default(), Vec::new());
        for portion in portions {
            let mut input = *portion;
            while let Some(line) = reader.next_line(&mut input)? {
                lines.push((line.code, String::from_utf8_lossy(line.text).into_owned(), line.last));
            }
            assert!(input.is_empty());
        }
        Ok(lines)
    }

    #[test]
    fn a_split_at_any_offset_changes_nothing() {
        let whole = read_all(&[REPLIES]).expect("replies");
        assert_eq!(whole.len(), 5);
        assert_eq!(whole[1], (250, "PIPELINING".into(), false));
        assert_eq!(whole[3], (354, String::new(), true));
        for at in 0..=REPLIES.len() {
            assert_eq!(read_all(&[&REPLIES[..at], &REPLIES[at..]]).as_ref(), Ok(&whole));
        }
        let bytes: Vec<&[u8]> = REPLIES.chunks(1).collect();
        assert_eq!(read_all(&bytes), Ok(whole));
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for (octets, why) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "not a reply"),
            (b"25\r\n", "not a reply"),
            (b"199 x\r\n", "not a reply"),
            (b"250_x\r\n", "not a reply"),
            (b"250 x\n", "without CRLF"),
            (b"250-x\r\n550 y\r\n", "differ"),
            (&[b'2'; LINE_BYTES_MAX + 1], "too long"),
            (&b"250-x\r\n".repeat(LINES_MAX + 1), "too many"),
        ] {
            let error = read_all(&[octets]).expect_err("malformed").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

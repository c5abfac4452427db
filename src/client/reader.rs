//! Replies read from octets that come in any pieces (RFC 5321 §4.2).
//!
//! All is bounded: octets of a line, lines of a reply, octets that are kept. A line may end with a bare LF,
//! which some servers send: no harm is in that, because nothing is hidden in a reply.

use super::offers::Offers;
use super::reply::{Enhanced, REPLY_TEXT_BYTES_MAX, Reply};
use super::violation::Violation;

/// Octets of a line of a reply with its end. RFC 5321 §4.5.3.1.5 has 512; servers go beyond.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// Lines of a reply. The reply to EHLO has some twenty, the longest known greetings fewer.
pub(super) const LINES_MAX: u32 = 64;

/// Reads replies one by one.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    /// A line whose end has not come. `< LINE_BYTES_MAX`
    carry: Vec<u8>,
    /// Lines of the reply that were read; 0 between replies. `<= LINES_MAX`
    lines: u32,
    /// The last line of the reply was read: the next begins another one.
    is_whole: bool,
    code: u16,
    enhanced: Option<Enhanced>,
    /// `<= REPLY_TEXT_BYTES_MAX`
    text: Vec<u8>,
}

impl ReplyReader {
    /// Consumes input up to the end of a reply; true when there is a whole one, which [`Self::reply`] gives
    /// until the next call. False when all input is consumed. The lines of a reply to EHLO are noted in the
    /// offers, where they are given.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        mut offers: Option<&mut Offers>,
    ) -> Result<bool, Violation> {
        if self.is_whole {
            self.begin();
        }
        while !input.is_empty() {
            let Some(end) = memchr::memchr(b'\n', input) else {
                if self.carry.len() + input.len() >= LINE_BYTES_MAX {
                    return Err(Violation::LineTooLong);
                }
                self.carry.extend_from_slice(input);
                *input = &[];
                return Ok(false);
            };
            let (line, rest) = input.split_at(end + 1);
            if self.carry.len() + line.len() > LINE_BYTES_MAX {
                return Err(Violation::LineTooLong);
            }
            *input = rest;
            let is_last = if self.carry.is_empty() {
                self.take(line, offers.as_deref_mut())?
            } else {
                // Taken out for the time, because the line is noted meanwhile.
                let mut carry = std::mem::take(&mut self.carry);
                carry.extend_from_slice(line);
                let is_last = self.take(&carry, offers.as_deref_mut());
                carry.clear();
                self.carry = carry;
                is_last?
            };
            if is_last {
                self.is_whole = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The reply that was read last.
    pub(super) fn reply(&self) -> Reply<'_> {
        Reply { code: self.code, enhanced: self.enhanced, text: &self.text }
    }

    /// Whether nothing was read of a reply whose end has not come.
    pub(super) fn is_between(&self) -> bool {
        self.carry.is_empty() && (self.is_whole || self.lines == 0)
    }

    /// Forgets what was read of a reply.
    pub(super) fn clear(&mut self) {
        self.carry.clear();
        self.begin();
    }

    fn begin(&mut self) {
        self.is_whole = false;
        self.lines = 0;
        self.code = 0;
        self.enhanced = None;
        self.text.clear();
    }

    /// Takes one line with its end; true when it is the last one of its reply.
    fn take(&mut self, line: &[u8], offers: Option<&mut Offers>) -> Result<bool, Violation> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, rest) = line.split_at_checked(3).ok_or(Violation::Malformed)?;
        let is_code = matches!(code.first(), Some(b'2'..=b'5')) && code.iter().all(u8::is_ascii_digit);
        if !is_code {
            return Err(Violation::Malformed);
        }
        let code = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let (is_last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(Violation::Malformed),
        };
        if self.lines == LINES_MAX {
            return Err(Violation::TooManyLines);
        }
        if self.lines > 0 && code != self.code {
            return Err(Violation::CodeChanged);
        }
        self.code = code;
        match offers {
            // The first line has the server's name.
            Some(offers) if self.lines > 0 => offers.note(text),
            Some(_) | None => {}
        }
        self.keep(text);
        self.lines += 1;
        Ok(is_last)
    }

    /// Keeps the text of a line as far as there is room. Each line may have the enhanced code (RFC 2034 §4),
    /// which is kept once.
    fn keep(&mut self, text: &[u8]) {
        let text = match Enhanced::split(self.code, text) {
            Some((enhanced, rest)) if self.lines == 0 => {
                self.enhanced = Some(enhanced);
                rest
            }
            Some((enhanced, rest)) if self.enhanced == Some(enhanced) => rest,
            Some(_) | None => text,
        };
        if self.lines > 0 && self.text.len() < REPLY_TEXT_BYTES_MAX {
            self.text.push(b'\n');
        }
        let room = REPLY_TEXT_BYTES_MAX - self.text.len();
        self.text.extend_from_slice(text.get(..room).unwrap_or(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies of these octets, in pieces of this size, and what ended them.
    fn read(octets: &[u8], size: usize) -> (Vec<String>, Option<Violation>) {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for mut piece in octets.chunks(size) {
            loop {
                match reader.read(&mut piece, None) {
                    Ok(true) => replies.push(reader.reply().to_string()),
                    Ok(false) => break,
                    Err(violation) => return (replies, Some(violation)),
                }
            }
            assert!(piece.is_empty() && reader.carry.len() < LINE_BYTES_MAX);
        }
        (replies, None)
    }

    fn everywhere(octets: &[u8], replies: &[&str], violation: Option<Violation>) {
        for size in [1, 2, 3, 7, 100, octets.len()] {
            let (read, ended) = read(octets, size);
            let shown = octets.get(..40).unwrap_or(octets).escape_ascii();
            assert_eq!(
                (read, ended),
                (replies.iter().map(|s| (*s).to_owned()).collect(), violation),
                "{shown}"
            );
        }
    }

    #[test]
    fn replies_are_read_whatever_the_pieces() {
        everywhere(b"250 2.1.0 ok\r\n", &["250 2.1.0 \"ok\""], None);
        everywhere(b"250\r\n250 \n221-a\r\n221 b\r\n", &["250", "250", "221 \"a\\nb\""], None);
        everywhere(
            b"550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.2 user\r\n",
            &["550 5.1.1 \"no\\nsuch\\n5.1.2 user\""],
            None,
        );
        everywhere(b"250-unfinished\r\n250-re", &[], None);
        everywhere(b"250 \0\xff\r\n", &["250 \"\\x00\\xff\""], None);
    }

    #[test]
    fn what_is_no_reply_is_told() {
        use Violation::{CodeChanged, LineTooLong, Malformed, TooManyLines};
        for line in
            ["\r\n", "25\r\n", "250x\r\n", "150 a\r\n", "600 a\r\n", "2a0 b\r\n", "\0", "HTTP/1.1 400\r\n"]
        {
            let line = format!("220 hello\r\n{line}\r\n");
            everywhere(line.as_bytes(), &["220 \"hello\""], Some(Malformed));
        }
        everywhere(b"250-a\r\n251 b\r\n", &[], Some(CodeChanged));
        let lines = |count| "250-\r\n".repeat(count);
        everywhere(
            format!("{}250 \r\n", lines(63)).as_bytes(),
            &[&format!("250 \"{}\"", "\\n".repeat(63))],
            None,
        );
        everywhere(lines(65).as_bytes(), &[], Some(TooManyLines));
        let line = |count| format!("250 {}\r\n", "x".repeat(count - "250 \r\n".len()));
        everywhere(line(LINE_BYTES_MAX).as_bytes(), &[&format!("250 \"{}\"", "x".repeat(512))], None);
        everywhere(line(LINE_BYTES_MAX + 1).as_bytes(), &[], Some(LineTooLong));
        everywhere(&[b'x'; LINE_BYTES_MAX], &[], Some(LineTooLong));
    }
}

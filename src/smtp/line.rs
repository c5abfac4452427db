//! Command lines: octets up to CRLF, across the edges of buffers, bounded in length (RFC 5321 §2.3.8,
//! §4.5.3.1.4).

use super::command;
use super::input::Input;
use crate::limits::LINE_SWALLOW_BYTES_MAX;

/// A command line under way. Owns memory only while a line is incomplete.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    /// Octets so far of a line that is too long and is being read to its end.
    swallowed: Option<usize>,
    /// The last octet swallowed was a CR.
    swallowed_cr: bool,
    /// The line that was swallowed last seemed to announce a chunk.
    swallowed_chunk: bool,
}

/// What the input holds next.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// A whole line in the input, without its CRLF. It is not consumed: `count` octets are its length with
    /// CRLF.
    InPlace {
        /// The line.
        text: &'a [u8],
        /// Octets to consume for it.
        count: usize,
    },
    /// A whole line that was carried together, without its CRLF.
    Carried(Vec<u8>),
    /// An LF without CR.
    BareLf,
    /// A line over its length; it was consumed to its end.
    TooLong,
    /// A line without end: nothing more is read.
    Endless,
    /// No whole line yet.
    Incomplete,
}

impl LineReader {
    /// The next line of at most `line_bytes_max` octets with its CRLF.
    pub(super) fn next<'a>(&mut self, input: &mut Input<'a>, line_bytes_max: usize) -> Line<'a> {
        let rest = input.rest();
        if self.swallowed.is_some() {
            return self.swallow(rest, input);
        }
        let Some(lf) = memchr::memchr(b'\n', rest) else {
            return self.carry(rest, input, line_bytes_max);
        };
        let count = lf + 1;
        if self.carry.len() + count > line_bytes_max {
            self.begin_swallowing(rest);
            return self.swallow(rest, input);
        }
        let (part, _) = rest.split_at(count);
        if self.carry.is_empty() {
            return match part.strip_suffix(b"\r\n") {
                Some(text) => Line::InPlace { text, count },
                None => Line::BareLf,
            };
        }
        input.consume(count);
        let mut line = std::mem::take(&mut self.carry);
        line.extend_from_slice(part);
        if !line.ends_with(b"\r\n") {
            return Line::BareLf;
        }
        line.truncate(line.len() - b"\r\n".len());
        Line::Carried(line)
    }

    /// Whether the next octet of the input begins a line.
    pub(super) fn is_at_start(&self) -> bool {
        self.carry.is_empty() && self.swallowed.is_none()
    }

    fn carry<'a>(&mut self, rest: &[u8], input: &mut Input<'a>, line_bytes_max: usize) -> Line<'a> {
        // The CRLF is still to come.
        if self.carry.len() + rest.len() + 1 > line_bytes_max {
            self.begin_swallowing(rest);
            return self.swallow(rest, input);
        }
        self.carry.extend_from_slice(rest);
        input.consume(rest.len());
        Line::Incomplete
    }

    /// Whether a chunk seems to follow the line that was too long: octets that are no commands, and how many
    /// is not known.
    pub(super) fn too_long_announced_chunk(&self) -> bool {
        self.swallowed_chunk
    }

    fn begin_swallowing(&mut self, rest: &[u8]) {
        let carry = std::mem::take(&mut self.carry);
        self.swallowed_chunk = command::announces_chunk(carry.iter().chain(rest).copied());
        self.swallowed = Some(carry.len());
        self.swallowed_cr = carry.last() == Some(&b'\r');
    }

    /// Reads on to the true end of the line: its tail is never a command.
    fn swallow<'a>(&mut self, rest: &[u8], input: &mut Input<'a>) -> Line<'a> {
        let before = self.swallowed.unwrap_or(0);
        // The bound is on octets of the line, wherever the buffers end.
        let rest = rest.get(..LINE_SWALLOW_BYTES_MAX.saturating_sub(before)).unwrap_or(rest);
        for lf in memchr::memchr_iter(b'\n', rest) {
            let after_cr = match lf.checked_sub(1) {
                Some(previous) => rest.get(previous) == Some(&b'\r'),
                None => self.swallowed_cr,
            };
            if after_cr {
                input.consume(lf + 1);
                self.swallowed = None;
                return Line::TooLong;
            }
        }
        input.consume(rest.len());
        self.swallowed = Some(before + rest.len());
        self.swallowed_cr = rest.last().map_or(self.swallowed_cr, |octet| *octet == b'\r');
        if before + rest.len() >= LINE_SWALLOW_BYTES_MAX { Line::Endless } else { Line::Incomplete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::supplies::Supplies;

    const MAX: usize = 20;

    /// What comes of the octets when they arrive in pieces of this size.
    fn lines(octets: &[u8], piece: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut seen = Vec::new();
        let mut supplies = Supplies::default();
        for part in octets.chunks(piece) {
            let mut input = Input::new(part, &mut supplies);
            loop {
                match reader.next(&mut input, MAX) {
                    Line::InPlace { text, count } => {
                        seen.push(String::from_utf8_lossy(text).into_owned());
                        input.consume(count);
                    }
                    Line::Carried(text) => seen.push(String::from_utf8_lossy(&text).into_owned()),
                    Line::BareLf => {
                        seen.push("bare".into());
                        return seen;
                    }
                    Line::TooLong => seen.push("long".into()),
                    Line::Endless => {
                        seen.push("endless".into());
                        return seen;
                    }
                    Line::Incomplete => break,
                }
            }
        }
        seen
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let cases: [(&[u8], &[&str]); 6] = [
            (b"one\r\ntwo\r\n\r\n", &["one", "two", ""]),
            (b"one\ntwo", &["bare"]),
            (b"123456789012345678\r\nx\r\n", &["123456789012345678", "x"]),
            (b"1234567890123456789\r\nx\r\n", &["long", "x"]),
            (b"12345678901234567890\r1\n2\r\nx\r\n", &["long", "x"]),
            (b"a\rb\r\n", &["a\rb"]),
        ];
        for (octets, expected) in cases {
            for piece in 1..=octets.len() {
                assert_eq!(lines(octets, piece), expected, "{octets:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        assert_eq!(lines(&vec![b'x'; 2 * LINE_SWALLOW_BYTES_MAX], 1000), ["endless"]);
    }

    #[test]
    fn where_a_line_is_given_up_does_not_depend_on_how_it_arrives() {
        for (count, expected) in
            [(LINE_SWALLOW_BYTES_MAX - 2, "long"), (LINE_SWALLOW_BYTES_MAX - 1, "endless")]
        {
            let line = [vec![b'x'; count], b"\r\n".to_vec()].concat();
            for piece in [1000, LINE_SWALLOW_BYTES_MAX - 1, LINE_SWALLOW_BYTES_MAX, line.len()] {
                assert_eq!(lines(&line, piece), [expected], "{count} octets in pieces of {piece}");
            }
        }
    }
}

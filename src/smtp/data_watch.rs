//! What is counted in mail data while it passes: `Received:` fields of the header section, and the length of
//! lines.
//!
//! Mail data comes in any pieces and is never copied. Once the header section is over, and without a limit on
//! lines, a piece costs two comparisons.

use super::reply::{self, Reply};
use super::trace::{MailboxLine, name_bytes};

/// Watches the mail data of one message.
#[derive(Debug)]
pub(super) struct DataWatch {
    header: Header,
    /// `Received:` fields so far.
    received: u32,
    received_max: u32,
    /// Octets of the line under way, with its CRLF.
    line_bytes: usize,
    /// 0: lines may have any length.
    line_bytes_max: usize,
}

/// What was found that is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// `Received:` fields: the message probably goes in circles (RFC 5321 §6.3).
    Received,
    /// Octets in a line.
    Line,
}

impl TooMuch {
    /// What is said of it.
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Received => reply::MAIL_LOOP,
            Self::Line => reply::DATA_LINE_TOO_LONG,
        }
    }
}

/// Where in the header section we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    /// At the start of a line.
    LineStart,
    /// After a CR at the start of a line.
    EmptyLine,
    /// In a field name. `matched` of its octets are the beginning of `received`; none: it is another name.
    Name { matched: Option<usize>, mailbox_line: MailboxLine },
    /// In white space between the name and its colon (obsolete, RFC 5322 §4.5), or in the line that divides
    /// the messages of an mbox file.
    Space { is_received: bool, is_mailbox_line: bool },
    /// In the rest of a line.
    Line,
    /// It is over: after an empty line, or at a line that is neither a field nor of an mbox file. Every hop
    /// of a loop may put such a `From ` line above the fields, so the count goes on after it.
    Over,
}

/// What one step of reading a header section costs.
const STEP: usize = 5;

/// In a field name that is not looked for.
const OTHER_NAME: Header = Header::Name { matched: None, mailbox_line: MailboxLine::Other };

impl DataWatch {
    /// At the beginning of mail data.
    pub(super) fn new(received_max: u32, line_bytes_max: usize) -> Self {
        Self { header: Header::LineStart, received: 0, received_max, line_bytes: 0, line_bytes_max }
    }

    /// Takes the next octets of mail data, after transparency and normalised as they are stored.
    /// `steps` grows by what that costs beyond the search for line ends, in nanoseconds or so.
    pub(super) fn take(&mut self, octets: &[u8], steps: &mut usize) -> Option<TooMuch> {
        if self.header != Header::Over && self.read_header(octets, steps) > self.received_max {
            return Some(TooMuch::Received);
        }
        (self.line_bytes_max != 0 && self.measure(octets)).then_some(TooMuch::Line)
    }

    fn read_header(&mut self, octets: &[u8], steps: &mut usize) -> u32 {
        let mut rest = octets;
        while !rest.is_empty() {
            *steps += STEP;
            if self.header == Header::Line {
                let Some(lf) = memchr::memchr(b'\n', rest) else { break };
                self.header = Header::LineStart;
                rest = rest.get(lf + 1..).unwrap_or_default();
                continue;
            }
            if self.header == OTHER_NAME {
                let name = name_bytes(rest);
                *steps += name;
                rest = rest.get(name..).unwrap_or_default();
            }
            let Some((&octet, behind)) = rest.split_first() else { break };
            self.header = self.next(octet);
            if self.header == Header::Over {
                break;
            }
            rest = behind;
        }
        self.received
    }

    /// Where an octet that begins a line or stands in a name leads to.
    fn next(&mut self, octet: u8) -> Header {
        const NAME: &[u8] = b"received";
        match (self.header, octet) {
            (Header::LineStart, b'\r') => Header::EmptyLine,
            (Header::LineStart, b'!'..=b'~') if octet != b':' => {
                let matched = NAME.starts_with(&[octet.to_ascii_lowercase()]).then_some(1);
                Header::Name { matched, mailbox_line: MailboxLine::default().after(octet) }
            }
            (Header::Name { matched, .. }, b':') => self.end_name(matched == Some(NAME.len())),
            (Header::Name { matched, mailbox_line }, b' ' | b'\t') => Header::Space {
                is_received: matched == Some(NAME.len()),
                is_mailbox_line: mailbox_line.is_before(octet),
            },
            (Header::Name { matched, mailbox_line }, b'!'..=b'~') => Header::Name {
                matched: matched
                    .filter(|count| NAME.get(*count) == Some(&octet.to_ascii_lowercase()))
                    .map(|count| count + 1),
                mailbox_line: mailbox_line.after(octet),
            },
            (Header::Space { is_received, .. }, b':') => self.end_name(is_received),
            (space @ Header::Space { .. }, b' ' | b'\t') => space,
            (Header::Space { is_mailbox_line: true, .. }, b'\n') => Header::LineStart,
            (Header::LineStart, b' ' | b'\t')
            | (Header::Line | Header::Space { is_mailbox_line: true, .. }, _) => Header::Line,
            (
                Header::LineStart
                | Header::EmptyLine
                | Header::Name { .. }
                | Header::Space { .. }
                | Header::Over,
                _,
            ) => Header::Over,
        }
    }

    fn end_name(&mut self, is_received: bool) -> Header {
        self.received = self.received.saturating_add(u32::from(is_received));
        Header::Line
    }

    /// Whether a line is longer than it may be.
    fn measure(&mut self, octets: &[u8]) -> bool {
        let mut start = 0;
        let mut longest = 0;
        for lf in memchr::memchr_iter(b'\n', octets) {
            longest = longest.max(self.line_bytes + lf + 1 - start);
            self.line_bytes = 0;
            start = lf + 1;
        }
        self.line_bytes += octets.len() - start;
        longest.max(self.line_bytes) > self.line_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many fields are counted, however the octets arrive.
    fn received(octets: &[u8]) -> u32 {
        let counts: Vec<u32> = (1..=octets.len())
            .map(|piece| {
                let mut watch = DataWatch::new(u32::MAX, 0);
                octets.chunks(piece).for_each(|part| assert_eq!(watch.take(part, &mut 0), None));
                watch.received
            })
            .collect();
        assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
        counts[0]
    }

    #[test]
    fn received_fields_are_counted_in_the_header_section_only() {
        assert_eq!(received(b"Received: a\r\n\tby b\r\nRECEIVED : c\r\nX: d\r\n\r\nReceived: e\r\n"), 2);
        assert_eq!(received(b"Received-SPF: a\r\nX-Received: b\r\nReceive: c\r\nX:\r\n received: d\r\n"), 0);
        assert_eq!(received(b"text without header\r\nReceived: a\r\n"), 0);
        assert_eq!(received(b"\r\nReceived: a\r\n"), 0);
        assert_eq!(received(b"Received"), 0);
    }

    #[test]
    fn received_fields_are_counted_after_mailbox_lines() {
        assert_eq!(received(b"From root@host Thu Nov 28 10:00:00 2024\r\nReceived: a\r\n"), 1);
        assert_eq!(received(b">From a\r\n>>From b\r\nFrom c\r\nReceived: d\r\n\r\nReceived: e\r\n"), 1);
        assert_eq!(received(b"Received: a\r\n>From b\r\n\tfolded\r\nReceived: c\r\n"), 2);
        assert_eq!(received(b"From \r\nReceived: a\r\n"), 1);
        assert_eq!(received(b"From \nReceived: a\n"), 1, "a chunk may have bare LF");
        assert_eq!(received(b"From : a\r\nReceived: b\r\n"), 1, "an old field");
        for text in [&b"From\r\n"[..], b"from a\r\n", b"Fromage a\r\n", b"> From a\r\n", b"From\ta\r\n"] {
            assert_eq!(received(&[text, b"Received: a\r\n"].concat()), 0, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn more_than_the_limit_is_told() {
        let mut watch = DataWatch::new(2, 0);
        assert_eq!(watch.take(b"Received: a\r\nReceived: b\r\n", &mut 0), None);
        assert_eq!(watch.take(b"Received:", &mut 0), Some(TooMuch::Received));
    }

    #[test]
    fn a_long_line_is_told_wherever_it_is_cut() {
        for (octets, long) in [
            (&b"\r\n12345678\r\n\r\n"[..], false),
            (b"12345678\r\n123456789\r\n", true),
            (b"12345678901", true),
        ] {
            for piece in 1..=octets.len() {
                let mut watch = DataWatch::new(100, 10);
                let found = octets.chunks(piece).find_map(|part| watch.take(part, &mut 0));
                assert_eq!(found.is_some(), long, "{} in pieces of {piece}", octets.escape_ascii());
            }
        }
    }
}

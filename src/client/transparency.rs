//! Mail data for DATA: transparency (RFC 5321 §4.5.2) and the end, as slices. No octet is moved.
//!
//! A dot that begins a line is sent twice: one slice ends with it, and the next begins with it again. What
//! lies between is found at memory speed by [`scan`](crate::scan).
//!
//! What DATA cannot carry is never sent: a CR or LF that is not part of a CRLF (§2.3.8), and a line that is a
//! lone dot but for its NULs, because a server that drops NULs would end the mail data there and take what
//! follows for commands.

use std::fmt;

use super::reply::Enhanced;
use crate::scan::{Before, plain_prefix};

/// What DATA cannot carry. The connection has to be given up, so that the server drops what it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// A CR or LF that is not part of a CRLF.
    BareLineEnd,
    /// A line that is a lone dot but for its NULs.
    DotWithNul,
}

impl Unsendable {
    /// What a notice says of it: the media is not supported by the protocol of the next hop (RFC 3463 §3.7).
    pub const fn enhanced(self) -> Enhanced {
        Enhanced::permanent(6, 1)
    }
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineEnd => "the content has a bare CR or LF, which DATA cannot carry",
            Self::DotWithNul => "the content has a line of a dot and NUL, which DATA cannot carry",
        })
    }
}

/// A line that begins with NUL, as far as it may be a lone dot without its NULs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NulLine {
    /// It is none, or other octets came.
    No,
    /// NULs so far.
    Nuls,
    /// NULs and one dot so far.
    Dot,
}

/// The content of one message on its way, which comes in any number of slices.
#[derive(Debug, Clone, Copy)]
pub struct Transparency {
    before: Before,
    nul: NulLine,
}

impl Default for Transparency {
    fn default() -> Self {
        Self::new()
    }
}

impl Transparency {
    /// At the beginning of the content, where a line begins.
    pub const fn new() -> Self {
        Self { before: Before::LineStart, nul: NulLine::No }
    }

    /// Takes the next octets of the content; gives what is to be sent for them, slice by slice. All slices
    /// have to be taken.
    pub fn slices<'t, 'a>(&'t mut self, content: &'a [u8]) -> Slices<'t, 'a> {
        Slices { transparency: self, content, start: 0, at: 0 }
    }

    /// What is to be sent after all octets of the content: the end of the mail data (RFC 5321 §4.1.1.4), and
    /// before it a CRLF if the content does not end with one.
    pub fn end(self) -> Result<&'static [u8], Unsendable> {
        match self.before {
            Before::LineStart => Ok(b".\r\n"),
            Before::Middle if self.nul == NulLine::Dot => Err(Unsendable::DotWithNul),
            Before::Middle => Ok(b"\r\n.\r\n"),
            Before::Cr => Err(Unsendable::BareLineEnd),
        }
    }

    /// Looks at an octet of a line that began with NUL.
    fn walk(&mut self, octet: u8) -> Result<(), Unsendable> {
        self.nul = match (self.nul, octet) {
            (NulLine::No, _) => NulLine::No,
            (nul, 0) => nul,
            (NulLine::Nuls, b'.') => NulLine::Dot,
            (NulLine::Dot, b'\r') => return Err(Unsendable::DotWithNul),
            (NulLine::Nuls | NulLine::Dot, _) => NulLine::No,
        };
        Ok(())
    }
}

/// What is to be sent for some octets of the content, in order.
#[derive(Debug)]
pub struct Slices<'t, 'a> {
    transparency: &'t mut Transparency,
    content: &'a [u8],
    /// Where the next slice begins. `<= at`
    start: usize,
    /// Up to here the content was looked at. `<= content.len()`
    at: usize,
}

impl<'a> Slices<'_, 'a> {
    fn advance(&mut self) -> Result<Option<&'a [u8]>, Unsendable> {
        let state = &mut *self.transparency;
        loop {
            let rest = self.content.get(self.at..).unwrap_or_default();
            let Some(&octet) = rest.first() else {
                let last = self.content.get(self.start..).unwrap_or_default();
                self.start = self.content.len();
                return Ok((!last.is_empty()).then_some(last));
            };
            if state.nul != NulLine::No {
                state.walk(octet)?;
                if state.nul != NulLine::No {
                    self.at += 1;
                    continue;
                }
            }
            let plain = plain_prefix(rest, state.before);
            state.before = state.before.after(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            // What follows, if anything, is not plain.
            let Some(&octet) = rest.get(plain) else { continue };
            match (state.before, octet) {
                (Before::LineStart, b'.') => {
                    let slice = self.content.get(self.start..=self.at).unwrap_or_default();
                    self.start = self.at;
                    self.at += 1;
                    state.before = Before::Middle;
                    return Ok(Some(slice));
                }
                (Before::LineStart, 0) => {
                    state.nul = NulLine::Nuls;
                    state.before = Before::Middle;
                    self.at += 1;
                }
                (Before::LineStart | Before::Cr | Before::Middle, _) => return Err(Unsendable::BareLineEnd),
            }
        }
    }
}

impl<'a> Iterator for Slices<'_, 'a> {
    type Item = Result<&'a [u8], Unsendable>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is sent of a content that comes in these slices.
    fn sent(slices: &[&[u8]]) -> Result<Vec<u8>, Unsendable> {
        let mut transparency = Transparency::new();
        let mut out = Vec::new();
        for slice in slices {
            for piece in transparency.slices(slice) {
                let piece = piece?;
                assert!(!piece.is_empty());
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(transparency.end()?);
        Ok(out)
    }

    /// The same, a line at a time.
    fn naive(content: &[u8]) -> Result<Vec<u8>, Unsendable> {
        let text = String::from_utf8_lossy(content).into_owned();
        assert_eq!(text.as_bytes(), content, "the test has ASCII");
        let mut out = String::new();
        let mut lines: Vec<&str> = text.split("\r\n").collect();
        if lines.last() == Some(&"") {
            lines.pop();
        }
        for line in lines {
            if line.contains(['\r', '\n']) {
                return Err(Unsendable::BareLineEnd);
            }
            if line.starts_with('\0') && line.replace('\0', "") == "." {
                return Err(Unsendable::DotWithNul);
            }
            if line.starts_with('.') {
                out.push('.');
            }
            out.push_str(line);
            out.push_str("\r\n");
        }
        out.push_str(".\r\n");
        Ok(out.into_bytes())
    }

    #[test]
    fn a_dot_that_begins_a_line_is_doubled_and_the_end_is_added() {
        for (content, expected) in [
            ("", Ok(".\r\n")),
            ("a\r\n", Ok("a\r\n.\r\n")),
            ("a", Ok("a\r\n.\r\n")),
            (".", Ok("..\r\n.\r\n")),
            (".\r\n", Ok("..\r\n.\r\n")),
            ("a\r\n.\r\n..b\r\n.", Ok("a\r\n..\r\n...b\r\n..\r\n.\r\n")),
            ("\r\n.\r\n", Ok("\r\n..\r\n.\r\n")),
            ("\0\r\n\0a.\r\n\0..\r\n.\0\r\n", Ok("\0\r\n\0a.\r\n\0..\r\n..\0\r\n.\r\n")),
            ("a\n.\r\n", Err(Unsendable::BareLineEnd)),
            ("a\r.\r\n", Err(Unsendable::BareLineEnd)),
            ("a\r", Err(Unsendable::BareLineEnd)),
            ("\n", Err(Unsendable::BareLineEnd)),
            ("\0\n.\r\n", Err(Unsendable::BareLineEnd)),
            ("a\r\n\0.\r\n", Err(Unsendable::DotWithNul)),
            ("\0\0.\0", Err(Unsendable::DotWithNul)),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(naive(content.as_bytes()), expected, "{content:?}");
            for cut in 0..=content.len() {
                let (first, second) = content.as_bytes().split_at(cut);
                assert_eq!(sent(&[first, second]), expected, "{content:?} cut at {cut}");
            }
        }
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => Just(&b"\r\n"[..]),
            3 => Just(&b"."[..]),
            3 => Just(&b"text of a line"[..]),
            2 => Just(&b"\0"[..]),
            1 => Just(&b"a line that is longer than a block of the scan, which is sixty-four octets\r\n"[..]),
            1 => prop_oneof![Just(&b"\r"[..]), Just(&b"\n"[..]), Just(&b""[..]), Just(&b" "[..])],
        ];
        prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 1024 },
            failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_sends_what_the_naive_way_sends(content in content(), sizes in prop::collection::vec(1..20_usize, 1..8)) {
            let mut slices = Vec::new();
            let mut rest = &content[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (slice, behind) = rest.split_at((*size).min(rest.len()));
                slices.push(slice);
                rest = behind;
            }
            match (sent(&slices), naive(&content)) {
                // Which of two faults is found first depends on nothing that matters.
                (Err(_), Err(_)) => {}
                (sent, expected) => prop_assert_eq!(sent, expected),
            }
        }
    }
}

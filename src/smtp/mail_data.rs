//! The mail data of DATA: its end, transparency, bare CR and LF.
//!
//! ```text
//!               dot                 CR
//!   LineStart ───────► Dot ───────────────► DotCr ──LF──► the end (RFC 5321 §4.1.1.4)
//!       ▲               │ anything else       │ anything else: the CR was mail data
//!       └─ CRLF ── plain mail data ◄──────────┘
//! ```
//!
//! It ends at CRLF.CRLF, or at `.CRLF` as its first line, and nowhere else: a server that took a bare LF for
//! a line end would let a sender hide a second message inside the first. No octet is moved. A dot that begins
//! a line is never mail data, whether it ends it or was put there for transparency (§4.5.2), so it is simply
//! not part of any range.

use std::ops::Range;

use super::input::Input;
use super::run::{Place, Rules, Table};
use crate::scan::{Before, Tail, end_of_mail_data, plain_prefix};
use crate::smtp::settings::BareLineEnd;

/// A range at least so long is handed on as it is.
pub(super) const LONG_BYTES: usize = 64;

/// After so many shorter ranges in succession mail data is condensed. Ordinary mail has one or two.
pub(super) const SHORT_RANGES_MAX: u8 = 4;

/// Where in the mail data we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In mail data, told what stands before.
    In(Before),
    /// After a dot that began a line.
    Dot,
    /// After a dot that began a line and a CR.
    DotCr,
    /// At an LF without CR, in front of which a CR was just inserted.
    BareLf,
    /// It is refused: nothing is looked for but its end, which may have begun in this tail.
    Refused(Tail),
}

/// The mail data of one DATA command while it is received.
#[derive(Debug)]
pub(super) struct MailData {
    state: State,
    bare_lf: BareLineEnd,
    bare_cr: BareLineEnd,
    /// Irregular octets without a long range between them. `<= SHORT_RANGES_MAX`
    short_ranges: u8,
}

/// What comes next in the mail data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InMailData {
    /// This range of the input is mail data.
    Data(Range<usize>),
    /// What the run of the input holds is mail data.
    Insert,
    /// A bare CR or LF that the policy rejects. It goes on from there to the true end.
    Bare,
    /// The end.
    End,
    /// All input is consumed.
    NeedInput,
}

impl MailData {
    /// At the beginning.
    pub(super) fn new(bare_lf: BareLineEnd, bare_cr: BareLineEnd) -> Self {
        Self { state: State::In(Before::LineStart), bare_lf, bare_cr, short_ranges: 0 }
    }

    /// Nothing will become of it: from here on only its end is looked for.
    pub(super) fn refuse(&mut self) {
        let before: &[u8] = match self.state {
            State::In(Before::LineStart) => b"\r\n",
            State::In(Before::Cr) => b"\r",
            State::In(Before::Middle) | State::BareLf => b"",
            State::Dot => b"\r\n.",
            State::DotCr => b"\r\n.\r",
            State::Refused(_) => return,
        };
        self.state = State::Refused(Tail::default().after(before));
    }

    /// Consumes input up to the next thing to say.
    pub(super) fn advance(&mut self, input: &mut Input<'_>) -> InMailData {
        loop {
            if self.short_ranges == SHORT_RANGES_MAX && self.condense(input) {
                return InMailData::Insert;
            }
            let rest = input.rest();
            let Some(&octet) = rest.first() else { return InMailData::NeedInput };
            match self.state {
                State::In(before) => {
                    let plain = plain_prefix(rest, before);
                    if plain > 0 {
                        if plain >= LONG_BYTES {
                            self.short_ranges = 0;
                        }
                        self.state = State::In(before.after(rest.get(..plain).unwrap_or_default()));
                        return InMailData::Data(input.consume(plain));
                    }
                    if let Some(found) = self.irregular(before, octet, input) {
                        return found;
                    }
                }
                State::Dot if octet == b'\r' => {
                    input.consume(1);
                    self.state = State::DotCr;
                }
                State::Dot => self.state = State::In(Before::Middle),
                State::DotCr if octet == b'\n' => {
                    input.consume(1);
                    return InMailData::End;
                }
                State::DotCr => {
                    self.state = State::In(Before::Cr);
                    input.supplies.run.hold(b'\r');
                    return InMailData::Insert;
                }
                State::BareLf => {
                    self.state = State::In(Before::Middle);
                    return InMailData::Data(input.consume(1));
                }
                State::Refused(tail) => {
                    let end = end_of_mail_data(rest, tail);
                    input.consume(end.unwrap_or(rest.len()));
                    if end.is_some() {
                        return InMailData::End;
                    }
                    self.state = State::Refused(tail.after(rest));
                }
            }
        }
    }

    /// Takes octets one by one as far as a run goes; false when the next one is not for a run, or gave
    /// nothing.
    fn condense(&mut self, input: &mut Input<'_>) -> bool {
        let mut place = match self.state {
            State::In(Before::LineStart) => Place::LineStart,
            State::In(Before::Middle) => Place::Middle,
            State::In(Before::Cr) => Place::Cr,
            State::Dot => Place::Dot,
            State::DotCr => Place::DotCr,
            State::BareLf | State::Refused(_) => return false,
        };
        let rules = Rules {
            normalize_lf: self.bare_lf == BareLineEnd::Normalize,
            normalize_cr: self.bare_cr == BareLineEnd::Normalize,
            dots: true,
        };
        let rest = input.rest();
        let (taken, irregular) = Table::of(rules).condense(&mut place, rest, &mut input.supplies.run);
        input.consume(taken);
        self.state = match place {
            Place::LineStart => State::In(Before::LineStart),
            Place::Middle => State::In(Before::Middle),
            Place::Cr => State::In(Before::Cr),
            Place::Dot => State::Dot,
            Place::DotCr => State::DotCr,
        };
        // A few octets at the end of a piece tell nothing. The table gives a NUL like any other octet, but at
        // the start of a line the scan stops at it, so what has one is not plain either.
        if !irregular && taken >= LONG_BYTES && memchr::memchr(0, input.supplies.run.octets()).is_none() {
            self.short_ranges = 0;
        }
        !input.supplies.run.octets().is_empty()
    }

    /// The next octet is not plain: a dot or a NUL that begins a line, an LF without CR, or something other
    /// than LF after a CR.
    fn irregular(&mut self, before: Before, octet: u8, input: &mut Input<'_>) -> Option<InMailData> {
        self.short_ranges = (self.short_ranges + 1).min(SHORT_RANGES_MAX);
        match (before, octet) {
            (Before::LineStart, b'.') => {
                input.consume(1);
                self.state = State::Dot;
                None
            }
            // Text to us; the watch of the session looks at such lines.
            (Before::LineStart, 0) => {
                self.state = State::In(Before::Middle);
                Some(InMailData::Data(input.consume(1)))
            }
            (Before::Cr, _) => {
                // What follows a bare CR begins no line, so a dot there is text.
                self.state = State::In(Before::Middle);
                Some(match self.bare_cr {
                    BareLineEnd::Reject => InMailData::Bare,
                    BareLineEnd::Normalize => {
                        input.supplies.run.hold(b'\n');
                        InMailData::Insert
                    }
                })
            }
            (Before::LineStart | Before::Middle, _) => {
                self.state = State::BareLf;
                Some(match self.bare_lf {
                    BareLineEnd::Reject => InMailData::Bare,
                    BareLineEnd::Normalize => {
                        input.supplies.run.hold(b'\r');
                        InMailData::Insert
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::supplies::Supplies;

    /// What is stored of the octets before the end, whether a bare line end was rejected, and what is left
    /// after the end.
    fn receive(octets: &[u8], policy: BareLineEnd, split: usize) -> (Vec<u8>, bool, Option<Vec<u8>>) {
        let mut data = MailData::new(policy, policy);
        let (mut stored, mut bare, mut supplies) = (Vec::new(), false, Supplies::default());
        let (first, second) = octets.split_at(split.min(octets.len()));
        let mut parts = [first, second].into_iter();
        while let Some(part) = parts.next() {
            let mut input = Input::new(part, &mut supplies);
            loop {
                match data.advance(&mut input) {
                    InMailData::Data(range) => stored.extend_from_slice(&part[range]),
                    InMailData::Insert => stored.extend_from_slice(input.supplies.run.octets()),
                    InMailData::Bare => bare = true,
                    InMailData::NeedInput => break,
                    InMailData::End => {
                        let behind = [input.rest(), parts.next().unwrap_or_default()].concat();
                        return (stored, bare, Some(behind));
                    }
                }
            }
        }
        (stored, bare, None)
    }

    fn everywhere(octets: &[u8], policy: BareLineEnd, stored: &[u8], bare: bool, behind: Option<&[u8]>) {
        for split in 0..=octets.len() {
            let expected = (stored.to_vec(), bare, behind.map(<[u8]>::to_vec));
            assert_eq!(receive(octets, policy, split), expected, "{octets:?} split at {split}");
        }
    }

    #[test]
    fn mail_data_ends_at_crlf_dot_crlf_and_nowhere_else() {
        use BareLineEnd::Reject;
        everywhere(b"a\r\n.\r\nRSET", Reject, b"a\r\n", false, Some(b"RSET"));
        everywhere(b".\r\n", Reject, b"", false, Some(b""));
        everywhere(b"a\r\n..\r\n..b\r\n.c\r\n.\r\n", Reject, b"a\r\n.\r\n.b\r\nc\r\n", false, Some(b""));
        everywhere(b"a\r\n.", Reject, b"a\r\n", false, None);
        for fake in
            [&b"a\n.\n"[..], b"a\n.\r\n", b"a\r\n.\n", b"a\r.\r", b"a\r\n.\r", b"a\r.\r\n", b"a\n\n.\r\n"]
        {
            let (_, _, behind) = receive(fake, Reject, 0);
            assert_eq!(behind, None, "{fake:?} is no end");
        }
    }

    #[test]
    fn normalized_line_ends_begin_no_line_for_transparency() {
        use BareLineEnd::Normalize;
        everywhere(b"a\n.\nb\r\n.\r\n", Normalize, b"a\r\n.\r\nb\r\n", false, Some(b""));
        everywhere(b"a\r.\rb\r\n.\r\n", Normalize, b"a\r\n.\r\nb\r\n", false, Some(b""));
        everywhere(b"a\r\n.\rb\r\n.\r\n", Normalize, b"a\r\n\r\nb\r\n", false, Some(b""));
        everywhere(b"\n\n\r\r\r\n.\r\n", Normalize, b"\r\n\r\n\r\n\r\n\r\n", false, Some(b""));
    }
}

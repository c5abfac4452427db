//! NUL in the mail data of DATA, as the client sent it.
//!
//! Some servers drop each NUL that they receive. A line that is a lone dot but for its NULs is text here; whoever sends the message on
//! sends the line as it is (only a dot at its start is doubled), and such a server would take it for the end of the mail data and what
//! follows for commands. So that line is refused, whatever else is kept.
//!
//! Mail data that the scan found plain costs nothing: no line in it begins with NUL or a dot. What is left is searched for NUL, and with
//! one the rest of the piece is walked octet by octet.

use crate::smtp::settings::NulPolicy;

/// Looks at the octets of one DATA command.
#[derive(Debug)]
pub(super) struct NulWatch {
    policy: NulPolicy,
    line: Line,
}

/// The line under way, without its NULs. A bare CR or LF ends a line, too, because it may be normalised to one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty { nul: bool },
    Dot { nul: bool },
    Other,
}

impl Line {
    fn after(self, octet: u8) -> Self {
        match (self, octet) {
            (_, b'\r' | b'\n') => Self::Empty { nul: false },
            (Self::Empty { .. }, 0) => Self::Empty { nul: true },
            (Self::Empty { nul }, b'.') => Self::Dot { nul },
            (Self::Dot { .. }, 0) => Self::Dot { nul: true },
            (Self::Empty { .. } | Self::Dot { .. } | Self::Other, _) => Self::Other,
        }
    }

    fn has_nul(self) -> bool {
        match self {
            Self::Empty { nul } | Self::Dot { nul } => nul,
            Self::Other => false,
        }
    }
}

impl NulWatch {
    /// At the beginning of mail data, where a line begins.
    pub(super) fn new(policy: NulPolicy) -> Self {
        Self { policy, line: Line::Empty { nul: false } }
    }

    /// Takes the next octets as they were sent; `is_plain`: the scan found no line in them that begins with NUL or a dot, but perhaps
    /// where they begin. True when the mail data has to be refused.
    pub(super) fn take(&mut self, octets: &[u8], is_plain: bool) -> bool {
        if is_plain && self.policy == NulPolicy::Keep {
            return self.take_plain(octets);
        }
        let nul = memchr::memchr(0, octets);
        if nul.is_some() && self.policy == NulPolicy::Reject {
            return true;
        }
        if nul.is_none() && !self.line.has_nul() {
            self.skip(octets);
            return false;
        }
        let walked = if self.line.has_nul() { 0 } else { nul.unwrap_or(0) };
        let (skipped, rest) = octets.split_at_checked(walked).unwrap_or((b"", octets));
        self.skip(skipped);
        rest.iter().any(|octet| {
            let ends = self.ends_as_dot(*octet);
            self.line = self.line.after(*octet);
            ends
        })
    }

    /// Takes octets that the scan found plain: only the line that they begin in may be a dot but for its NULs.
    fn take_plain(&mut self, octets: &[u8]) -> bool {
        let mut rest = octets;
        while self.line != Line::Other
            && let Some((&octet, behind)) = rest.split_first()
        {
            if self.ends_as_dot(octet) {
                return true;
            }
            self.line = self.line.after(octet);
            rest = behind;
        }
        self.skip(rest);
        false
    }

    /// Whether this octet ends a line that is a dot but for its NULs.
    fn ends_as_dot(&self, octet: u8) -> bool {
        matches!(octet, b'\r' | b'\n') && self.line == Line::Dot { nul: true }
    }

    /// Takes octets of which none makes a dot of a line: the last two tell where they end.
    fn skip(&mut self, octets: &[u8]) {
        let last = octets.get(octets.len().saturating_sub(2)..).unwrap_or_default();
        let before = if octets.len() > 2 { Line::Other } else { self.line };
        self.line = last.iter().fold(before, |line, octet| line.after(*octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line between CR and LF that is a dot when NULs are left away, and has some.
    fn naive(octets: &[u8]) -> bool {
        let Some(end) = octets.iter().rposition(|octet| matches!(octet, b'\r' | b'\n')) else { return false };
        octets[..end]
            .split(|octet| matches!(octet, b'\r' | b'\n'))
            .any(|line| line.contains(&0) && line.iter().filter(|octet| **octet != 0).eq([&b'.']))
    }

    /// What the scan and the watch find together: pieces are cut where a line begins with NUL or a dot.
    fn found_by_plain_pieces(octets: &[u8]) -> bool {
        let mut watch = NulWatch::new(NulPolicy::Keep);
        let mut start = 0;
        let mut end = 1;
        while start < octets.len() {
            let begins_line = |at: usize| octets[..at].ends_with(b"\r\n");
            while end < octets.len() && !(begins_line(end) && matches!(octets[end], 0 | b'.')) {
                end += 1;
            }
            if watch.take(&octets[start..end], true) {
                return true;
            }
            start = end;
            end += 1;
        }
        false
    }

    #[test]
    fn plain_pieces_tell_the_same() {
        const SYMBOLS: [&[u8]; 5] = [b"\0", b".", b"\r\n", b"x", b"\r\n."];
        let mut expected = 0;
        for number in 0..5_usize.pow(6) {
            let octets: Vec<u8> =
                (0..6).flat_map(|place| SYMBOLS[number / 5_usize.pow(place) % 5].iter().copied()).collect();
            let is_found = naive(&octets);
            expected += usize::from(is_found);
            assert_eq!(found_by_plain_pieces(&octets), is_found, "{}", octets.escape_ascii());
        }
        assert!(expected > 100, "{expected}");
    }

    fn found(policy: NulPolicy, octets: &[u8], piece: usize) -> bool {
        let mut watch = NulWatch::new(policy);
        octets.chunks(piece).any(|piece| watch.take(piece, false))
    }

    /// All sequences of seven symbols, whole and in all sizes of pieces.
    #[test]
    fn a_line_that_is_a_dot_but_for_nul_is_found_in_whatever_pieces() {
        const SYMBOLS: [u8; 5] = [0, b'.', b'\r', b'\n', b'x'];
        let mut expected = 0;
        for number in 0..5_usize.pow(7) {
            let octets: Vec<u8> = (0..7).map(|place| SYMBOLS[number / 5_usize.pow(place) % 5]).collect();
            let is_found = naive(&octets);
            expected += usize::from(is_found);
            for piece in [1, 2, 3, 4, 7] {
                assert_eq!(
                    found(NulPolicy::Keep, &octets, piece),
                    is_found,
                    "{} {piece}",
                    octets.escape_ascii()
                );
                assert_eq!(found(NulPolicy::Reject, &octets, piece), octets.contains(&0));
            }
        }
        assert!(expected > 1000, "{expected}");
    }

    #[test]
    fn it_is_found_far_inside() {
        for (start, end) in [("x", "\r\n.\0\r\n"), ("\r\n", "\n\0\0.\0\r")] {
            let octets = format!("{start}{}{end}{}", "text\r\n.x".repeat(1000), "y".repeat(1000));
            for piece in [1, 2, 3, 1000, octets.len()] {
                assert!(found(NulPolicy::Keep, octets.as_bytes(), piece), "{end:?} {piece}");
                let harmless = octets.replace('.', "..");
                assert!(!found(NulPolicy::Keep, harmless.as_bytes(), piece), "{end:?} {piece}");
            }
        }
    }
}

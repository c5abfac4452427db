//! NUL in the mail data of DATA, as the client sent it.
//!
//! Some servers drop each NUL that they receive. A line that is a lone dot but for its NULs is text here;
//! whoever sends the message on sends the line as it is (only a dot at its start is doubled), and such a
//! server would take it for the end of the mail data and what follows for commands. So that line is refused,
//! whatever else is kept.
//!
//! Mail data that the scan found plain costs nothing: no line in it begins with NUL or a dot. What is left is
//! searched for NUL, and with one the rest of the piece is walked octet by octet, by a table.

use crate::smtp::settings::NulPolicy;

/// Looks at the octets of one DATA command.
#[derive(Debug)]
pub(super) struct NulWatch {
    policy: NulPolicy,
    line: Line,
}

/// The line under way, without its NULs. A bare CR or LF ends a line, too, because it may be normalised to
/// one that does. The value is where a row of the table has the entry of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Line {
    Empty = 0,
    EmptyWithNul = 6,
    Dot = 12,
    DotWithNul = 18,
    Other = 24,
}

const LINES: [Line; 5] = [Line::Empty, Line::EmptyWithNul, Line::Dot, Line::DotWithNul, Line::Other];

/// What an octet is.
#[derive(Clone, Copy)]
enum Class {
    End = 0,
    Nul = 1,
    Dot = 2,
    Other = 3,
}

static CLASSES: [u8; 256] = {
    let mut classes = [Class::Other as u8; 256];
    classes[b'\r' as usize] = Class::End as u8;
    classes[b'\n' as usize] = Class::End as u8;
    classes[0] = Class::Nul as u8;
    classes[b'.' as usize] = Class::Dot as u8;
    classes
};

/// In an entry, beside the next state: the octet ends a line that is a dot but for its NULs.
const FOUND: u32 = 1 << 5;
const NEXT: u32 = FOUND - 1;

/// Rows by class of octet, of entries by state: no branch depends on the octets, so none of them costs more
/// than another.
static ROWS: [u32; 4] = {
    let mut rows = [0; 4];
    let mut at = 0;
    while at < LINES.len() {
        let line = LINES[at];
        rows[Class::End as usize] |= entry(line, Class::End) << line as u32;
        rows[Class::Nul as usize] |= entry(line, Class::Nul) << line as u32;
        rows[Class::Dot as usize] |= entry(line, Class::Dot) << line as u32;
        rows[Class::Other as usize] |= entry(line, Class::Other) << line as u32;
        at += 1;
    }
    rows
};

const fn entry(line: Line, class: Class) -> u32 {
    match (line, class) {
        (Line::DotWithNul, Class::End) => Line::Empty as u32 | FOUND,
        (Line::Empty | Line::EmptyWithNul | Line::Dot | Line::Other, Class::End) => Line::Empty as u32,
        (Line::Empty | Line::EmptyWithNul, Class::Nul) => Line::EmptyWithNul as u32,
        (Line::Dot | Line::DotWithNul, Class::Nul) | (Line::EmptyWithNul, Class::Dot) => {
            Line::DotWithNul as u32
        }
        (Line::Empty, Class::Dot) => Line::Dot as u32,
        (Line::Dot | Line::DotWithNul | Line::Other, Class::Dot)
        | (Line::Other, Class::Nul)
        | (Line::Empty | Line::EmptyWithNul | Line::Dot | Line::DotWithNul | Line::Other, Class::Other) => {
            Line::Other as u32
        }
    }
}

impl Line {
    /// The state after these octets, and whether one of them ends a line that is a dot but for its NULs.
    fn after(self, octets: &[u8]) -> (Self, bool) {
        let (mut state, mut found) = (self as u32, 0);
        for octet in octets {
            let entry = ROWS[usize::from(CLASSES[usize::from(*octet)] & 3)] >> state;
            found |= entry;
            state = entry & NEXT;
        }
        let number = (state / Self::EmptyWithNul as u32) as usize;
        (LINES.get(number).copied().unwrap_or(Self::Other), found & FOUND != 0)
    }

    fn has_nul(self) -> bool {
        matches!(self, Self::EmptyWithNul | Self::DotWithNul)
    }
}

impl NulWatch {
    /// At the beginning of mail data, where a line begins.
    pub(super) fn new(policy: NulPolicy) -> Self {
        Self { policy, line: Line::Empty }
    }

    /// Takes the next octets as they were sent; `is_plain`: the scan found no line in them that begins with
    /// NUL or a dot, but perhaps where they begin. `steps` grows by the octets that are walked. True when the
    /// mail data has to be refused.
    pub(super) fn take(&mut self, octets: &[u8], is_plain: bool, steps: &mut usize) -> bool {
        if is_plain && self.policy == NulPolicy::Keep {
            return self.take_plain(octets, steps);
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
        *steps += rest.len();
        self.walk(rest)
    }

    /// Takes octets that the scan found plain: only the line that they begin in may be a dot but for its
    /// NULs.
    fn take_plain(&mut self, octets: &[u8], steps: &mut usize) -> bool {
        let mut rest = octets;
        while self.line != Line::Other && !rest.is_empty() {
            if self.line.has_nul() {
                // Any number of them may follow.
                let nuls = rest.iter().take_while(|octet| **octet == 0).count();
                *steps += nuls;
                rest = rest.get(nuls..).unwrap_or_default();
            }
            let Some((octet, behind)) = rest.split_at_checked(1) else { break };
            if self.walk(octet) {
                return true;
            }
            rest = behind;
            if octet == b"\n" {
                // No later line of them begins with a dot or NUL.
                break;
            }
        }
        self.skip(rest);
        false
    }

    /// Takes octets one by one.
    fn walk(&mut self, octets: &[u8]) -> bool {
        let (line, found) = self.line.after(octets);
        self.line = line;
        found
    }

    /// Takes octets of which none makes a dot of a line: the last two tell where they end.
    fn skip(&mut self, octets: &[u8]) {
        let last = octets.get(octets.len().saturating_sub(2)..).unwrap_or_default();
        if octets.len() > 2 {
            self.line = Line::Other;
        }
        self.walk(last);
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
            if watch.take(&octets[start..end], true, &mut 0) {
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
        octets.chunks(piece).any(|piece| watch.take(piece, false, &mut 0))
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

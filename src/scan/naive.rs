//! The reference: a byte at a time, obviously right.

use super::{Before, Tail};

/// Length of the longest plain prefix. See [`super::plain_prefix`].
pub fn plain_prefix(octets: &[u8], mut before: Before) -> usize {
    for (index, &octet) in octets.iter().enumerate() {
        before = match (before, octet) {
            (Before::Cr, b'\n') => Before::LineStart,
            (Before::LineStart, b'.' | 0) | (Before::Cr, _) | (Before::LineStart | Before::Middle, b'\n') => {
                return index;
            }
            (Before::LineStart | Before::Middle, b'\r') => Before::Cr,
            (Before::LineStart | Before::Middle, _) => Before::Middle,
        };
    }
    octets.len()
}

/// Length of the longest prefix in which every CR and LF is part of a CRLF. See [`super::paired_prefix`].
pub fn paired_prefix(octets: &[u8], mut before: Before) -> usize {
    for (index, &octet) in octets.iter().enumerate() {
        before = match (before, octet) {
            (Before::Cr, b'\n') => Before::LineStart,
            (Before::Cr, _) | (Before::LineStart | Before::Middle, b'\n') => return index,
            (Before::LineStart | Before::Middle, b'\r') => Before::Cr,
            (Before::LineStart | Before::Middle, _) => Before::Middle,
        };
    }
    octets.len()
}

/// Where the mail data ends. See [`super::end_of_mail_data`].
pub fn end_of_mail_data(octets: &[u8], tail: Tail) -> Option<usize> {
    let whole = [&tail.0, octets].concat();
    let at = whole.windows(5).position(|window| window == b"\r\n.\r\n")?;
    Some(at + 5 - tail.0.len())
}

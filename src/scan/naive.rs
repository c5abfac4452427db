//! The reference: a byte at a time, obviously right.

use super::Before;

/// Length of the longest plain prefix. See [`super::plain_prefix`].
pub fn plain_prefix(octets: &[u8], mut before: Before) -> usize {
    for (index, &octet) in octets.iter().enumerate() {
        before = match (before, octet) {
            (Before::Cr, b'\n') => Before::LineStart,
            (Before::LineStart, b'.') | (Before::Cr, _) | (Before::LineStart | Before::Middle, b'\n') => {
                return index;
            }
            (Before::LineStart | Before::Middle, b'\r') => Before::Cr,
            (Before::LineStart | Before::Middle, _) => Before::Middle,
        };
    }
    octets.len()
}

//! Received octets on their way through the session.

use std::ops::Range;

use super::supplies::Supplies;

/// Octets that were received, and how far they are consumed.
#[derive(Debug)]
pub struct Input<'a> {
    /// All of them.
    pub bytes: &'a [u8],
    /// How many are consumed. `position <= bytes.len()`.
    pub position: usize,
    /// Whether further octets were already received after these.
    pub more: bool,
    /// What the octets consumed cost beyond the search in them, in steps of about a nanosecond, for whoever
    /// deals out work.
    pub steps: usize,
    /// What the session may use.
    pub supplies: &'a mut Supplies,
}

impl<'a> Input<'a> {
    /// Nothing consumed yet, nothing further received.
    pub fn new(bytes: &'a [u8], supplies: &'a mut Supplies) -> Self {
        Self { bytes, position: 0, more: false, steps: 0, supplies }
    }

    /// What is not consumed.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Consumes so many octets and says which they were.
    pub(super) fn consume(&mut self, count: usize) -> Range<usize> {
        let start = self.position;
        self.position = (start + count).min(self.bytes.len());
        start..self.position
    }
}

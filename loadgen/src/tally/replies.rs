//! Replies by code.

use std::collections::BTreeMap;

/// See the file's head.
#[derive(Debug)]
pub struct Replies([u64; Self::CODES]);

impl Replies {
    const FIRST: u16 = 200;
    const CODES: usize = 400;

    /// Counts a reply with this code; `200 <= code <= 599`, as `ReplyReader` gives it.
    pub fn count(&mut self, code: u16) {
        if let Some(count) = self.0.get_mut(usize::from(code.wrapping_sub(Self::FIRST))) {
            *count += 1;
        }
    }

    /// The codes that came, with their counts.
    pub fn by_code(&self) -> BTreeMap<u16, u64> {
        (Self::FIRST..).zip(self.0).filter(|(_, count)| *count > 0).collect()
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours += theirs;
        }
    }
}

impl Default for Replies {
    fn default() -> Self {
        Self([0; Self::CODES])
    }
}

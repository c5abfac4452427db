//! How the ledger names the text of a message: its octets, and a checksum that is cheap to compute for many
//! similar messages.
//!
//! ```text
//!   checksum(text) = CRC( CRC(rest) as 8 octets, little-endian ‖ head )
//!   head: the first two lines of the text, with their ends; rest: what follows them
//! ```
//!
//! CRC is CRC-64/XZ. Of a run's messages only the head differs for each, so the long part is summed once for
//! each variant of the corpus.

use crc::{CRC_64_XZ, Crc, Table};

static CRC_64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// Octets and checksum of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Octets.
    pub bytes: u64,
    /// Checksum as above.
    pub sum: u64,
}

impl Fingerprint {
    /// Of a whole text.
    pub fn of(text: &[u8]) -> Self {
        let mut line_ends =
            text.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1);
        let (head, rest) = text.split_at(line_ends.nth(1).unwrap_or(text.len()));
        Rest::of(rest).after(head)
    }
}

/// What a message is known by in the store: its text from the id header on, in both forms a receiver may
/// keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// As it was sent, lines ending in CRLF.
    pub crlf: Fingerprint,
    /// The same with LF for CRLF.
    pub lf: Fingerprint,
}

/// The part of a text after its first two lines.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    bytes: u64,
    sum: u64,
}

impl Rest {
    /// Of these octets.
    pub fn of(rest: &[u8]) -> Self {
        Self { bytes: rest.len() as u64, sum: CRC_64.checksum(rest) }
    }

    /// The whole text: these two lines, and then this part.
    pub fn after(self, head: &[u8]) -> Fingerprint {
        let mut digest = CRC_64.digest();
        digest.update(&self.sum.to_le_bytes());
        digest.update(head);
        Fingerprint { bytes: self.bytes + head.len() as u64, sum: digest.finalize() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_octet_and_every_swap_shows() {
        let text = b"Id: 1\r\nMessage-ID: 1\r\nSubject: x\r\n\r\ntext\r\n";
        let whole = Fingerprint::of(text);
        assert_eq!(whole.bytes, text.len() as u64);
        for at in 0..text.len() {
            let mut changed = text.to_vec();
            changed[at] ^= 1;
            assert_ne!(Fingerprint::of(&changed), whole, "octet {at}");
            assert_ne!(Fingerprint::of(&text[..at]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_text_of_less_than_two_lines_has_a_checksum_too() {
        assert_ne!(Fingerprint::of(b""), Fingerprint::of(b"one line"));
    }
}

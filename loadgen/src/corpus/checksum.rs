//! How the ledger names the text of a message: its octets, and a checksum that is cheap to compute for many
//! similar messages.
//!
//! ```text
//!   checksum(text) = CRC( CRC(rest) as 8 octets, little-endian ‖ head )
//!   head: the first two lines of the text, with their ends; rest: what follows them
//! ```
//!
//! CRC is CRC-64/XZ. Of a run's messages only the head differs for each, so the long part is summed once for
//! each variant of the corpus; where it is put together of parts, each part is.

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

/// The part of a text after its first two lines, or the end of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    bytes: u64,
    sum: u64,
    /// What a sum is multiplied with when as many octets follow: `x` to the power of their bits.
    shift: u64,
}

impl Rest {
    /// Of these octets.
    pub fn of(rest: &[u8]) -> Self {
        let bytes = rest.len() as u64;
        Self { bytes, sum: CRC_64.checksum(rest), shift: power_of_x(bytes) }
    }

    /// The part that begins with that one and ends with this one; neither is summed again.
    ///
    /// A CRC is the remainder of a polynomial. When octets follow, it is multiplied with a power of x, and
    /// theirs is added. What the algorithm puts before the first bit and into the last ones falls out.
    #[must_use]
    pub fn below(self, front: Self) -> Self {
        Self {
            bytes: front.bytes + self.bytes,
            sum: multiplied(front.sum, self.shift) ^ self.sum,
            shift: multiplied(front.shift, self.shift),
        }
    }

    /// The whole text: these two lines, and then this part.
    pub fn after(self, head: &[u8]) -> Fingerprint {
        let mut digest = CRC_64.digest();
        digest.update(&self.sum.to_le_bytes());
        digest.update(head);
        Fingerprint { bytes: self.bytes + head.len() as u64, sum: digest.finalize() }
    }
}

/// The polynomial of CRC-64/XZ without x⁶⁴; the bit of x⁰ is the highest, as in its sums.
const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;

/// The polynomial 1.
const ONE: u64 = 1 << 63;

/// The product of two polynomials modulo that of the CRC.
fn multiplied(one: u64, mut other: u64) -> u64 {
    let mut product = 0;
    for bit in (0..64).rev() {
        if one >> bit & 1 == 1 {
            product ^= other;
        }
        // Times x.
        other = other >> 1 ^ if other & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    product
}

/// `x` to the power of the bits of so many octets.
fn power_of_x(mut bytes: u64) -> u64 {
    let (mut power, mut square) = (ONE, ONE >> 8);
    while bytes > 0 {
        if bytes & 1 == 1 {
            power = multiplied(power, square);
        }
        square = multiplied(square, square);
        bytes >>= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_put_together_without_being_summed_again() {
        let octets: Vec<u8> =
            (0..4000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for at in [0, 1, 2, 63, 64, 65, 1000, 3999, 4000] {
            let (front, rest) = octets.split_at(at);
            assert_eq!(Rest::of(rest).below(Rest::of(front)), Rest::of(&octets), "cut at {at}");
            for second in [at / 2, at / 3] {
                let parts = [&octets[..second], &octets[second..at], &octets[at..]].map(Rest::of);
                let [first, middle, last] = parts;
                assert_eq!(last.below(middle).below(first), Rest::of(&octets), "cut at {second} and {at}");
                assert_eq!(last.below(middle.below(first)), Rest::of(&octets), "cut at {second} and {at}");
            }
        }
    }

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

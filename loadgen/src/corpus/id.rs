//! Names of messages: what stands in the head of each, and how it is found again in a store.

use std::fmt;
use std::str::FromStr;

/// Name of a message: what stands in its `X-Loadgen-Id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The run.
    pub run: u64,
    /// The message of that run.
    pub number: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.run, self.number)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, number) = text.split_once('-').ok_or(())?;
        Ok(Self { run: digits(run).ok_or(())?, number: digits(number).ok_or(())? })
    }
}

/// Sixteen lower-case hexadecimal digits, and nothing else.
pub fn digits(text: &str) -> Option<u64> {
    let plain = text.len() == 16 && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

/// The message that stored octets name, and where its text begins: at the first line that is a whole id
/// header.
pub fn find_id(stored: &[u8]) -> Option<(Id, usize)> {
    let mut at = 0;
    for line in stored.split_inclusive(|octet| *octet == b'\n') {
        let id = line.strip_prefix(ID_NAME).and_then(|rest| str::from_utf8(rest.trim_ascii_end()).ok());
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            return Some((id, at));
        }
        at += line.len();
    }
    None
}

/// The name of the id header.
pub const ID_NAME: &[u8] = b"X-Loadgen-Id: ";
/// Between the two ids of a head.
pub const MESSAGE_ID: &[u8] = b"\r\nMessage-ID: <";
/// After the second one.
pub const HEAD_END: &[u8] = b"@loadgen.test>\r\n";
/// Octets of a number as [`hexadecimal`] writes it.
pub const NUMBER_BYTES: usize = 16;

/// Sixteen digits: the formatting machinery would cost more than the rest of the head.
pub fn hexadecimal(number: u64) -> [u8; NUMBER_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let octets = number.to_be_bytes();
    std::array::from_fn(|at| {
        let octet = octets[at / 2];
        DIGITS[usize::from(if at % 2 == 0 { octet >> 4 } else { octet & 15 })]
    })
}

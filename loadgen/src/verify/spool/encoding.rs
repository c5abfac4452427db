//! Numbers and checksums as `docs/spool.md` writes them.

use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C.
pub static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The number of 4 octets that begins there. Panics beyond the end.
pub fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| octets[at + index]))
}

/// The number of 8 octets that begins there. Panics beyond the end.
pub fn u64_at(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| octets[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_one_of_the_document() {
        assert_eq!(CRC_32C.checksum(b"123456789"), 0xE306_9283);
    }
}

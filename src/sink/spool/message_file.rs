//! The file of a large message, as its record tells of it.

/// A file beside the segments that goes on where the content in the record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFile {
    /// Octets of the file.
    pub bytes: u64,
    /// CRC-32C of all of them.
    pub crc32c: u32,
}

/// The name of the file that belongs to the record at this place.
pub fn message_file_name(sequence: u64, offset: u64) -> String {
    format!("{sequence:016x}-{offset:016x}.message")
}

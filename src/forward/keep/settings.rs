//! How a keeper keeps.

/// Sizes of what a keeper writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Octets of a segment of `later/` and `dead/`.
    pub segment_bytes: u64,
    /// Copied octets in memory at a time; a message of more is copied alone.
    pub copy_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, copy_bytes: 16 * 1024 * 1024 }
    }
}

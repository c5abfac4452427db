//! Which messages a station sees, and for how long.

use std::time::Duration;

use crate::handoff::station::Passage;

/// Which messages a station sees, and for how long.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Messages of clients that are trusted pass by it.
    pub skips_trusted: bool,
    /// Larger messages pass by it, in octets of mail data.
    pub bytes_max: u64,
    /// It has so long for a message.
    pub timeout: Duration,
    /// What becomes of a message that it has no room or no time for.
    pub otherwise: Passage,
}

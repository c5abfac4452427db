//! Why a filter gives no ruling.

use std::io;

/// Why there is no ruling.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The filter is not there, hangs, or makes no sense.
    Host(String),
    /// A connection that was kept turned out to be closed: a new one may do.
    Stale(String),
    /// It is about this message alone.
    Message(String),
}

impl Trouble {
    pub(super) fn host(error: io::Error) -> Self {
        Self::Host(error.to_string())
    }

    pub(super) fn message(error: io::Error) -> Self {
        Self::Message(error.to_string())
    }
}

//! Why mail data could not be written out.

use std::io;

/// Why mail data could not be written out.
#[derive(Debug)]
pub enum SpillError {
    /// The budget for spill files is used up.
    Budget,
    /// The client's share of it is used up.
    Share,
    /// The file system has no room beyond its reserve.
    Space,
    /// The file system failed.
    Machine(io::Error),
}

impl From<io::Error> for SpillError {
    fn from(error: io::Error) -> Self {
        Self::Machine(error)
    }
}

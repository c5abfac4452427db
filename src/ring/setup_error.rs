//! Why a ring could not be made or driven.

use std::fmt;
use std::io;

/// The step that fails where a turn cannot have a least time.
pub(super) const BATCH_WAIT: &str = "batch_wait";

/// Why a ring could not be made or driven.
#[derive(Debug)]
pub struct SetupError {
    /// The step that failed.
    pub step: &'static str,
    /// What the kernel said.
    pub error: io::Error,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for SetupError {}

//! The error of a run that this machine does not let happen.

use std::fmt;

/// This machine does not let the run happen, or stopped it.
#[derive(Debug)]
pub struct MachineError(pub String);

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MachineError {}

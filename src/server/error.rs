//! Why the server could not start or had to stop.

use std::{fmt, io};

/// Why the server could not start or had to stop. Says what happened, to what, and what to do.
#[derive(Debug)]
pub struct ServeError(String);

impl ServeError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The machine refused a step of the start.
    pub(super) fn of_machine(step: &str, error: &io::Error) -> Self {
        Self(format!("{step}: {error}"))
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

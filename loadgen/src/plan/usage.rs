//! The error of arguments that make no run.

/// Arguments that make no run.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

/// The error of arguments that make no run.
pub fn wrong<T>(message: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(message.into()))
}

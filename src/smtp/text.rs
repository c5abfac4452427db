//! Formatted text at the end of octets, without an allocation of its own.

use std::fmt;

/// Appends what is written to it. Never fails.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl Text<'_> {
    /// Appends `value` as it is shown.
    pub(super) fn push(&mut self, value: impl fmt::Display) {
        // Only a `Display` that gives up by itself could fail; numbers and addresses do not.
        let _ = fmt::Write::write_fmt(self, format_args!("{value}"));
    }
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

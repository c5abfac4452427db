//! The values that only a restart changes, noted as their keys are read.

use std::fmt;

/// A value that only a restart changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    /// The dotted key.
    pub(super) key: String,
    /// What tells its table from others of its name.
    pub(super) place: Option<String>,
    /// Where the file gives it, or its table.
    pub(super) line: Option<usize>,
    /// As it would be written, or the default.
    pub(super) value: String,
}

/// Those of a configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct FixedKeys(pub(super) Vec<Fixed>);

/// They say again what the configuration says, and where it stands.
impl fmt::Debug for FixedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedKeys")
    }
}

//! What the tests share: the program run to its end, and servers for it.

pub(crate) mod ended;
pub(crate) mod other;
pub(crate) mod postfix;
// The receiver's tests have it, too; their crate needs much that these do not.
#[path = "../../../../tests/support/python.rs"]
pub(crate) mod python;
pub(crate) mod secure;
pub(crate) mod server;

use std::path::Path;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

/// What a run wrote as JSON.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a report")).expect("JSON")
}

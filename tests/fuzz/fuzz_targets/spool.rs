//! Segments, message files and cursors of a spool: only whole records are told, and all that reads a spool says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../support/spool_octets.rs"]
#[allow(dead_code, reason = "shared with tests that do more")]
mod spool_octets;

fuzz_target!(|input: &[u8]| spool_octets::check(input));

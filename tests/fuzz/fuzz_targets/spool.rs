//! Segments, message files and cursors of a spool: only whole records are told, and all that reads a spool
//! says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::spool_octets;

fuzz_target!(|input: &[u8]| spool_octets::check(input));

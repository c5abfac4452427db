//! Mail data in chunks: stored as a naive reader says, however it is cut and arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::reference;

fuzz_target!(|input: &[u8]| reference::check_chunks(input));

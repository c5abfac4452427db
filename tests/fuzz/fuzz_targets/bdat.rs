//! Mail data in chunks: stored as a naive reader says, however it is cut and arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../support/exchange.rs"]
mod exchange;
#[path = "../../support/reference.rs"]
#[allow(dead_code, reason = "shared with tests that do more")]
mod reference;

fuzz_target!(|input: &[u8]| reference::check_chunks(input));

//! DMARC records of a domain and those above it, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::auth::fuzzing::check_dmarc;

fuzz_target!(|input: &[u8]| check_dmarc(input));

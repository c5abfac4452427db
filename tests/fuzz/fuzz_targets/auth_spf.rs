//! SPF records, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::auth::fuzzing::check_spf;

fuzz_target!(|input: &[u8]| check_spf(input));

//! Values of Authentication-Results fields, and what is written into ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::auth::fuzzing::check_results;

fuzz_target!(|input: &[u8]| check_results(input));

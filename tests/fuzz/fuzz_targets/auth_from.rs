//! Values of From: fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::auth::fuzzing::check_from;

fuzz_target!(|input: &[u8]| check_from(input));

//! Milters, against a naive reader of what was said and what they answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::filter::milter::fuzzing::check_milter;

fuzz_target!(|input: &[u8]| check_milter(input));

//! A record of a key, NUL, and the value of a DKIM-Signature.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::auth::fuzzing::check_signature;

fuzz_target!(|input: &[u8]| check_signature(input));

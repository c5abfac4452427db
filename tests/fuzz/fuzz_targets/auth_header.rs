//! Header sections: their fields, whose message it is, which fields are forged, and chains of ARC, against naive readers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::auth::fuzzing::check_header;

fuzz_target!(|input: &[u8]| check_header(input));

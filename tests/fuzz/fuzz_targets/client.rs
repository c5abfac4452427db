//! Sessions of the client, against a naive reader that counts commands and replies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::client::fuzzing::check_session;

fuzz_target!(|input: &[u8]| check_session(input));

//! Whole sessions: the input is a list of operations with the places where the octets are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::reference;

fuzz_target!(|input: &[u8]| reference::check_session(input));

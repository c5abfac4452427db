//! TLS: any octets, and what a client sends with changes, behind a handshake and in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::tls::fuzzing::check;

fuzz_target!(|input: &[u8]| check(input));

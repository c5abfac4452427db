//! TLS: any octets, and what a client sends with changes, behind a handshake and in it.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringmx::tls::fuzzing::check;
use trusting::Trusting;

fuzz_target!(|input: &[u8]| check(input, |schemes| Arc::new(Trusting(schemes))));

//! Sessions of a trusted front, as the target `session` has them, and each XCLIENT by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::fuzzing::check_xclient;
use support::reference;

fuzz_target!(|input: &[u8]| {
    let Some((bits, rest)) = input.split_first() else { return };
    for line in rest.split(|octet| *octet == b'\n') {
        check_xclient(line.strip_prefix(b"XCLIENT ").unwrap_or(line));
    }
    reference::check_session(&[&[bits | reference::IS_FRONT], rest].concat());
});

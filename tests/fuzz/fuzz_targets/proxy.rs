//! PROXY headers of versions 1 and 2, against a reader that has all octets at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::fuzzing::check_proxy_header;

// The first two octets are how large the pieces are.
fuzz_target!(|input: &[u8]| {
    let [first, second, octets @ ..] = input else { return };
    check_proxy_header(octets, &[usize::from(*first), usize::from(*second)]);
});

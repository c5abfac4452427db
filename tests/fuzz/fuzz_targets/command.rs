//! Command lines: the reader of lines against a naive one at every kind of split, then each line by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::fuzzing::{check_command, check_lines};

// The first octet is the limit of a line, the second how large the pieces are.
fuzz_target!(|input: &[u8]| {
    let [limit, size, octets @ ..] = input else { return };
    check_lines(octets, &[usize::from(*size), 3], usize::from(*limit).max(4));
    for line in octets.split(|octet| *octet == b'\n') {
        check_command(line.strip_suffix(b"\r").unwrap_or(line));
    }
});

//! Responses of rspamd, against a naive reader, and what their answers become.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::filter::rspamd::fuzzing::check_rspamd;

fuzz_target!(|input: &[u8]| check_rspamd(input));

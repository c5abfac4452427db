//! Files of recipients: each line is an entry, or nothing, or told, and RCPT takes whom an entry names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::operator_files;

fuzz_target!(|octets: &[u8]| operator_files::check_recipients(octets));

//! Files of recipients: each line is an entry, or nothing, or told, and RCPT takes whom an entry names.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../support/exchange.rs"]
mod exchange;
#[path = "../../support/operator_files.rs"]
#[allow(dead_code, reason = "shared with tests that do more")]
mod operator_files;

fuzz_target!(|octets: &[u8]| operator_files::check_recipients(octets));

//! What stands behind `FROM:` or `TO:`, against a reader of the grammar from the left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::fuzzing::check_path;

fuzz_target!(|text: &[u8]| check_path(text));

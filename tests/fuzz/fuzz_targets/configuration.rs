//! Configurations: any text, and the reference of `ringmx config` with changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::operator_files;

// An octet of 0 in front: what follows are changes of the reference.
fuzz_target!(|input: &[u8]| {
    let text = match input {
        [0, changes @ ..] => operator_files::changed_reference(changes),
        text => String::from_utf8_lossy(text).into_owned(),
    };
    operator_files::check_configuration(&text);
});

//! Mail data of DATA, against a naive reader: its end, transparency, bare CR and LF, at every kind of split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::settings::BareLineEnd;
use ringmx::smtp::fuzzing::check_mail_data;

// The first octet is the policy, the next two how large the pieces are.
fuzz_target!(|input: &[u8]| {
    let [policy, first, second, octets @ ..] = input else { return };
    let policy = |bit| if policy & bit == 0 { BareLineEnd::Reject } else { BareLineEnd::Normalize };
    check_mail_data(octets, &[usize::from(*first), usize::from(*second)], policy(1), policy(2));
});

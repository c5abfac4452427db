//! What holds whatever a server sends: claims that the fuzz target shares.

use proptest::prelude::*;

use crate::client::fuzzing::check_session;

/// What a server says that knows its part, mostly.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let offers = prop_oneof![
        4 => Just("PIPELINING\r\n250 CHUNKING"),
        4 => Just("PIPELINING\r\n250 8BITMIME"),
        2 => Just("CHUNKING\r\n250 HELP"),
        1 => Just("STARTTLS\r\n250 PIPELINING"),
        1 => Just("XCLIENT ADDR HELO\r\n250 PIPELINING"),
        1 => Just("LIMITS RCPTMAX=2 MAILMAX=2\r\n250 PIPELINING"),
    ];
    let opening = offers.prop_map(|offers| format!("220 mx\r\n\x1b250-mx\r\n250-{offers}\r\n\x1b"));
    let recipient = prop_oneof![
        6 => Just("250 ok\r\n"),
        1 => Just("550 5.1.1 no\r\n"),
        1 => Just("552 too many\r\n"),
    ];
    let recipients = prop::collection::vec(recipient, 3).prop_map(|replies| replies.concat());
    let end = prop_oneof![
        4 => Just("250 2.0.0 queued\r\n"),
        2 => Just("250-lines\r\n250 queued\r\n"),
        1 => Just("451 4.3.0 trouble\r\n"),
        1 => Just("554 5.6.0 spam\r\n"),
    ];
    let ends = prop::collection::vec(end, 0..4).prop_map(|replies| replies.concat());
    let before = prop_oneof![3 => Just(""), 1 => Just("250 reset\r\n")];
    // ESC ends a piece: what comes after it may answer what was said before it.
    let data = prop_oneof![2 => Just(""), 2 => Just("354 go\r\n\x1b"), 1 => Just("354 go\r\n")];
    let transaction = (before, recipients, data, ends).prop_map(|(before, recipients, data, ends)| {
        format!("{before}250 ok\r\n{recipients}{data}{ends}\x1b")
    });
    let odd = prop_oneof![
        prop_oneof![Just("421 bye\r\n"), Just("250-"), Just("250 "), Just("\r\n"), Just("\n"), Just("\0")],
        prop_oneof![Just("999 x\r\n"), Just("220 mx\r\n"), Just("503 what\r\n"), Just("354 go\r\n")],
    ];
    let part = prop_oneof![8 => transaction, 1 => odd.prop_map(str::to_owned), 1 => Just(String::new())];
    let session = (opening, prop::collection::vec(part, 0..6));
    session.prop_map(|(opening, parts)| (opening + &parts.concat()).into_bytes())
}

/// One octet becomes another one, or none does.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    (octets(), any::<prop::sample::Index>(), prop_oneof![5 => Just(None), 1 => any::<u8>().prop_map(Some)])
        .prop_map(|(mut octets, at, change)| {
            if let Some(octet) = change {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            octets
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2048 },
        failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
        ..ProptestConfig::default()
    })]
    #[test]
    fn claims_on_sessions_hold(settings: u8, size in prop_oneof![Just(0), 1..60_u8], octets in changed()) {
        check_session(&[&[settings, size], &octets[..]].concat());
    }

    #[test]
    fn claims_on_any_octets_hold(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        check_session(&octets);
    }
}

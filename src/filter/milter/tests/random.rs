//! What holds whatever a milter sends: claims that the fuzz target shares.

use proptest::prelude::*;

use crate::filter::milter::fuzzing::check_milter;

/// A packet in the form of the claims.
fn packet(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(data.len()).expect("short");
    [&[length, code], data].concat()
}

/// What a milter says that knows its part, mostly.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let options = prop_oneof![
        4 => Just(0_u32),
        2 => Just(0x37f),
        2 => Just(0x000d_f080),
        2 => Just(0x1_0080),
        1 => any::<u32>().prop_map(|bits| bits & 0x101f_f7ff),
    ];
    let opening = (
        prop_oneof![6 => Just(6_u32), 1 => 2..6_u32],
        prop_oneof![4 => Just(0x21_u32), 1 => 0..0x22_u32],
        options,
    )
        .prop_map(|(version, actions, options)| {
            packet(b'O', &[version, actions, options].map(u32::to_be_bytes).concat())
        });
    let answer = prop_oneof![
        14 => Just(packet(b'c', b"")),
        1 => Just(packet(b'a', b"")),
        1 => Just(packet(b'r', b"")),
        1 => Just(packet(b't', b"")),
        1 => Just(packet(b'd', b"")),
        1 => Just(packet(b's', b"")),
        1 => Just(packet(b'p', b"")),
        1 => Just(packet(b'y', b"550-5.7.1 a\r\n550 5.7.1 b\0")),
    ];
    let value = prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), any::<u8>()], 0..12);
    let edit = prop_oneof![
        value.clone().prop_map(|mut value| {
            value.retain(|octet| *octet != 0);
            packet(b'h', &[&b"X-A\0"[..], &value, b"\0"].concat())
        }),
        value.prop_map(|mut value| {
            value.retain(|octet| *octet != 0);
            packet(b'i', &[&b"\0\0\0\x01X-B\0"[..], &value, b"\0"].concat())
        }),
        Just(packet(b'q', b"odd\0")),
        Just(packet(b'p', b"")),
    ];
    let odd = prop_oneof![
        Just(packet(b'4', b"")),
        Just(packet(b'b', b"new")),
        Just(packet(b'w', b"")),
        Just(packet(b'c', b"x")),
        Just(packet(b'O', b"")),
        Just(packet(b'h', b"A\nB\0\0")),
    ];
    let part = prop_oneof![12 => answer, 6 => edit, 1 => odd];
    (opening, prop::collection::vec(part, 0..40))
        .prop_map(|(opening, parts)| [opening, parts.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2048 },
        failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
        ..ProptestConfig::default()
    })]
    #[test]
    fn claims_on_milters_hold(settings in 0..4_u8, size in 0..20_u8, octets in octets()) {
        check_milter(&[&[settings & 2, size], &octets[..]].concat());
    }

    #[test]
    fn claims_on_any_octets_hold(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        check_milter(&octets);
    }
}

//! Octets cut anywhere, changed, made up.

use std::io::Write;

use proptest::prelude::*;
use rustls::version;

use super::super::{State, Tls};
use super::{OPTIONS, Pair, client, client_config, server};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_change_nothing(
        cut in 1_usize..5000,
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 1..5),
        tls12: bool,
    ) {
        let version = if tls12 { &version::TLS12 } else { &version::TLS13 };
        let mut pair = Pair::new(&server(OPTIONS), client(client_config(&[version]), "mx.test"));
        pair.run(cut).expect("a handshake");
        for text in &texts {
            pair.client.writer().write_all(text).expect("memory");
            pair.run(cut).expect("good");
        }
        prop_assert_eq!(&pair.received, &texts.concat());
        prop_assert_eq!(pair.server.held_bytes(), 0);
    }

    /// Real records in which one octet is another one, in fragments of any size, with an attempt to speak
    /// after each part.
    #[test]
    fn speaking_and_closing_are_possible_at_any_moment(
        cut in 1_usize..600, fragment in 32_usize..400, at in 0_usize..2000, change: u8, tls12: bool,
    ) {
        let version = if tls12 { &version::TLS12 } else { &version::TLS13 };
        let mut config = client_config(&[version]);
        config.max_fragment_size = Some(fragment);
        let mut client = client(config, "mx.test");
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        if let Some(octet) = wire.get_mut(at) {
            *octet ^= change;
        }
        let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
        let mut out = Vec::new();
        for part in wire.chunks_mut(cut) {
            if tls.receive(part, &mut out, |_| {}).is_err() {
                break;
            }
            prop_assert!(tls.send(b"421\r\n", &mut out).is_err());
            tls.close(&mut out);
        }
    }

    #[test]
    fn any_octets_end_in_a_failure_or_wait(octets in prop::collection::vec(any::<u8>(), 0..3000), cut in 1_usize..3000) {
        let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
        let mut octets = octets;
        for part in octets.chunks_mut(cut) {
            if tls.receive(part, &mut Vec::new(), |_| panic!("plaintext from nothing")).is_err() {
                break;
            }
        }
        prop_assert_ne!(tls.state(), State::Established);
    }
}

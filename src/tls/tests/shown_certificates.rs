//! What a client's certificates may cost: their number, the octets that a connection keeps of them, sessions
//! that hold them.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, version};

use super::{OPTIONS, Options, Pair, Trusting, client, server};
use crate::limits::{CLIENT_CERTIFICATES_MAX, HANDSHAKE_BYTES_FREE};
use crate::tls::context::provider;
use crate::tls::{Cause, State, self_signed};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A client that shows its own certificate and so many more of so many octets.
fn showing(version: &'static rustls::SupportedProtocolVersion, more: usize, bytes: usize) -> ClientConfig {
    let made = self_signed::make(&["client.test".to_owned()]).expect("made");
    let (mut chain, key) = made.der().expect("DER");
    chain.extend((0..more).map(|_| CertificateDer::from(vec![b'x'; bytes])));
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .expect("good")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes)))
        .with_client_auth_cert(chain, key)
        .expect("a certificate")
}

#[test]
fn thousands_of_certificates_are_refused_and_no_chain_is() {
    let server = server(OPTIONS);
    for version in VERSIONS {
        let mut pair =
            Pair::new(&server, client(showing(version, CLIENT_CERTIFICATES_MAX - 1, 100), "mx.test"));
        pair.run(usize::MAX).expect("a handshake");
        for count in [CLIENT_CERTIFICATES_MAX, 10_000] {
            let mut pair = Pair::new(&server, client(showing(version, count, 1), "mx.test"));
            let failure = pair.run(usize::MAX).expect_err("too many");
            assert_eq!(failure.cause(), Cause::Misbehaved, "{count}");
        }
    }
}

#[test]
fn large_certificates_count_as_held_and_usual_ones_do_not() {
    const LARGE: usize = 15_000;
    let server = server(OPTIONS);
    for version in VERSIONS {
        let mut usual = Pair::new(&server, client(showing(version, 2, 900), "mx.test"));
        usual.run(usize::MAX).expect("a handshake");
        assert_eq!(usual.server.held_bytes(), 0);
        let mut large = Pair::new(&server, client(showing(version, 3, LARGE), "mx.test"));
        large.run(usize::MAX).expect("a handshake");
        let held = large.server.held_bytes();
        assert!((3 * LARGE - HANDSHAKE_BYTES_FREE..4 * LARGE).contains(&held), "{held}");
    }
}

/// In the handshake nobody can ask the library what it keeps, so what was received counts.
#[test]
fn a_handshake_that_stops_after_large_certificates_counts_as_held() {
    const LARGE: usize = 15_000;
    let server = server(OPTIONS);
    let mut pair = Pair::new(&server, client(showing(&version::TLS13, 3, LARGE), "mx.test"));
    let mut wire = Vec::new();
    pair.client.write_tls(&mut wire).expect("memory");
    pair.server.receive(&mut wire, &mut pair.to_client, |_| ()).expect("a first flight");
    pair.client.read_tls(&mut &pair.to_client[..]).expect("memory");
    pair.client.process_new_packets().expect("good records");
    wire.clear();
    while pair.client.wants_write() {
        pair.client.write_tls(&mut wire).expect("memory");
    }
    // All but the last record, which ends the handshake.
    let end = wire.len() - 80;
    pair.server.receive(&mut wire[..end], &mut Vec::new(), |_| ()).expect("it is awaited");
    assert_eq!(pair.server.state(), State::Handshaking);
    assert!(pair.server.held_bytes() > 3 * LARGE, "{}", pair.server.held_bytes());
}

#[test]
fn a_session_is_kept_to_be_resumed_unless_it_holds_large_certificates() {
    let server = server(Options { tickets: false, ..OPTIONS });
    let resumes = |config: ClientConfig| {
        let config = Arc::new(config);
        let handshake = || {
            let name = "mx.test".try_into().expect("a name");
            let client = rustls::ClientConnection::new(Arc::clone(&config), name).expect("a client");
            let mut pair = Pair::new(&server, client);
            pair.run(usize::MAX).expect("a handshake");
            pair.server.facts().expect("established").resumed
        };
        assert!(!handshake());
        handshake()
    };
    assert!(resumes(super::client_config(&[&version::TLS12])));
    assert!(resumes(showing(&version::TLS12, 0, 0)), "a small certificate");
    assert!(
        !resumes(showing(&version::TLS12, 3, 15_000)),
        "45 KB a session, of which there may be thousands"
    );
}

//! Channels in memory, against the server's side of rustls.

use std::io::Read;

use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::tls::Tls;
use crate::tls::mode::{Mode, Version};

/// A channel, and the server at its other end.
struct Ends {
    channel: Channel,
    server: ServerConnection,
}

/// What a server shows and keeps, and what its clients begin with.
struct World {
    tls: Tls,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl World {
    /// A full handshake of any version, and every certificate is trusted.
    fn new() -> Self {
        Self::with(None, false, None)
    }

    fn with(version: Option<Version>, resumption: bool, roots: Option<RootCertStore>) -> Self {
        let (chain, key) =
            ringmx::tls::self_signed::make(&["mx.test".to_owned()]).and_then(|made| made.der()).expect("one");
        let server = ServerConfig::builder_with_provider(ringmx::tls::context::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let name = ServerName::try_from("mx.test").expect("a name");
        let tls = Tls::new(Mode::Implicit, name, roots, resumption, version).expect("TLS");
        Self { client: tls.config_of_thread(), tls, server: Arc::new(server) }
    }

    fn connect(&self) -> Ends {
        Ends {
            channel: Channel::new(&self.client, &self.tls.name, Instant::now()).expect("a channel"),
            server: ServerConnection::new(Arc::clone(&self.server)).expect("a server"),
        }
    }

    /// What a handshake negotiated, and whether it resumed; tickets were taken, too.
    fn handshake(&self, portion: usize) -> (Ends, (Negotiated, bool)) {
        let mut ends = self.connect();
        let mut established = None;
        for _ in 0..4 {
            let mut sent = Vec::new();
            ends.channel.take_pending(&mut sent);
            ends.serve(&sent);
            for portion in ends.answer().chunks(portion) {
                let mut octets = portion;
                while !octets.is_empty() {
                    ends.channel.receive(&mut octets).expect("received");
                    established = ends.channel.take_established().or(established);
                }
            }
        }
        (ends, established.expect("a handshake"))
    }
}

impl Ends {
    fn serve(&mut self, mut octets: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        while !octets.is_empty() {
            self.server.read_tls(&mut octets).expect("read");
            // After a failure it has an alert to send.
            let _ = self.server.process_new_packets();
            let _ = self.server.reader().read_to_end(&mut plaintext);
        }
        plaintext
    }

    fn answer(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut octets).expect("written");
        }
        octets
    }
}

#[test]
fn a_handshake_may_be_split_anywhere_and_tells_what_was_negotiated() {
    let world = World::new();
    for portion in [1, 7, 4096] {
        let (ends, (negotiated, resumed)) = world.handshake(portion);
        assert!(ends.channel.is_established() && !resumed);
        assert_eq!((negotiated.version, negotiated.group), ("TLSv1.3", Some("X25519MLKEM768")));
        assert!(negotiated.cipher.starts_with("TLS_AES_"), "{negotiated}");
    }
    assert_eq!(World::with(Some(Version::Tls12), false, None).handshake(1).1.0.version, "TLSv1.2");
}

#[test]
fn sessions_are_resumed_only_if_that_was_asked_for() {
    for version in [Version::Tls12, Version::Tls13] {
        for expected in [false, true] {
            let world = World::with(Some(version), expected, None);
            let resumed: Vec<bool> = (0..3).map(|_| world.handshake(4096).1.1).collect();
            assert_eq!(resumed, [false, expected, expected], "{version:?}");
            // Another thread has sessions of its own.
            let other = World { client: world.tls.config_of_thread(), ..world };
            assert!(!other.handshake(4096).1.1);
        }
    }
}

#[test]
fn mail_data_of_any_size_goes_in_portions_and_arrives_whole() {
    let (mut ends, _) = World::new().handshake(4096);
    for length in [0, 1, PORTION_BYTES, PORTION_BYTES + 1, 3 * PORTION_BYTES + 5] {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let body: &'static [u8] = body.leak();
        let (mut arrived, mut sends) = (Vec::new(), 0);
        let mut octets = Vec::new();
        ends.channel.say(b"head", body, &mut octets).expect("encrypted");
        loop {
            sends += 1;
            assert!(octets.len() < PORTION_BYTES + 1024, "{}", octets.len());
            arrived.extend(ends.serve(&octets));
            octets.clear();
            assert!(ends.channel.take_carries() && !ends.channel.take_carries());
            if !ends.channel.has_rest() {
                break;
            }
            ends.channel.say_rest(&mut octets).expect("encrypted");
        }
        assert!(arrived == [b"head", body].concat());
        assert_eq!(sends, length.div_ceil(PORTION_BYTES).max(1));
    }
}

#[test]
fn replies_come_out_and_the_end_is_told() {
    let (mut ends, _) = World::new().handshake(4096);
    ends.server.writer().write_all(b"250 ok\r\n221 bye\r\n").expect("written");
    ends.server.send_close_notify();
    let octets = ends.answer();
    let mut plaintext = Vec::new();
    for octet in octets.chunks(1) {
        assert!(!ends.channel.is_ended());
        ends.channel.receive(&mut &*octet).expect("received");
        ends.channel.take_plaintext(|octets| plaintext.extend_from_slice(octets));
    }
    assert!(ends.channel.is_ended() && plaintext == b"250 ok\r\n221 bye\r\n");
}

#[test]
fn close_notify_is_said_once_and_not_in_a_handshake() {
    let world = World::new();
    let (mut ends, _) = world.handshake(4096);
    let mut octets = Vec::new();
    ends.channel.close(&mut octets);
    assert!(!octets.is_empty());
    ends.serve(&octets);
    assert!(ends.server.process_new_packets().expect("no error").peer_has_closed());
    octets.clear();
    ends.channel.close(&mut octets);
    let mut silent = world.connect();
    silent.channel.take_pending(&mut Vec::new());
    silent.channel.close(&mut octets);
    assert!(octets.is_empty());
}

#[test]
fn a_certificate_of_another_is_refused_with_an_alert() {
    let other = ringmx::tls::self_signed::make(&["mx.test".to_owned()]).and_then(|made| made.der());
    let mut roots = RootCertStore::empty();
    for certificate in other.expect("a certificate").0 {
        roots.add(certificate).expect("a root");
    }
    let mut ends = World::with(None, false, Some(roots)).connect();
    let mut octets = Vec::new();
    ends.channel.take_pending(&mut octets);
    ends.serve(&octets);
    let answer = ends.answer();
    let mut rest = &answer[..];
    let error = loop {
        match ends.channel.receive(&mut rest) {
            Ok(()) => assert!(!rest.is_empty(), "it was taken"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
    assert!(ends.channel.take_established().is_none());
    octets.clear();
    ends.channel.close(&mut octets);
    // An alert is a record of type 21, or disguised as one of type 23.
    assert!(!octets.is_empty());
}

#[test]
fn plaintext_in_place_of_a_handshake_fails() {
    let mut ends = World::new().connect();
    let mut octets: &[u8] = b"220 mx.test ESMTP\r\n";
    let received = ends.channel.receive(&mut octets);
    assert!(matches!(received, Err(rustls::Error::InvalidMessage(_))), "{received:?}");
    ends.channel.take_plaintext(|octets| panic!("{octets:?}"));
}

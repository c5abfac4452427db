//! Client and server in one thread.

mod any_octets;
mod shown_certificates;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, SignatureScheme, version};
use trusting::Trusting;

use super::certificate::{Certificate, CheckError};
use super::context::{TlsContext, provider};
use super::{Cause, State, Tls, self_signed};
use crate::config::{self, CertificateFiles, Config, TlsVersion};
use crate::smtp::settings::TlsPolicy;

/// What differs between the servers of these tests.
#[derive(Clone, Copy)]
struct Options {
    minimum: TlsVersion,
    tickets: bool,
    policy: TlsPolicy,
}

const OPTIONS: Options = Options { minimum: TlsVersion::Tls12, tickets: false, policy: TlsPolicy::Offered };

/// A folder with certificates for these names.
fn folder(names: &[&str]) -> (tempfile::TempDir, config::Tls) {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let [chain, key] = ["pem", "key"].map(|end| folder.path().join(format!("{number}.{end}")));
            write_certificate(&chain, &key, name);
            CertificateFiles { chain, key }
        })
        .collect();
    (folder, config::Tls { certificates, ..config::Tls::default() })
}

fn write_certificate(chain: &Path, key: &Path, name: &str) {
    let made = self_signed::make(&[name.to_owned()]).expect("made");
    std::fs::write(chain, made.chain).expect("written");
    std::fs::write(key, made.key).expect("written");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(key, closed).expect("closed");
}

fn server(options: Options) -> Arc<rustls::ServerConfig> {
    let (_folder, mut tls) = folder(&["mx.test", "*.other.test"]);
    tls.minimum = options.minimum;
    let (context, notes) = TlsContext::open(&tls, "mx.test").expect("good certificates");
    assert!(notes.is_empty(), "{notes:?}");
    listener_config(&context, options)
}

fn listener_config(context: &TlsContext, options: Options) -> Arc<rustls::ServerConfig> {
    let mut listener = Config::embedded_default().listeners.remove(0);
    (listener.tls, listener.tls_tickets) = (options.policy, options.tickets);
    context.server_config(&listener).expect("good").expect("TLS")
}

fn client_config(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    config_with(versions, provider().signature_verification_algorithms.supported_schemes())
}

/// A client that checks these signatures.
fn config_with(
    versions: &[&'static rustls::SupportedProtocolVersion],
    schemes: Vec<SignatureScheme>,
) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("good")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes)))
        .with_no_client_auth()
}

fn client(config: ClientConfig, name: &'static str) -> ClientConnection {
    ClientConnection::new(Arc::new(config), ServerName::try_from(name).expect("a name")).expect("a client")
}

/// A client as most are.
pub(crate) fn usual_client() -> ClientConnection {
    client(client_config(rustls::ALL_VERSIONS), "mx.test")
}

/// A server and a client with a wire between them.
struct Pair {
    server: Tls,
    client: ClientConnection,
    to_client: Vec<u8>,
    /// What the server decrypted.
    received: Vec<u8>,
}

impl Pair {
    fn new(server: &Arc<rustls::ServerConfig>, client: ClientConnection) -> Self {
        let server = Tls::new(server).expect("a server");
        Self { server, client, to_client: Vec::new(), received: Vec::new() }
    }

    /// Carries octets to and fro until nothing moves, what goes to the server in parts of `cut` octets.
    fn run(&mut self, cut: usize) -> Result<(), super::Failure> {
        loop {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).expect("memory");
            }
            let is_quiet = wire.is_empty() && self.to_client.is_empty();
            for part in wire.chunks_mut(cut) {
                self.server
                    .receive(part, &mut self.to_client, |octets| self.received.extend_from_slice(octets))?;
            }
            let mut answer = &self.to_client[..];
            while !answer.is_empty() {
                self.client.read_tls(&mut answer).expect("memory");
                self.client.process_new_packets().expect("good records");
            }
            self.to_client.clear();
            if is_quiet {
                return Ok(());
            }
        }
    }

    fn client_reads(&mut self) -> Vec<u8> {
        let mut text = vec![0; 1000];
        let count = self.client.reader().read(&mut text).unwrap_or(0);
        text.truncate(count);
        text
    }
}

#[test]
fn both_versions_carry_octets_both_ways() {
    let server = server(OPTIONS);
    for (version, name) in [(&version::TLS12, "TLSv1.2"), (&version::TLS13, "TLSv1.3")] {
        let mut pair = Pair::new(&server, client(client_config(&[version]), "mx.test"));
        assert_eq!(pair.server.state(), State::Handshaking);
        pair.run(usize::MAX).expect("a handshake");
        assert_eq!(pair.server.state(), State::Established);
        let facts = pair.server.facts().expect("established");
        assert_eq!(facts.version, name);
        assert!(!facts.resumed && !facts.client_certificate);
        assert_eq!(facts.server_name.as_deref(), Some("mx.test"));
        pair.client.writer().write_all(b"EHLO client.test\r\n").expect("memory");
        pair.run(usize::MAX).expect("good");
        assert_eq!(pair.received, b"EHLO client.test\r\n");
        pair.server.send(b"250 mx.test\r\n", &mut pair.to_client).expect("established");
        pair.run(usize::MAX).expect("good");
        assert_eq!(pair.client_reads(), b"250 mx.test\r\n");
        pair.client.send_close_notify();
        pair.run(usize::MAX).expect("good");
        assert_eq!(pair.server.state(), State::PeerClosed);
        pair.server.send(b"221 bye\r\n", &mut pair.to_client).expect("we may still write");
        pair.server.close(&mut pair.to_client);
        pair.run(usize::MAX).expect("good");
        assert_eq!(pair.client_reads(), b"221 bye\r\n");
    }
}

#[test]
fn the_post_quantum_group_is_preferred() {
    let server = server(OPTIONS);
    let mut pair = Pair::new(&server, client(client_config(&[&version::TLS13]), "mx.test"));
    pair.run(usize::MAX).expect("a handshake");
    let group = pair.client.negotiated_key_exchange_group().expect("one");
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn a_name_chooses_its_certificate_and_any_other_the_default() {
    let server = server(OPTIONS);
    let shown = |name: &'static str| shown(&server, name);
    assert_eq!(shown("mx.test"), ["mx.test"]);
    assert_eq!(shown("a.other.test"), ["*.other.test"]);
    assert_eq!(shown("a.b.other.test"), ["mx.test"], "a wildcard is one label");
    assert_eq!(shown("nobody.test"), ["mx.test"]);
    assert_eq!(shown("127.0.0.1"), ["mx.test"], "no name at all");
}

/// The names of the certificate that a client is shown that asks for `name`.
fn shown(server: &Arc<rustls::ServerConfig>, name: &'static str) -> Vec<String> {
    let mut pair = Pair::new(server, client(client_config(&[&version::TLS13]), name));
    pair.run(usize::MAX).expect("a handshake");
    let chain = pair.client.peer_certificates().expect("one").to_vec();
    super::certificate::read_leaf(&chain[0]).expect("a certificate").names
}

#[test]
fn changed_files_are_served_and_bad_ones_are_not() {
    let (folder, tls) = folder(&["old.test"]);
    let (context, _) = TlsContext::open(&tls, "mx.test").expect("good certificates");
    let server = listener_config(&context, OPTIONS);
    assert_eq!(shown(&server, "mx.test"), ["old.test"]);
    let [chain, key] = ["0.pem", "0.key"].map(|name| folder.path().join(name));
    std::fs::write(&chain, "nonsense").expect("written");
    let why = context.renewed(&tls, "mx.test").err().expect("nonsense");
    assert!(
        why.ends_with("0.pem: the file holds no `-----BEGIN CERTIFICATE-----`; a PEM file is needed"),
        "{why}"
    );
    write_certificate(&chain, &key, "new.test");
    let renewed = context.renewed(&tls, "mx.test").expect("good again");
    assert_eq!(shown(&server, "mx.test"), ["old.test"], "nothing has changed yet");
    let context = renewed.show();
    assert_eq!(shown(&server, "mx.test"), ["new.test"]);
    assert_eq!(shown(&listener_config(&context, OPTIONS), "mx.test"), ["new.test"]);
    let none = context.renewed(&config::Tls::default(), "mx.test").expect("TLS is given up").show();
    assert_eq!(shown(&server, "mx.test"), ["new.test"], "whoever was offered it");
    assert!(none.ends(&[]).is_empty());
    std::fs::write(&key, self_signed::make(&["new.test".to_owned()]).expect("made").key).expect("written");
    let why = context.renewed(&tls, "mx.test").err().expect("another key");
    assert!(why.contains("0.key: the key is not that of"), "{why}");
}

#[test]
fn a_certificate_that_was_made_stays_unless_the_name_changes() {
    let tls = config::Tls { self_signed: true, ..config::Tls::default() };
    let (context, _) = TlsContext::open(&tls, "old.test").expect("made");
    let server = listener_config(&context, OPTIONS);
    let certificate = || {
        let mut pair = Pair::new(&server, client(client_config(&[&version::TLS13]), "old.test"));
        pair.run(usize::MAX).expect("a handshake");
        pair.client.peer_certificates().expect("one")[0].to_vec()
    };
    let first = certificate();
    let context = context.renewed(&tls, "old.test").expect("kept").show();
    assert!(certificate() == first, "whoever pinned it would be turned away");
    context.renewed(&tls, "new.test").expect("made").show();
    assert!(certificate() != first);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (folder, tls) = folder(&["mx.test"]);
    std::fs::remove_file(folder.path().join("0.key")).expect("removed");
    let why = TlsContext::open(&tls, "mx.test").err().expect("no key");
    assert!(why.contains("0.key: cannot be read: No such file or directory (os error 2); correct"), "{why}");
    assert!(
        TlsContext::open(&config::Tls { self_signed: true, ..config::Tls::default() }, "mx.test").is_ok()
    );
}

#[test]
fn tls_1_3_resumes_only_with_tickets_and_tls_1_2_always() {
    let resumed = |tickets: bool, version: &'static rustls::SupportedProtocolVersion| {
        let server = server(Options { tickets, ..OPTIONS });
        let config = client_config(&[version]);
        let mut last = false;
        for _ in 0..2 {
            let mut pair = Pair::new(&server, client(config.clone(), "mx.test"));
            pair.run(usize::MAX).expect("a handshake");
            last = pair.server.facts().expect("established").resumed;
        }
        last
    };
    assert!(!resumed(false, &version::TLS13));
    assert!(resumed(true, &version::TLS13) && resumed(true, &version::TLS12));
    assert!(resumed(false, &version::TLS12));
}

#[test]
fn failures_have_causes_and_alerts() {
    let fail = |options: Options, client: ClientConnection| {
        let mut pair = Pair::new(&server(options), client);
        let failure = pair.run(usize::MAX).expect_err("it fails");
        assert!(!pair.to_client.is_empty(), "an alert");
        failure.cause()
    };
    let only_13 = Options { minimum: TlsVersion::Tls13, ..OPTIONS };
    let old = client(client_config(&[&version::TLS12]), "mx.test");
    assert_eq!(fail(only_13, old), Cause::NothingInCommon);
    let no_scheme = config_with(&[&version::TLS12], vec![SignatureScheme::RSA_PKCS1_SHA256]);
    assert_eq!(fail(OPTIONS, client(no_scheme, "mx.test")), Cause::NothingInCommon);
    let mut http = client_config(&[&version::TLS13]);
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    let implicit = Options { policy: TlsPolicy::Implicit, ..OPTIONS };
    assert_eq!(fail(implicit, client(http.clone(), "mx.test")), Cause::Protocol);
    Pair::new(&server(OPTIONS), client(http, "mx.test")).run(9).expect("behind STARTTLS it is passed over");
    Pair::new(&server(implicit), client(client_config(&[&version::TLS13]), "mx.test"))
        .run(9)
        .expect("who offers nothing is welcome");

    let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
    let failure = tls.receive(&mut b"EHLO client.test\r\n".to_vec(), &mut Vec::new(), |_| unreachable!());
    assert_eq!(failure.expect_err("plaintext").cause(), Cause::NotTls);
}

/// The alert comes after the ServerHello then, and is encrypted.
#[test]
fn a_client_that_offers_no_smtp_is_told_why() {
    let implicit = server(Options { policy: TlsPolicy::Implicit, ..OPTIONS });
    for version in [&version::TLS12, &version::TLS13] {
        let mut http = client_config(&[version]);
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut pair = Pair::new(&implicit, client(http, "mx.test"));
        pair.run(usize::MAX).expect_err("no protocol in common");
        let mut answer = &pair.to_client[..];
        pair.client.read_tls(&mut answer).expect("memory");
        let told = pair.client.process_new_packets().expect_err("an alert");
        assert_eq!(told, rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    }
}

#[test]
fn a_changed_octet_is_never_plaintext() {
    let server = server(OPTIONS);
    let mut pair = Pair::new(&server, client(client_config(&[&version::TLS13]), "mx.test"));
    pair.run(usize::MAX).expect("a handshake");
    pair.client.writer().write_all(b"MAIL FROM:<a@x.test>\r\n").expect("memory");
    let mut wire = Vec::new();
    pair.client.write_tls(&mut wire).expect("memory");
    let last = wire.len() - 1;
    wire[last] ^= 1;
    let failure = pair.server.receive(&mut wire, &mut Vec::new(), |_| unreachable!());
    assert_eq!(failure.expect_err("changed").cause(), Cause::Decrypt);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let made = || self_signed::make(&["mx.test".to_owned()]).expect("made").der().expect("readable");
    let ((chain, _), (_, key)) = (made(), made());
    assert!(matches!(Certificate::new(chain, key, &provider()), Err(CheckError::Mismatch(None))));
}

#[test]
fn nothing_is_kept_of_whole_records() {
    let server = server(OPTIONS);
    let mut pair = Pair::new(&server, client(client_config(&[&version::TLS13]), "mx.test"));
    pair.run(5).expect("a handshake");
    pair.client.writer().write_all(&vec![b'x'; 40_000]).expect("memory");
    pair.run(4000).expect("good");
    assert_eq!(pair.received.len(), 40_000);
    assert_eq!(pair.server.held_bytes(), 0);
}

/// A whole record with the beginning of a handshake message: rustls remembers how much of the buffer it has
/// looked at.
const BEGUN: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x02\x00\x03";

#[test]
fn a_handshake_message_that_stops_can_be_closed() {
    let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
    tls.receive(&mut BEGUN.to_vec(), &mut Vec::new(), |_| panic!("plaintext")).expect("it waits");
    assert!(tls.held_bytes() > 0);
    let mut out = Vec::new();
    tls.send(b"421 4.4.2\r\n", &mut out).expect_err("nobody can be told");
    tls.close(&mut out);
    assert!(out.is_empty());
}

#[test]
fn a_handshake_message_that_goes_on_with_nonsense_gets_an_alert() {
    let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
    tls.receive(&mut BEGUN.to_vec(), &mut Vec::new(), |_| panic!("plaintext")).expect("it waits");
    let mut out = Vec::new();
    tls.receive(&mut b"EHLO client.example\r\n".to_vec(), &mut out, |_| panic!("plaintext"))
        .expect_err("no TLS");
    assert!(out.starts_with(b"\x15\x03"), "{}", out.escape_ascii());
}

/// What a client may make us look at: the record that has begun, not those before it.
#[test]
fn whole_fragments_are_not_looked_at_again() {
    let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
    let mut octets = b"\x16\x03\x01\x00\x04\x01\x00\xff\x00".to_vec();
    octets.extend_from_slice(&b"\x16\x03\x01\x00\x01\x03".repeat(5_000));
    for part in octets.chunks_mut(4) {
        tls.receive(part, &mut Vec::new(), |_| panic!("plaintext")).expect("it waits");
        assert!(tls.begun().len() < 9, "{}", tls.begun().len());
    }
}

/// RFC 8446 §6.1.
#[test]
fn what_follows_close_notify_is_nothing() {
    for version in [&version::TLS12, &version::TLS13] {
        let mut pair = Pair::new(&server(OPTIONS), client(client_config(&[version]), "mx.test"));
        pair.run(1000).expect("a handshake");
        pair.client.writer().write_all(b"NOOP\r\n").expect("memory");
        pair.client.send_close_notify();
        let mut wire = Vec::new();
        while pair.client.wants_write() {
            pair.client.write_tls(&mut wire).expect("memory");
        }
        wire.extend_from_slice(b"\x17\x03\x03\x00\x05begun and not whole");
        for _ in 0..20 {
            let mut received = Vec::new();
            let taken =
                pair.server.receive(&mut wire, &mut pair.to_client, |text| received.extend_from_slice(text));
            taken.expect("it is passed over");
            pair.received.extend(received);
            wire = vec![b'x'; 20_000];
        }
        assert_eq!((pair.server.state(), pair.received.as_slice()), (State::PeerClosed, &b"NOOP\r\n"[..]));
        assert_eq!(pair.server.held_bytes(), 0, "nothing of it is kept");
        pair.server.send(b"250 2.0.0\r\n", &mut pair.to_client).expect("we may still write");
        pair.server.close(&mut pair.to_client);
        pair.run(1000).expect("good");
        assert_eq!(pair.client_reads(), b"250 2.0.0\r\n");
    }
}

#[test]
fn close_notify_does_not_end_a_handshake_well() {
    for version in [&version::TLS12, &version::TLS13] {
        let mut tls = Tls::new(&server(OPTIONS)).expect("a server");
        let mut client = client(client_config(&[version]), "mx.test");
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        wire.extend_from_slice(b"\x15\x03\x03\x00\x02\x01\x00");
        // An alert that nobody signed: TLS 1.3 allows none, and in TLS 1.2 it is passed over.
        let taken = tls.receive(&mut wire, &mut Vec::new(), |_| panic!("plaintext"));
        assert_eq!(taken.is_err(), version.version == rustls::ProtocolVersion::TLSv1_3);
        assert_eq!(tls.state(), State::Handshaking);
        assert!(tls.facts().is_none());
    }
}

#[test]
fn a_panic_is_the_failure_of_its_connection() {
    let mut pair = Pair::new(&server(OPTIONS), client(client_config(&[&version::TLS13]), "mx.test"));
    pair.run(1000).expect("a handshake");
    let mut wire = Vec::new();
    pair.client.writer().write_all(b"NOOP\r\n").expect("memory");
    pair.client.write_tls(&mut wire).expect("memory");
    let failure =
        pair.server.receive(&mut wire, &mut Vec::new(), |_| panic!("a bug")).expect_err("it panicked");
    assert_eq!(failure.cause(), Cause::Other);
}

//! What holds for whatever a TLS client sends: claims that the fuzz target `tls` (`tests/fuzz`) and the
//! property tests share. A client in memory makes real handshakes; what it sends is changed, cut anywhere,
//! and followed by anything.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};

use super::connection::{PARTIAL_BYTES_MAX, State, Tls};
use super::context::{TlsContext, provider};
use super::failure::Cause;
use crate::config::{self, Config};
use crate::smtp::settings::TlsPolicy;

/// More than all that a server says by itself: its flight with one certificate, alerts, and answers to key
/// updates.
const SAID_BYTES_MAX: usize = 16 * 1024;

/// A reply, in our words.
const REPLY: &[u8] = b"250 2.0.0 Ok\r\n";

/// Makes the verifier of the client, which takes these signatures. It comes from outside, because none that
/// trusts everybody has a place in this crate.
pub type MakeVerifier = fn(Vec<SignatureScheme>) -> Arc<dyn ServerCertVerifier>;

/// All that is claimed. Octet 0: bit 0 TLS 1.2, bit 1 implicit TLS, bit 2 small records, bit 3 a reply after
/// each piece, bit 4 octets without a client, as they are, or, with bit 5, with a client's first flight in
/// front, in which each of the first octets is xored into the one that the next two number. Octet 1: the size
/// of the pieces. Then, with a client, its operations, a letter and what it needs: `t` n text of 8·n octets,
/// `c` n an octet that is xored into the one n from the end of what is on its way, `r` n so many octets as
/// they are, `h` what is on its way arrives and is answered, `g` that until nothing moves, `u` new keys, `e`
/// close_notify. Anything else is an octet of text.
pub fn check(input: &[u8], verifier: MakeVerifier) {
    let [bits, size, rest @ ..] = input else { return };
    let sizes = [usize::MAX, 1, usize::from(*size).max(1)];
    let outcomes = if bits & 16 == 0 {
        sizes.map(|size| Exchange::run(*bits, client(*bits, verifier), rest, size))
    } else {
        let octets =
            if bits & 32 == 0 { rest.to_vec() } else { changed_flight(client(*bits, verifier), rest) };
        sizes.map(|size| Exchange::run_octets(*bits, &octets, size))
    };
    for outcome in &outcomes {
        assert_eq!(outcome, &outcomes[0], "the pieces that octets arrive in change nothing: {sizes:?}");
    }
}

/// What became of an exchange; equal in all, however the octets arrived.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// None with a failure, after which nothing is asked.
    state: Option<State>,
    plaintext: Vec<u8>,
    failure: Option<Cause>,
    /// With a failure: what it is in rustls' words.
    why: String,
}

/// A server, and what it is given.
struct Exchange {
    server: Tls,
    received: Vec<u8>,
    to_client: Vec<u8>,
    failure: Option<(Cause, String)>,
    size: usize,
    /// A reply is sent after each piece.
    replies: bool,
    replied: usize,
    said_bytes: usize,
}

impl Exchange {
    fn new(bits: u8, size: usize) -> Self {
        static SERVERS: LazyLock<[Arc<ServerConfig>; 2]> = LazyLock::new(|| {
            let tls = config::Tls { self_signed: true, ..config::Tls::default() };
            let (context, _) = TlsContext::open(&tls, "mx.test").expect("a certificate");
            [TlsPolicy::Offered, TlsPolicy::Implicit].map(|policy| {
                let mut listener = Config::embedded_default().listeners.remove(0);
                (listener.tls, listener.tls_tickets) = (policy, false);
                context.server_config(&listener).expect("good").expect("TLS")
            })
        });
        let server = Tls::new(&SERVERS[usize::from(bits & 2 != 0)]).expect("a server");
        Self {
            server,
            received: Vec::new(),
            to_client: Vec::new(),
            failure: None,
            size,
            replies: bits & 8 != 0,
            replied: 0,
            said_bytes: 0,
        }
    }

    /// Octets without a client.
    fn run_octets(bits: u8, octets: &[u8], size: usize) -> Outcome {
        let mut exchange = Self::new(bits, size);
        exchange.receive(&mut octets.to_vec());
        assert_eq!(
            exchange.server.state(),
            State::Handshaking,
            "nobody can finish a handshake without its keys"
        );
        assert_eq!(exchange.received, b"", "plaintext from nothing");
        exchange.outcome()
    }

    fn run(bits: u8, mut client: ClientConnection, operations: &[u8], size: usize) -> Outcome {
        let mut exchange = Self::new(bits, size);
        let mut wire = Vec::new();
        let mut sent = Vec::new();
        let mut is_changed = false;
        let mut operations = operations.iter().copied();
        while let Some(operation) = operations.next() {
            let mut number = || usize::from(operations.next().unwrap_or(0));
            match operation {
                b't' => {
                    let text = vec![b'x'; 8 * number()];
                    say(&mut client, &text, &mut sent);
                }
                // Clients order what is in their first flight by chance, so changes of it are another thing
                // each time.
                b'c' | b'r' if exchange.said_bytes == 0 => {}
                b'c' => {
                    take(&mut client, &mut wire);
                    let (from_end, change) = (number(), u8::try_from(number()).unwrap_or_default());
                    let at = wire.len().checked_sub(from_end + 1);
                    if let Some(octet) = at.and_then(|at| wire.get_mut(at)) {
                        *octet ^= change;
                        is_changed |= change != 0;
                    }
                }
                b'r' => {
                    take(&mut client, &mut wire);
                    let count = number();
                    wire.extend(operations.by_ref().take(count));
                    is_changed |= count > 0;
                }
                b'h' => exchange.carry(&mut client, &mut wire, is_changed, 1),
                b'g' => exchange.carry(&mut client, &mut wire, is_changed, usize::MAX),
                b'u' => drop(client.refresh_traffic_keys()),
                b'e' => {
                    // A client that closes in a handshake does not keep the rules.
                    is_changed |= client.is_handshaking();
                    client.send_close_notify();
                }
                octet => say(&mut client, &[octet], &mut sent),
            }
        }
        exchange.carry(&mut client, &mut wire, is_changed, usize::MAX);
        assert!(sent.starts_with(&exchange.received), "what is decrypted is what was sent");
        if !is_changed {
            assert_eq!(exchange.failure, None, "a client that keeps the rules is served");
            assert_eq!(exchange.server.held_bytes(), 0, "all is whole");
        }
        exchange.outcome()
    }

    /// Carries octets to and fro until nothing moves, at most so many times.
    fn carry(&mut self, client: &mut ClientConnection, wire: &mut Vec<u8>, is_changed: bool, times: usize) {
        let mut replies = Vec::new();
        for _ in 0..times {
            take(client, wire);
            let is_quiet = wire.is_empty() && self.to_client.is_empty();
            self.receive(&mut std::mem::take(wire));
            let mut answer = &std::mem::take(&mut self.to_client)[..];
            while !answer.is_empty() && client.read_tls(&mut answer).is_ok() {
                let processed = client.process_new_packets();
                // A client that was changed on its way may be told so, or not understand the answer.
                assert!(processed.is_ok() || is_changed, "{processed:?}");
                if processed.is_err() {
                    break;
                }
                // It ends in an error: there is nothing more for now.
                let _ = client.reader().read_to_end(&mut replies);
            }
            if is_quiet {
                break;
            }
        }
        let expected = REPLY.repeat(self.replied);
        assert!(expected.starts_with(&replies), "replies come as they were sent");
        assert!(is_changed || replies.len() == expected.len(), "all of them");
        self.replied = if is_changed { self.replied } else { 0 };
    }

    /// The server receives octets, in pieces.
    fn receive(&mut self, octets: &mut [u8]) {
        for piece in octets.chunks_mut(self.size) {
            if self.failure.is_some() {
                break;
            }
            let before = self.to_client.len();
            let received = &mut self.received;
            let taken =
                self.server.receive(piece, &mut self.to_client, |text| received.extend_from_slice(text));
            self.said_bytes += self.to_client.len() - before;
            assert!(self.said_bytes <= SAID_BYTES_MAX, "what the server says by itself is bounded");
            assert!(self.server.held_bytes() <= 4 * PARTIAL_BYTES_MAX, "what is held is bounded");
            if let Err(failure) = taken {
                let why = failure.to_string();
                assert!(!why.contains("panicked"), "{why}");
                self.failure = Some((failure.cause(), why));
                break;
            }
            if self.replies {
                let is_said = self.server.send(REPLY, &mut self.to_client).is_ok();
                assert_eq!(is_said, self.server.state() != State::Handshaking, "whoever may speak can");
                self.replied += usize::from(is_said);
            }
        }
    }

    fn outcome(self) -> Outcome {
        let (failure, why) = self.failure.unzip();
        let state = failure.is_none().then(|| self.server.state());
        Outcome { state, plaintext: self.received, failure, why: why.unwrap_or_default() }
    }
}

/// What a client sends first, with changes: three octets each, for one in eight of its octets at most. What
/// is left follows it.
fn changed_flight(mut client: ClientConnection, changes: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    take(&mut client, &mut octets);
    let (changes, behind) = changes.split_at(changes.len().min(3 * (octets.len() / 8)) / 3 * 3);
    for change in changes.chunks_exact(3) {
        let at = usize::from(change[1]) * 256 + usize::from(change[2]);
        let length = octets.len();
        octets[at % length] ^= change[0];
    }
    octets.extend_from_slice(behind);
    octets
}

/// The client sends text, unless it has failed.
fn say(client: &mut ClientConnection, text: &[u8], sent: &mut Vec<u8>) {
    if client.writer().write_all(text).is_ok() {
        sent.extend_from_slice(text);
    }
}

/// What the client has to send.
fn take(client: &mut ClientConnection, wire: &mut Vec<u8>) {
    while client.wants_write() {
        client.write_tls(wire).expect("memory");
    }
}

fn client(bits: u8, verifier: MakeVerifier) -> ClientConnection {
    let version: &'static SupportedProtocolVersion =
        if bits & 1 == 0 { &version::TLS13 } else { &version::TLS12 };
    let provider = provider();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("good")
        .dangerous()
        .with_custom_certificate_verifier(verifier(schemes))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.max_fragment_size = (bits & 4 != 0).then_some(64);
    let mut client =
        ClientConnection::new(Arc::new(config), ServerName::try_from("mx.test").expect("a name"))
            .expect("a client");
    client.set_buffer_limit(None);
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use trusting::Trusting;

    /// Operations that make sense, and anything else.
    fn operation() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => Just(b"g".to_vec()),
            2 => Just(b"h".to_vec()),
            3 => (0..=255_u8).prop_map(|count| vec![b't', count]),
            1 => Just(b"u".to_vec()),
            1 => Just(b"e".to_vec()),
            1 => (any::<u8>(), any::<u8>()).prop_map(|(at, change)| vec![b'c', at, change]),
            1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|octets| {
                [&[b'r', u8::try_from(octets.len()).unwrap_or(0)][..], &octets].concat()
            }),
            1 => any::<u8>().prop_map(|octet| vec![octet]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn claims_on_tls_hold(
            bits: u8,
            size: u8,
            operations in prop::collection::vec(operation(), 0..12),
        ) {
            check(&[&[bits, size][..], &operations.concat()].concat(), |schemes| Arc::new(Trusting(schemes)));
        }
    }
}

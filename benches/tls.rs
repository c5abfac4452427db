//! What TLS costs the server: handshakes, mail data, replies. Through our `Tls` (rustls' unbuffered
//! interface) and, beside it, through rustls' buffered `ServerConnection`, which is also the limit that
//! rustls itself sets.
//!
//! Client and server are in one thread and only CPU time within calls of the server counts: the client is
//! rustls too, and its work would be half of every figure; and others may be at work on the machine.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ringmx::config::{self, CertificateFiles, Config};
use ringmx::smtp::settings::TlsPolicy;
use ringmx::tls::Tls;
use ringmx::tls::context::{TlsContext, provider};
use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};
use trusting::Trusting;

/// Octets of mail data.
const DATA_BYTES: usize = 1024 * 1024;

/// Octets of a receive buffer of a shard: what comes at a time.
const RECEIVED_BYTES: usize = 16 * 1024;

const REPLY: &[u8] = b"250 2.0.0 Ok: queued as 00dc1kbfcdtjs1p00000000001\r\n";

/// What this thread has worked so far. To ask costs a fifth of a microsecond.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time")
}

/// A server's end, in two ways.
trait Server: Sized {
    const NAME: &'static str;
    fn new(config: &Arc<ServerConfig>) -> Self;
    /// Takes what came; appends plaintext to `kept` and what is to be sent to `out`.
    fn receive(&mut self, octets: &mut [u8], out: &mut Vec<u8>, kept: &mut Vec<u8>);
    fn send(&mut self, plaintext: &[u8], out: &mut Vec<u8>);
    fn is_resumed(&self) -> bool;
}

impl Server for Tls {
    const NAME: &'static str = "ours";

    fn new(config: &Arc<ServerConfig>) -> Self {
        Self::new(config).expect("a server")
    }

    fn receive(&mut self, octets: &mut [u8], out: &mut Vec<u8>, kept: &mut Vec<u8>) {
        self.receive(octets, out, |record| kept.extend_from_slice(record)).expect("good records");
    }

    fn send(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        self.send(plaintext, out).expect("established");
    }

    fn is_resumed(&self) -> bool {
        self.facts().expect("established").resumed
    }
}

impl Server for ServerConnection {
    const NAME: &'static str = "buffered";

    fn new(config: &Arc<ServerConfig>) -> Self {
        Self::new(Arc::clone(config)).expect("a server")
    }

    fn receive(&mut self, octets: &mut [u8], out: &mut Vec<u8>, kept: &mut Vec<u8>) {
        let mut rest: &[u8] = octets;
        while !rest.is_empty() {
            self.read_tls(&mut rest).expect("memory");
            self.process_new_packets().expect("good records");
            let mut reader = self.reader();
            // An error says that there is nothing yet.
            while let Ok(text @ [_, ..]) = reader.fill_buf() {
                kept.extend_from_slice(text);
                let count = text.len();
                reader.consume(count);
            }
        }
        while self.wants_write() {
            self.write_tls(out).expect("memory");
        }
    }

    fn send(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        self.writer().write_all(plaintext).expect("memory");
        while self.wants_write() {
            self.write_tls(out).expect("memory");
        }
    }

    fn is_resumed(&self) -> bool {
        self.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// A client that offers one version and one group. Its sessions are remembered, or none is.
fn client_config(
    version: &'static SupportedProtocolVersion,
    group: NamedGroup,
    resumes: bool,
) -> Arc<ClientConfig> {
    let mut provider = CryptoProvider::clone(&provider());
    provider.kx_groups.retain(|one| one.name() == group);
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("good")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes)))
        .with_no_client_auth();
    if !resumes {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(config)
}

fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("mx.example").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    client.set_buffer_limit(None);
    client
}

fn server_config(folder: &Path, key: &'static rcgen::SignatureAlgorithm, tickets: bool) -> Arc<ServerConfig> {
    let key = rcgen::KeyPair::generate_for(key).expect("a key");
    let made = rcgen::CertificateParams::new(["mx.example".to_owned()])
        .and_then(|wanted| wanted.self_signed(&key))
        .expect("a certificate");
    let files = CertificateFiles { chain: folder.join("pem"), key: folder.join("key") };
    std::fs::write(&files.chain, made.pem()).expect("written");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    let tls = config::Tls { certificates: vec![files], ..config::Tls::default() };
    let (context, _) = TlsContext::open(&tls, "mx.example").expect("a good certificate");
    let mut listener = Config::embedded_default().listeners.remove(0);
    (listener.tls, listener.tls_tickets) = (TlsPolicy::Offered, tickets);
    context.server_config(&listener).expect("good").expect("TLS")
}

/// A server and its client, established, and the time that the server worked for it.
fn handshake<S: Server>(
    config: &Arc<ServerConfig>,
    mut client: ClientConnection,
) -> (S, ClientConnection, Duration) {
    let (mut wire, mut out, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let start = cpu_time();
    let mut server = S::new(config);
    let mut worked = cpu_time().saturating_sub(start);
    loop {
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        if wire.is_empty() {
            break;
        }
        let start = cpu_time();
        server.receive(&mut wire, &mut out, &mut kept);
        worked += cpu_time().saturating_sub(start);
        wire.clear();
        let mut answer = &out[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("memory");
            client.process_new_packets().expect("good records");
        }
        out.clear();
    }
    assert!(!client.is_handshaking());
    (server, client, worked)
}

fn handshakes<S: Server>(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    server: &Arc<ServerConfig>,
    config: &Arc<ClientConfig>,
    resumed: bool,
) {
    // The one that is resumed.
    let _ = handshake::<S>(server, client(config));
    group.bench_function(format!("{name}/{}", S::NAME), |bencher| {
        bencher.iter_custom(|count| {
            (0..count)
                .map(|_| {
                    let (server, _, worked) = handshake::<S>(server, client(config));
                    assert_eq!(server.is_resumed(), resumed);
                    worked
                })
                .sum()
        });
    });
}

fn bench_handshakes(criterion: &mut Criterion) {
    use NamedGroup::{X25519, X25519MLKEM768};
    let folder = tempfile::tempdir().expect("a folder");
    let ecdsa = server_config(folder.path(), &rcgen::PKCS_ECDSA_P256_SHA256, false);
    let tickets = server_config(folder.path(), &rcgen::PKCS_ECDSA_P256_SHA256, true);
    let rsa = server_config(folder.path(), &rcgen::PKCS_RSA_SHA256, false);
    let mut group = criterion.benchmark_group("handshake");
    let rows = [
        ("1.3 ECDSA X25519MLKEM768", &ecdsa, client_config(&version::TLS13, X25519MLKEM768, false), false),
        ("1.3 ECDSA X25519", &ecdsa, client_config(&version::TLS13, X25519, false), false),
        ("1.2 ECDSA X25519", &ecdsa, client_config(&version::TLS12, X25519, false), false),
        ("1.3 RSA 2048 X25519", &rsa, client_config(&version::TLS13, X25519, false), false),
        ("1.3 with tickets, full, X25519", &tickets, client_config(&version::TLS13, X25519, false), false),
        ("1.3 with tickets, resumed, X25519", &tickets, client_config(&version::TLS13, X25519, true), true),
        ("1.2 resumed", &ecdsa, client_config(&version::TLS12, X25519, true), true),
    ];
    for (name, server, client, resumed) in rows {
        handshakes::<Tls>(&mut group, name, server, &client, resumed);
        handshakes::<ServerConnection>(&mut group, name, server, &client, resumed);
    }
    group.finish();
}

/// The time that the server worked to decrypt mail data, in records of so many octets.
fn decrypt<S: Server>(
    server: &mut S,
    client: &mut ClientConnection,
    kept: &mut Vec<u8>,
    data: &[u8],
) -> Duration {
    let mut wire = Vec::with_capacity(2 * data.len());
    client.writer().write_all(data).expect("memory");
    while client.wants_write() {
        client.write_tls(&mut wire).expect("memory");
    }
    kept.clear();
    let mut out = Vec::new();
    let start = cpu_time();
    for part in wire.chunks_mut(RECEIVED_BYTES) {
        server.receive(part, &mut out, kept);
    }
    let worked = cpu_time().saturating_sub(start);
    assert_eq!(kept.len(), data.len());
    worked
}

fn records<S: Server>(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    config: &Arc<ServerConfig>,
    record_bytes: usize,
) {
    let mut offered = ClientConfig::clone(&client_config(&version::TLS13, NamedGroup::X25519, false));
    // It counts the header of the record.
    offered.max_fragment_size = Some(record_bytes + 5);
    let offered = Arc::new(offered);
    let data = vec![b'x'; DATA_BYTES];
    let mut kept = Vec::with_capacity(2 * DATA_BYTES);
    group.bench_function(format!("1 MiB, records of {record_bytes}/{}", S::NAME), |bencher| {
        bencher.iter_custom(|count| {
            let (mut server, mut client, _) = handshake::<S>(config, client(&offered));
            (0..count).map(|_| decrypt(&mut server, &mut client, &mut kept, &data)).sum()
        });
    });
}

fn replies<S: Server>(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    config: &Arc<ServerConfig>,
) {
    let offered = client_config(&version::TLS13, NamedGroup::X25519, false);
    group.bench_function(format!("a reply/{}", S::NAME), |bencher| {
        bencher.iter_custom(|count| {
            let (mut server, ..) = handshake::<S>(config, client(&offered));
            let mut out = Vec::with_capacity(1024);
            let start = cpu_time();
            for _ in 0..count {
                out.clear();
                server.send(REPLY, &mut out);
            }
            cpu_time().saturating_sub(start)
        });
    });
}

fn bench_records(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = server_config(folder.path(), &rcgen::PKCS_ECDSA_P256_SHA256, false);
    let mut group = criterion.benchmark_group("decrypt");
    group.throughput(Throughput::Bytes(DATA_BYTES as u64));
    for record_bytes in [16 * 1024, 1400] {
        records::<Tls>(&mut group, &config, record_bytes);
        records::<ServerConnection>(&mut group, &config, record_bytes);
    }
    group.finish();
    let mut group = criterion.benchmark_group("encrypt");
    replies::<Tls>(&mut group, &config);
    replies::<ServerConnection>(&mut group, &config);
    group.finish();
}

criterion_group!(benches, bench_handshakes, bench_records);
criterion_main!(benches);

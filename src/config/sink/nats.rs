//! `kind = "nats"`: a JetStream stream of a NATS cluster, with a spool behind it or without one.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::facts::SinkFacts;
use crate::config::document::Fallback;
use crate::config::recipient_map::hosts;
use crate::config::section::Section;
use crate::config::units::{GIB, MIB};

/// The port of servers that are named without one.
const PORT: u16 = 4222;

/// The port of their monitoring.
const MONITOR_PORT: u16 = 8222;

/// Octets of the name of a stream.
const STREAM_BYTES_MAX: usize = 200;

/// Octets of what subjects begin with.
const SUBJECT_BYTES_MAX: usize = 200;

const REPLICAS_MIN_DEFAULT: usize = 3;

const SUBJECT_DEFAULT: &str = "mail.default";

const WINDOW_DEFAULT: usize = 1024;

/// Servers of one cluster that are named.
const SERVERS_MAX: usize = 32;

/// A stream, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// Servers of the cluster; at least one.
    pub servers: Vec<NatsServer>,
    /// The name of the stream.
    pub stream: String,
    /// Servers that have to keep each message: with fewer replicas nothing is stored.
    pub replicas_min: usize,
    /// Whether the stream is made where it is missing.
    pub creates: bool,
    /// Octets of a stream that is made.
    pub bytes_max: Option<u64>,
    /// What the subject of a message begins with, before `.` and the number of its partition.
    pub subject: String,
    /// Subjects that messages are dealt to, by their first recipient.
    pub partitions: usize,
    /// The file of credentials.
    pub credentials: Option<PathBuf>,
    /// The file of those who vouch for the servers; none for those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Files of the certificate that is shown to the servers, and of its key.
    pub tls_certificate: Option<(PathBuf, PathBuf)>,
    /// Where the servers tell how they do.
    pub monitor: Vec<SocketAddr>,
    /// Messages that wait for their acknowledgement at a time.
    pub window: usize,
    /// Whether a spool has what the cluster does not take at once.
    pub has_fallback: bool,
}

impl Nats {
    /// Whether some server is spoken to under TLS. One that asks for it is, wherever it is named.
    pub fn speaks_tls(&self) -> bool {
        self.servers.iter().any(|server| server.is_tls)
            || self.tls_ca.is_some()
            || self.tls_certificate.is_some()
    }

    /// A stream of which only this is known: `[[forward]] to = ["nats://HOST:PORT/STREAM"]`.
    pub fn of(server: &NatsServer, stream: &str) -> Self {
        Self {
            servers: vec![server.clone()],
            stream: stream.to_owned(),
            replicas_min: REPLICAS_MIN_DEFAULT,
            creates: false,
            bytes_max: None,
            subject: SUBJECT_DEFAULT.to_owned(),
            partitions: 1,
            credentials: None,
            tls_ca: None,
            tls_certificate: None,
            monitor: Vec::new(),
            window: WINDOW_DEFAULT,
            has_fallback: false,
        }
    }

    /// Whether this server and stream are of it.
    pub fn has(&self, server: &NatsServer, stream: &str) -> bool {
        self.stream == stream && self.servers.contains(server)
    }
}

/// A server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NatsServer {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it is spoken to under TLS only.
    pub is_tls: bool,
}

impl std::fmt::Display for NatsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "tls" } else { "nats" }, self.address)
    }
}

/// The keys that kinds without a cluster do not have.
pub(super) const KEYS: &[&str] = &[
    "servers",
    "stream",
    "replicas_min",
    "create",
    "bytes_max",
    "subject",
    "partitions",
    "credentials",
    "tls_ca",
    "tls_certificate",
    "tls_key",
    "monitor",
    "window",
    "fallback",
    "segment_size",
    "direct_writes",
];

/// Those of them that are the store's behind it, which there has to be.
pub(super) const KEYS_OF_FALLBACK: &[&str] = &["path", "segment_size", "direct_writes", "space_reserve"];

/// Reads them. `creates` is read with those of a maildir.
pub(super) fn read(section: &mut Section<'_>, creates: bool) -> Nats {
    let servers = section.texts(
        "servers",
        "servers as \"nats://HOST:PORT\" or \"tls://HOST:PORT\"; HOST is an IP address, or localhost",
        Fallback::Computed { example: "[\"nats://10.0.0.1:4222\"]", default: "none; nats needs them" },
        "Nats: servers of the cluster. One that answers is enough; others that the cluster has are not asked.",
        server,
    );
    let stream = section.text(
        "stream",
        "name of a stream",
        Fallback::Computed { example: "\"MAIL\"", default: "none; nats needs it" },
        "Nats: the JetStream stream that has the mail. What is too large for one of its messages goes to the object store of this name and `-large`.",
        stream,
    );
    let replicas_min = section.integer(
        "replicas_min",
        REPLICAS_MIN_DEFAULT,
        1..=5,
        "Nats: replicas that the stream must have. With fewer, or in memory, nothing is stored there and the server does not start.",
    );
    let bytes_max = section.optional_size(
        "bytes_max",
        MIB..=1024 * 1024 * GIB,
        Fallback::Computed { example: "\"100GiB\"", default: "no bound but that of the account" },
        "Nats: octets of a stream that `create` makes; when it is full mail is answered 452, and nothing is dropped.",
    );
    let subject = section.text(
        "subject",
        "tokens of letters, digits, - and _ with dots between them",
        Fallback::Value(format!("{SUBJECT_DEFAULT:?}")),
        "Nats: what the subject of each message begins with. A dot and the number of its partition follow.",
        subject,
    );
    let partitions = section.integer(
        "partitions",
        1,
        1..=16,
        "Nats: subjects that messages are dealt to by their first recipient, so that a mailbox keeps to one of them.",
    );
    let Secrets { credentials, tls_ca, tls_certificate } = read_secrets(section);
    let monitor = section.texts(
        "monitor",
        "monitoring of servers as \"http://HOST:PORT\"; HOST is an IP address, or localhost",
        Fallback::Computed { example: "[\"http://10.0.0.1:8222\"]", default: "[], nobody is asked" },
        "Nats: where the servers are asked whether they sync each message to their disk. Told at the start and by `ringmx doctor`.",
        monitor,
    );
    let window = section.integer(
        "window",
        WINDOW_DEFAULT,
        1..=5000,
        "Nats: messages that wait for their acknowledgement at a time. Others wait for a place.",
    );
    let without_line = |list: Option<Vec<(usize, SocketAddr)>>| {
        list.unwrap_or_default().into_iter().map(|(_, one)| one).collect::<Vec<_>>()
    };
    Nats {
        servers: servers.unwrap_or_default().into_iter().map(|(_, one)| one).collect(),
        stream: stream.unwrap_or_default(),
        replicas_min,
        creates,
        bytes_max,
        subject: subject.unwrap_or_else(|| SUBJECT_DEFAULT.to_owned()),
        partitions,
        credentials,
        tls_ca,
        tls_certificate,
        monitor: without_line(monitor),
        window,
        has_fallback: false,
    }
}

/// The files that say who we are, and whom we trust.
struct Secrets {
    credentials: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    tls_certificate: Option<(PathBuf, PathBuf)>,
}

fn read_secrets(section: &mut Section<'_>) -> Secrets {
    let credentials = section.path(
        "credentials",
        Fallback::Computed { example: "\"ringmx.creds\"", default: "none" },
        "Nats: a file of credentials (JWT and nkey seed, as `nsc` writes it). It is read once, at the start.",
    );
    let tls_ca = section.path(
        "tls_ca",
        Fallback::Computed { example: "\"ca.pem\"", default: "the authorities that the system trusts" },
        "Nats: a file of the certificates that vouch for the servers. The name that they have to have is their IP address.",
    );
    let certificate = section.path(
        "tls_certificate",
        Fallback::Computed { example: "\"client.pem\"", default: "none" },
        "Nats: the certificate that is shown to the servers.",
    );
    let key = section.path(
        "tls_key",
        Fallback::Computed { example: "\"client.key\"", default: "none" },
        "Nats: the private key of `tls_certificate`.",
    );
    Secrets { credentials, tls_ca, tls_certificate: certificate.zip(key) }
}

/// What has to be there, and what is probably not meant.
pub(super) fn rules(section: &mut Section<'_>, nats: &Nats) {
    if cfg!(not(feature = "nats")) {
        section.problem("kind", "this ringmx was built without the feature nats".to_owned());
    }
    for (key, example) in [("servers", "[\"nats://10.0.0.1:4222\"]"), ("stream", "\"MAIL\"")] {
        if !section.given(key) {
            section.problem(key, format!("missing; write for example {key} = {example}"));
        }
    }
    if section.given("servers") && !section.faulty("servers") && nats.servers.is_empty() {
        section
            .problem("servers", "nobody is named; write for example [\"nats://10.0.0.1:4222\"]".to_owned());
    }
    if nats.servers.len() > SERVERS_MAX {
        section.problem("servers", format!("{SERVERS_MAX} of the cluster's servers may be named"));
    }
    for (one, other) in [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")] {
        if section.given(one) && !section.given(other) {
            section.problem(other, format!("missing; `{one}` is there, and it needs its other half"));
        }
    }
    if !nats.has_fallback {
        for key in KEYS_OF_FALLBACK {
            if section.given(key) {
                let text = "this key is for the spool behind the stream; write fallback = \"spool\"";
                section.problem(key, text.to_owned());
            }
        }
        section.warn(
            "kind",
            "without `fallback` mail is answered 451 while the cluster has no quorum; write fallback = \"spool\" and a `path`, and mail is \
             taken all the same"
                .to_owned(),
        );
    }
}

pub(in crate::config) fn server(text: &str) -> Result<NatsServer, String> {
    const FORM: &str = "write \"nats://HOST:PORT\" or \"tls://HOST:PORT\", with an IP address or localhost";
    let wrong = || format!("{text:?} is no server; {FORM}");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let is_tls = match scheme {
        "nats" => false,
        "tls" => true,
        _ => return Err(wrong()),
    };
    if rest.contains('@') {
        return Err(format!("{text:?}: secrets do not belong here; name a file of `credentials`"));
    }
    Ok(NatsServer { address: place(rest, PORT).ok_or_else(wrong)?, is_tls })
}

fn monitor(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is no monitoring of a server; write \"http://HOST:PORT\"");
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
    place(rest.strip_suffix('/').unwrap_or(rest), MONITOR_PORT).ok_or_else(wrong)
}

/// A host and a port, or the port that is usual.
fn place(text: &str, usual: u16) -> Option<SocketAddr> {
    // A colon inside brackets is one of an IPv6 address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        Some(_) | None => (text, usual),
    };
    Some(SocketAddr::new(*hosts(host).ok()?.first()?, port))
}

pub(in crate::config) fn stream(text: &str) -> Result<String, String> {
    let is_good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let fits = (1..=STREAM_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_good);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "{text:?} is no name of a stream here: it has 1 to {STREAM_BYTES_MAX} ASCII letters, digits, - and _"
        )
    })
}

fn subject(text: &str) -> Result<String, String> {
    let is_good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(is_good);
    let fits = text.len() <= SUBJECT_BYTES_MAX && text.split('.').all(is_token);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!("{text:?} is no beginning of a subject: write tokens of ASCII letters, digits, - and _ with dots between them")
    })
}

impl Nats {
    /// What it is, in a few words for the operator, before what it leaves to its fallback.
    pub fn summary_before(&self, fallback: &str) -> String {
        format!("{}, or {fallback}", self.summary())
    }
}

impl SinkFacts for Nats {
    fn summary(&self) -> String {
        format!("nats stream {}", self.stream)
    }

    /// One that refuses what the cluster did not take.
    fn workers(&self, _configured: usize) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_and_never_hold_secrets() {
        for (text, told) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://10.0.0.9", "nats://10.0.0.9:4222"),
            ("tls://[::1]:4223", "tls://[::1]:4223"),
            ("tls://[::1]", "tls://[::1]:4222"),
            ("nats://localhost:1", "nats://127.0.0.1:1"),
        ] {
            assert_eq!(server(text).map(|server| server.to_string()).as_deref(), Ok(told));
        }
        for wrong in [
            "",
            "127.0.0.1:4222",
            "nats://",
            "nats://nats.test",
            "nats://127.0.0.1:0",
            "nats://127.0.0.1:x",
            "ws://127.0.0.1:80",
            "nats://127.0.0.1:4222/x",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
        assert!(server("nats://a:b@127.0.0.1:4222").expect_err("a secret").contains("credentials"));
    }

    #[test]
    fn names_and_subjects_have_nothing_that_means_something_to_the_servers() {
        assert_eq!(stream("MAIL-1_x").as_deref(), Ok("MAIL-1_x"));
        assert_eq!(subject("mail.default").as_deref(), Ok("mail.default"));
        for wrong in ["", "a.b", "a*", "a>", "a b", "a/b", "é"] {
            assert!(stream(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "é"] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
        assert_eq!(monitor("http://127.0.0.1:8222/"), Ok("127.0.0.1:8222".parse().expect("an address")));
        assert!(monitor("https://127.0.0.1:8222").is_err());
    }
}

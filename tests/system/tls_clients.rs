//! TLS with clients of all sorts: which certificate they are shown, what is told of them, what is refused;
//! and clients of others: Python, swaks, openssl, GnuTLS, sslscan.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion, version};
use serde_json::Value;
use support::client::Client;
use support::secure::{Offer, Shown, begin, behind_starttls_with, command, secure_with};
use support::server::Server;

/// STARTTLS, and TLS from the first octet.
const LISTENERS: &str = "[tls]\nself_signed = true\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\n\
     address = \"127.0.0.1:0\"\ntls = \"implicit\"\n";

const MAILDIR: &str = "[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n";
const STDOUT: &str = "[[sink]]\nkind = \"stdout\"\n";

/// PEM of a certificate for a name and of its key, and its DER.
fn certificate(name: &str, kind: &'static rcgen::SignatureAlgorithm) -> (String, String, Shown) {
    let key = rcgen::KeyPair::generate_for(kind).expect("a key");
    let wanted = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    let made = wanted.self_signed(&key).expect("a certificate");
    let shown = (vec![made.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"));
    (made.pem(), key.serialize_pem(), shown)
}

/// A server with an ECDSA and an RSA certificate for `mx.example` and an ECDSA one for `other.example`, and
/// the three of them.
fn server_with_certificates(sink: &str) -> (Server, [CertificateDer<'static>; 3]) {
    let made = [
        ("ecdsa", "mx.example", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("rsa", "mx.example", &rcgen::PKCS_RSA_SHA256),
        ("other", "other.example", &rcgen::PKCS_ECDSA_P256_SHA256),
    ]
    .map(|(file, name, kind)| (file, certificate(name, kind)));
    let tables = made
        .each_ref()
        .map(|(file, _)| format!("[[tls.certificate]]\nchain = \"{file}.pem\"\nkey = \"{file}.key\"\n"));
    let config = LISTENERS.replace("[tls]\nself_signed = true\n", &tables.concat()) + sink;
    let names = made.each_ref().map(|(file, _)| [format!("{file}.pem"), format!("{file}.key")]);
    let files: Vec<(&str, &str)> = names
        .iter()
        .zip(&made)
        .flat_map(|([chain, key], (_, (pem, key_pem, _)))| [(&**chain, &**pem), (&**key, &**key_pem)])
        .collect();
    let server = Server::start_with_files(&config, &files);
    (server, made.map(|(_, (_, _, (mut chain, _)))| chain.remove(0)))
}

/// Delivers a message and gives what standard output says of its TLS.
fn delivered(server: &Server, number: usize, config: &Arc<ClientConfig>, name: &str) -> Value {
    let mut client = behind_starttls_with(server, config, name);
    begin(&mut client);
    command(&mut client, b"DATA\r\n", "354");
    command(&mut client, b"Subject: x\r\n\r\n.\r\n", "250 2.0.0");
    command(&mut client, b"QUIT\r\n", "221");
    let line = server.output(number).remove(number - 1);
    serde_json::from_str::<Value>(&line).expect("JSON")["tls"].clone()
}

#[test]
fn who_checks_rsa_only_is_shown_the_rsa_certificate() {
    let (server, [ecdsa, rsa, other]) = server_with_certificates(MAILDIR);
    let rsa_only = || {
        Some(vec![
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
        ])
    };
    for version in [&version::TLS12, &version::TLS13] {
        let shown = |schemes: Option<Vec<SignatureScheme>>, name: &str| {
            let config = Offer { versions: &[version], schemes, ..Offer::default() }.config();
            let mut client = behind_starttls_with(&server, &config, name);
            command(&mut client, b"NOOP\r\n", "250");
            client.conn.peer_certificates().expect("one")[0].clone()
        };
        assert!(shown(None, "mx.example") == ecdsa, "the first of the name");
        assert!(shown(rsa_only(), "mx.example") == rsa, "the one that it can check");
        assert!(shown(None, "other.example") == other);
        assert!(shown(rsa_only(), "other.example") == rsa, "any that it can check, before none");
        assert!(shown(None, "nobody.example") == ecdsa);
    }
    for (schemes, expected) in [("RSA-PSS+SHA256", "RSA-PSS"), ("ECDSA+SHA256", "ECDSA")] {
        let address = server.addresses()[1].to_string();
        let arguments = ["s_client", "-sigalgs", schemes, "-connect", &address];
        if let Some(output) = run("openssl", &arguments, "QUIT\r\n") {
            let text = text(&output);
            assert!(text.contains(&format!("Peer signature type: {expected}")), "{text}");
        }
    }
}

#[test]
fn what_tls_a_message_came_under_is_told() {
    let server = Server::start_whole(&format!("{LISTENERS}{STDOUT}"));
    let usual = Offer::default().config();
    let tls = delivered(&server, 1, &usual, "asked.example");
    assert_eq!((&tls["version"], &tls["server_name"]), (&"TLSv1.3".into(), &"asked.example".into()));
    assert!(tls["cipher"].as_str().is_some_and(|cipher| cipher.starts_with("TLS_AES_")), "{tls}");
    assert!(tls["resumed"] == false && tls["client_certificate"].is_null(), "{tls}");
    // An address is no name that could be asked for.
    assert!(delivered(&server, 2, &usual, "127.0.0.1")["server_name"].is_null());
    let old = Offer { versions: &[&version::TLS12], ..Offer::default() }.config();
    assert!(delivered(&server, 3, &old, "mx.example")["resumed"] == false);
    let again = delivered(&server, 4, &old, "mx.example");
    assert!(again["resumed"] == true && again["server_name"] == "mx.example", "{again}");
    let has = |line: &str, event: &str, number: usize| {
        line.contains(&format!(" {event} "))
            && [" tls=TLSv1.2 ", " cipher=TLS_ECDHE_", " resumed=true ", " server_name=\"mx.example\" "]
                .iter()
                .all(|field| line.contains(field))
            && line.contains(&format!(" {} ", ["with=ESMTPS", "accepted=1"][number]))
    };
    server.wait_for_log(|line| has(line, "message", 0));
    server.wait_for_log(|line| has(line, "session", 1));
}

#[test]
fn a_client_certificate_is_told_and_decides_nothing() {
    let server = Server::start_whole(&format!("{LISTENERS}{STDOUT}"));
    let kinds = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ED25519];
    let mut number = 0;
    for kind in kinds {
        for version in [&version::TLS12, &version::TLS13] {
            let (_, _, shown) = certificate("client.example", kind);
            let offer = Offer { versions: &[version], certificate: Some(shown), ..Offer::default() };
            number += 1;
            let tls = delivered(&server, number, &offer.config(), "mx.example");
            assert_eq!(tls["client_certificate"], "unverified", "{tls}");
        }
    }
    server
        .wait_for_log(|line| line.contains(" session ") && line.contains(" client_certificate=unverified "));
    let tls = delivered(&server, number + 1, &Offer::default().config(), "mx.example");
    assert!(tls["client_certificate"].is_null(), "{tls}");
}

#[test]
fn an_expired_client_certificate_decides_nothing() {
    let server = Server::start_whole(&format!("{LISTENERS}{STDOUT}"));
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut wanted = rcgen::CertificateParams::new(["client.example".to_owned()]).expect("a name");
    wanted.not_before = rcgen::date_time_ymd(2001, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let made = wanted.self_signed(&key).expect("a certificate");
    let shown = (vec![made.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"));
    let offer = Offer { certificate: Some(shown), ..Offer::default() };
    assert_eq!(delivered(&server, 1, &offer.config(), "mx.example")["client_certificate"], "unverified");
}

/// Shows a certificate and signs with what is no key of it, whatever the server asks for.
#[derive(Debug)]
struct Odd {
    chain: Vec<CertificateDer<'static>>,
    scheme: SignatureScheme,
    signature: Vec<u8>,
}

impl rustls::client::ResolvesClientCert for Odd {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = OddKey(self.scheme, self.signature.clone());
        Some(Arc::new(CertifiedKey::new(self.chain.clone(), Arc::new(key))))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug, Clone)]
struct OddKey(SignatureScheme, Vec<u8>);

impl SigningKey for OddKey {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for OddKey {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.1.clone())
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}

/// Whether a handshake with this certificate and signature is served.
fn is_served(
    server: &Server,
    version: &'static SupportedProtocolVersion,
    certificate: &[u8],
    scheme: SignatureScheme,
) -> bool {
    let mut config =
        Arc::into_inner(Offer { versions: &[version], ..Offer::default() }.config()).expect("one");
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    config.client_auth_cert_resolver = Arc::new(Odd { chain, scheme, signature: vec![7; 64] });
    let mut client = Client::greeted(server.addresses()[0]);
    client.command("STARTTLS", "220 2.0.0");
    let stream = client.stream().try_clone().expect("a descriptor");
    let mut secure = secure_with(stream, &Arc::new(config), "mx.example");
    let mut octets = [0; 4];
    // In TLS 1.3 a refusal comes after the client has sent what it has to say.
    secure.write_all(b"NOOP\r\n").and_then(|()| secure.read_exact(&mut octets)).is_ok() && octets == *b"250 "
}

#[test]
fn a_client_certificate_that_cannot_be_checked_is_served() {
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let (_, _, (chain, _)) = certificate("client.example", &rcgen::PKCS_ECDSA_P256_SHA256);
    let good = chain[0].to_vec();
    let p256 = SignatureScheme::ECDSA_NISTP256_SHA256;
    // The only bit string of 65 octets that begins with the mark of an uncompressed point is the key.
    let at = good.windows(3).position(|octets| octets == [0x42, 0, 4]).expect("the key") + 2;
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = good.clone();
        change(&mut octets);
        octets
    };
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("no DER", b"this is no certificate".to_vec()),
        ("one octet", vec![0]),
        ("cut short", good[..good.len() / 2].to_vec()),
        ("with more behind it", changed(&|octets| octets.extend_from_slice(b"more"))),
        ("a key in another form", changed(&|octets| octets[at] = 2)),
    ];
    for version in [&version::TLS12, &version::TLS13] {
        for (what, octets) in &garbage {
            assert!(is_served(&server, version, octets, p256), "{what}, {version:?}");
        }
        for scheme in
            [SignatureScheme::ED448, SignatureScheme::RSA_PKCS1_SHA1, SignatureScheme::Unknown(0x7777)]
        {
            assert!(is_served(&server, version, &good, scheme), "{scheme:?}, {version:?}");
        }
        // That one was checked.
        assert!(!is_served(&server, version, &good, p256), "{version:?}");
    }
    server
        .wait_for_log(|line| line.contains(" session ") && line.contains(" client_certificate=unverified "));
}

/// What openssl makes of keys and certificates; the rest of the name are arguments of `openssl req`.
const OF_OPENSSL: [(&str, &str); 12] = [
    ("RSA 768", "-newkey rsa:768"),
    ("RSA 1024", "-newkey rsa:1024"),
    ("RSA 2047", "-newkey rsa:2047"),
    ("RSA 2048", "-newkey rsa:2048"),
    ("RSA with exponent 3", "-newkey rsa -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3"),
    (
        "RSA with a long exponent",
        "-newkey rsa -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:1099511627777",
    ),
    ("RSA-PSS", "-newkey rsa-pss -pkeyopt rsa_keygen_bits:2048"),
    ("P-521", "-newkey ec -pkeyopt ec_paramgen_curve:P-521"),
    ("secp256k1", "-newkey ec -pkeyopt ec_paramgen_curve:secp256k1"),
    ("Ed448", "-newkey ed448"),
    ("Ed25519", "-newkey ed25519"),
    ("version 1", "-newkey rsa:2048 -x509v1"),
];

#[test]
fn openssl_with_a_certificate_of_any_kind_is_served() {
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let implicit = server.addresses()[1].to_string();
    let path = |name: &str| server.folder().join(name).display().to_string();
    for (kind, arguments) in OF_OPENSSL {
        let (chain, key) = (path("client.pem"), path("client.key"));
        let is_old = arguments.contains("-x509v1");
        let made: Vec<&str> = arguments.split(' ').filter(|word| *word != "-x509v1").collect();
        // A certificate without extensions is one of version 1.
        let empty = path("empty.cnf");
        std::fs::write(&empty, "[req]\ndistinguished_name = dn\n[dn]\n").expect("a file");
        let config: &[&str] = if is_old { &["-config", &empty] } else { &[] };
        let arguments = [
            &[
                "req",
                "-x509",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=client.example",
                "-out",
                &chain,
                "-keyout",
                &key,
            ],
            &made[..],
            config,
        ]
        .concat();
        let Some(output) = run("openssl", &arguments, "") else { return };
        assert!(output.status.success(), "{kind}: {}", text(&output));
        for version in ["-tls1_2", "-tls1_3"] {
            // Small keys are below what openssl itself takes otherwise.
            let weak = ["-cipher", "DEFAULT@SECLEVEL=0", "-quiet"];
            let client = ["s_client", version, "-cert", &chain, "-key", &key, "-connect", &implicit];
            let output = run("openssl", &[&client[..], &weak].concat(), "QUIT\r\n").expect("openssl");
            let text = text(&output);
            println!("{kind} {version}: {}", text.lines().last().unwrap_or_default());
            assert!(text.contains(" ESMTP ringmx"), "{kind} {version}: {text}");
            assert!(!text.contains(" alert "), "{kind} {version}: {text}");
        }
    }
}

/// Server names that are no host names end the handshake in rustls; all others get a certificate.
#[test]
fn a_server_name_that_is_none_is_named_in_the_log() {
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let implicit = server.addresses()[1].to_string();
    let long_label = "a".repeat(64);
    let long = ["a".repeat(50).as_str(); 5].join(".");
    let connect = |name: &str| {
        let arguments = ["s_client", "-servername", name, "-connect", &implicit, "-quiet"];
        run("openssl", &arguments, "QUIT\r\n").map(|output| text(&output))
    };
    let failures = || server.log().iter().filter(|line| line.contains(" tls_failed=server-name ")).count();
    let refused = [
        "mx:25",
        "-mx",
        "mx-.example",
        "a..b",
        ".a",
        &long_label,
        &long,
        "m\u{fc}nchen.example",
        "a b",
        "a/b",
        "*.a",
    ];
    for (count, name) in (1..).zip(refused) {
        let Some(text) = connect(name) else { return };
        assert!(text.contains("illegal parameter"), "{name}: {text}");
        server.wait_for_log(|_| failures() == count);
    }
    for name in [
        "192.0.2.1",
        "2001:db8::1",
        "mx.example.",
        "MX.Example",
        "_dmarc.example",
        "mx",
        "xn--mnchen-3ya.example",
    ] {
        let text = connect(name).expect("openssl");
        assert!(text.contains(" ESMTP ringmx"), "{name}: {text}");
    }
    assert_eq!(failures(), refused.len());
}

/// A ClientHello with a list of server names that rustls would not make. The octets replace those of one host
/// name of ten.
fn alert_for_names(server: &Server, list: [u8; 13]) -> Vec<u8> {
    let mut hello = Vec::new();
    let name = "mx.example".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Offer::default().config(), name).expect("a client");
    client.write_tls(&mut hello).expect("a ClientHello");
    let usual = [&[0, 0, 10][..], b"mx.example"].concat();
    let at = hello.windows(13).position(|octets| octets == usual).expect("the name");
    hello[at..at + 13].copy_from_slice(&list);
    let mut stream = std::net::TcpStream::connect(server.addresses()[1]).expect("connected");
    stream.write_all(&hello).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the end");
    answer
}

#[test]
fn a_list_of_server_names_that_is_none_is_named_in_the_log() {
    const ALERT: u8 = 21;
    const DECODE_ERROR: u8 = 50;
    const ILLEGAL_PARAMETER: u8 = 47;
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let mut count = 0;
    let mut ends = |list: &[u8; 13], alert: u8, cause: &str| {
        let answer = alert_for_names(&server, *list);
        assert!(matches!(answer[..], [ALERT, _, _, _, _, 2, what] if what == alert), "{answer:?}");
        count += 1;
        let is_there =
            || server.log().iter().filter(|line| line.contains(" tls_failed=")).nth(count - 1).cloned();
        server.wait_for_log(|_| is_there().is_some());
        let line = is_there().expect("a line");
        assert!(line.contains(&format!(" tls_failed={cause} ")), "{line}");
    };
    // Two names, an empty one, one of a kind that nobody knows, one that is longer than the list.
    ends(b"\0\0\x03a.b\0\0\x04c.de", DECODE_ERROR, "server-name");
    ends(b"\0\0\0mx.example", DECODE_ERROR, "misbehaved");
    ends(b"\x01\0\x0amx.example", ILLEGAL_PARAMETER, "server-name");
    ends(b"\0\0\x20mx.example", DECODE_ERROR, "misbehaved");
}

/// Runs a program of others with this input, which stays open until the program ends. None when it is not
/// there; under CI it has to be.
fn run(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    /// `timeout` found no program.
    const NOT_FOUND: i32 = 127;
    let mut child = Command::new("timeout")
        .args(["300", program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout of coreutils");
    let mut stdin = child.stdin.take().expect("its input");
    // It may have ended before it read anything.
    let _ = stdin.write_all(input.as_bytes());
    // `wait_with_output` would close an input that it finds.
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    if output.status.code() == Some(NOT_FOUND) {
        assert!(std::env::var_os("CI").is_none(), "CI needs {program}");
        println!("skipped: no {program}");
        return None;
    }
    Some(output)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn openssl_is_refused_what_it_should_not_have() {
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let [starttls, implicit] = [0, 1].map(|at| server.addresses()[at].to_string());
    for old in ["-tls1", "-tls1_1"] {
        // Without this openssl does not even ask for them.
        let arguments = ["s_client", old, "-cipher", "DEFAULT@SECLEVEL=0", "-connect", &implicit];
        if let Some(output) = run("openssl", &arguments, "") {
            let text = text(&output);
            assert!(!output.status.success() && text.contains(" alert "), "{old}: {text}");
        }
    }
    let weak = ["s_client", "-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384", "-connect", &implicit];
    if let Some(output) = run("openssl", &weak, "") {
        assert!(!output.status.success() && text(&output).contains("handshake failure"), "{}", text(&output));
    }
    let http = ["s_client", "-alpn", "http/1.1", "-connect", &implicit];
    if let Some(output) = run("openssl", &http, "") {
        assert!(text(&output).contains("no application protocol"), "{}", text(&output));
    }
    // A line that begins with R makes it ask for a renegotiation.
    let again = ["s_client", "-tls1_2", "-starttls", "smtp", "-connect", &starttls];
    if let Some(output) = run("openssl", &again, "R\n") {
        let text = text(&output);
        assert!(text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    }
}

#[test]
fn gnutls_speaks_smtp_under_tls() {
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let port = server.addresses()[0].port().to_string();
    for priority in ["NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"] {
        let arguments =
            ["--starttls-proto=smtp", "--insecure", "--priority", priority, "-p", &port, "127.0.0.1"];
        if let Some(output) = run("gnutls-cli", &arguments, "EHLO client.example\r\nNOOP\r\nQUIT\r\n") {
            let text = text(&output);
            assert!(output.status.success(), "{text}");
            assert!(text.contains("250 HELP") && text.contains("221 2.0.0"), "{text}");
        }
    }
    let arguments = ["--insecure", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.1", "-p"];
    let implicit = server.addresses()[1].port().to_string();
    if let Some(output) = run("gnutls-cli", &[&arguments[..], &[&implicit, "127.0.0.1"]].concat(), "") {
        assert!(!output.status.success(), "TLS 1.1 is refused: {}", text(&output));
    }
}

#[test]
fn sslscan_finds_nothing_weak() {
    let (server, _) = server_with_certificates(MAILDIR);
    let [starttls, implicit] = [0, 1].map(|at| server.addresses()[at].to_string());
    for arguments in [&["--no-colour", "--starttls-smtp", &starttls][..], &["--no-colour", &implicit]] {
        let Some(output) = run("sslscan", arguments, "") else { continue };
        let text = text(&output);
        for version in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
            assert!(has_line(&text, version, "disabled"), "{version}: {text}");
        }
        for version in ["TLSv1.2", "TLSv1.3"] {
            assert!(has_line(&text, version, "enabled"), "{version}: {text}");
        }
        assert!(text.contains("Session renegotiation not supported"), "{text}");
        let ciphers: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred"))
            .collect();
        assert!(ciphers.len() >= 6, "{text}");
        for cipher in ciphers {
            assert!(cipher.contains("TLSv1.2") || cipher.contains("TLSv1.3"), "{cipher}");
            assert!(cipher.contains("GCM") || cipher.contains("POLY1305"), "{cipher}");
        }
    }
}

fn has_line(text: &str, first: &str, second: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().eq([first, second]))
}

#[test]
fn python_and_swaks_deliver_under_tls() {
    let server = Server::start_whole(&format!("{LISTENERS}{MAILDIR}"));
    let [starttls, implicit] = [server.addresses()[0], server.addresses()[1]];
    let script = format!(
        "import smtplib, ssl\n\
         context = ssl.create_default_context()\n\
         context.check_hostname = False\n\
         context.verify_mode = ssl.CERT_NONE\n\
         for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):\n\
         \x20   context.maximum_version = ssl.TLSVersion.TLSv1_3\n\
         \x20   context.minimum_version = context.maximum_version = version\n\
         \x20   with smtplib.SMTP('127.0.0.1', {}) as client:\n\
         \x20       client.starttls(context=context)\n\
         \x20       client.sendmail('a@x.test', ['b@y.test'], 'Subject: x\\r\\n\\r\\n' + 'text\\r\\n' * 20000)\n\
         \x20   with smtplib.SMTP_SSL('127.0.0.1', {}, context=context) as client:\n\
         \x20       client.sendmail('a@x.test', ['b@y.test'], 'Subject: y\\r\\n\\r\\ntext')\n",
        starttls.port(),
        implicit.port()
    );
    let mut expected = 0;
    if let Some(output) = run("python3", &["-c", &script], "") {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        expected += 4;
    }
    let address = starttls.to_string();
    let common = ["--to", "b@y.test", "--from", "a@x.test", "--silent", "2"];
    if let Some(output) = run("swaks", &[&["--server", &address, "--tls"], &common[..]].concat(), "") {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        expected += 1;
    }
    assert_eq!(server.maildir("mail").len(), expected);
}

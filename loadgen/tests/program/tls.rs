//! The program under TLS: against ringmx, against Postfix, and against servers that cheat.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::ended::{Ended, loadgen_at, says};
use crate::support::postfix::Postfix;
use crate::support::secure::{SecureServer, Trick};
use crate::support::server::{Oddity, Server};
use crate::support::{PROGRAM, json};

/// Exit code and output.
fn loadgen(target: impl std::fmt::Display, arguments: &str) -> (Option<i32>, String) {
    let Ended { code, text } = loadgen_at(target, arguments);
    (code, text)
}

/// ringmx in this process, on ports that were free. It runs until the process ends; that its folder goes
/// before stands in its log.
struct Ringmx {
    starttls: u16,
    implicit: u16,
    /// Gives tickets of TLS 1.3.
    tickets: u16,
    folder: tempfile::TempDir,
}

impl Ringmx {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let made = ringmx::tls::self_signed::make(&["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("mx.pem"), made.chain).expect("written");
        std::fs::write(folder.path().join("mx.key"), made.key).expect("written");
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [starttls, implicit, tickets] =
            held.map(|listener| listener.local_addr().expect("address").port());
        let cpu = ringmx::shard::affinity::allowed_cpus().expect("cores")[0];
        let text = format!(
            "hostname = \"localhost\"\ndomains = [\"example.test\"]\n[[tls.certificate]]\nchain = \"mx.pem\"\n\
             key = \"mx.key\"\n[[listener]]\naddress = \"127.0.0.1:{starttls}\"\n[[listener]]\n\
             address = \"127.0.0.1:{implicit}\"\ntls = \"implicit\"\n[[listener]]\naddress = \"127.0.0.1:{tickets}\"\n\
             tls = \"implicit\"\ntls_tickets = true\n[[sink]]\nkind = \"maildir\"\npath = \"mail\"\n\
             [limits]\nconnections_per_client_max = 1000\n\
             [shards]\ncpus = [{cpu}]\n[log]\nsessions = false\nmessages = false\n[run_as]\nsandbox = false\n"
        );
        let (config, _) = ringmx::config::parse(&text, "test.toml", folder.path()).expect("a configuration");
        let shutdown = ringmx::shutdown::Shutdown::on_signals().expect("signals");
        std::thread::spawn(move || {
            ringmx::server::serve(&config, None, ringmx::config::Lists::default(), &[], false, &shutdown)
                .expect("it serves");
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        for port in [starttls, implicit, tickets] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < deadline, "it does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Self { starttls, implicit, tickets, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn mail_under_tls_arrives_whole() {
    let ringmx = Ringmx::start();
    let ledger = ringmx.path("ledger");
    for (number, (port, arguments)) in [
        (ringmx.starttls, "--tls starttls --pipelining=2 --threads 2"),
        (ringmx.starttls, "--tls starttls --bdat --pipelining=3"),
        (ringmx.implicit, "--tls implicit --size 700KiB --messages 10"),
        (ringmx.implicit, "--tls implicit --tls-version 1.2 --per-connection 7"),
        (ringmx.implicit, "--tls implicit --scenario steady:3,churn:1,abort:1,idle:1,slowloris:1"),
    ]
    .into_iter()
    .enumerate()
    {
        let messages = if arguments.contains("--messages") { "" } else { "--messages 60" };
        let target = format!("127.0.0.1:{port}");
        let arguments = format!("--connections 8 {messages} {arguments} --ledger {}", ledger.display());
        let (code, text) = loadgen(target, &arguments);
        assert_eq!(code, Some(0), "{number}: {text}");
        assert!(text.contains("\n  TLS  ") && says(&text, "certificate not verified"), "{text}");
    }
    let mut verify = Command::new(PROGRAM);
    verify.arg("verify").arg("--ledger").arg(&ledger).arg("--maildir").arg(ringmx.path("mail"));
    let output = verify.output().expect("loadgen runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn handshakes_are_counted_measured_and_resumed() {
    let ringmx = Ringmx::start();
    let run = |port: u16, arguments: &str| {
        let path = ringmx.path("report.json");
        let arguments = format!(
            "--connections 4 --messages 40 --scenario churn --tls implicit --json {} {arguments}",
            path.display()
        );
        let (code, text) = loadgen(format!("localhost:{port}"), &arguments);
        (code, json(&path), text)
    };
    let (code, report, text) = run(ringmx.tickets, "--tls-resume --fail-if resumed<80 --fail-if tls.p50>1h");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!((&report["handshakes"], &report["handshakes_resumed"]), (&40.into(), &36.into()), "{text}");
    assert_eq!(report["result"]["latency_microseconds"]["TLS"]["count"], 40);
    assert!(report["result"]["handshakes_per_second"].as_f64().expect("a rate") > 0.0);
    assert!(says(&text, "40 handshakes, 36 resumed (TLSv1.3 TLS_") && says(&text, "resumption on"), "{text}");
    let (code, report, text) = run(ringmx.implicit, "--tls-resume --tls-version 1.2");
    assert_eq!((code, &report["handshakes_resumed"]), (Some(0), &36.into()), "{text}");
    // Where the server gives no tickets, no session is resumed; without the option none is, either.
    let (code, report, text) = run(ringmx.implicit, "--tls-resume");
    assert_eq!((code, &report["handshakes_resumed"]), (Some(0), &0.into()), "{text}");
    assert!(says(&text, "no session was resumed"), "{text}");
    let (code, report, text) = run(ringmx.tickets, "--fail-if resumed<80");
    assert_eq!((code, &report["handshakes_resumed"]), (Some(3), &0.into()), "{text}");
}

#[test]
fn every_scenario_works_under_tls() {
    let ringmx = Ringmx::start();
    for mode in ["starttls", "implicit"] {
        let port = if mode == "starttls" { ringmx.starttls } else { ringmx.implicit };
        for (scenario, arguments) in [
            ("burst", "--messages 30"),
            ("churn", "--messages 9"),
            ("refused", "--messages 9"),
            ("early-talker", "--messages 9"),
            ("slowloris", "--duration 1500ms"),
            ("huge", "--messages 2"),
            ("abort", "--messages 9"),
            ("idle", "--duration 500ms"),
        ] {
            let arguments = format!("--connections 3 --tls {mode} --scenario {scenario} {arguments}");
            let (code, text) = loadgen(format!("127.0.0.1:{port}"), &arguments);
            assert_eq!(code, Some(0), "{arguments}: {text}");
        }
    }
}

#[test]
fn certificates_are_verified_if_that_was_asked_for() {
    let ringmx = Ringmx::start();
    let roots = ringmx.path("mx.pem");
    let other = ringmx.path("other.pem");
    let made = ringmx::tls::self_signed::make(&["other.test".to_owned()]).expect("a certificate");
    std::fs::write(&other, made.chain).expect("written");
    let run = |host: &str, roots: &Path, more: &str| {
        let arguments =
            format!("--messages 4 --connections 2 --tls starttls --tls-verify {} {more}", roots.display());
        loadgen(format!("{host}:{}", ringmx.starttls), &arguments)
    };
    for (host, more) in [("localhost", ""), ("127.0.0.1", "--tls-name localhost")] {
        let (code, text) = run(host, &roots, more);
        assert_eq!(code, Some(0), "{text}");
        assert!(says(&text, "certificate verified"), "{text}");
    }
    for (host, roots, more, why) in [
        ("localhost", &other, "", "UnknownIssuer"),
        ("127.0.0.1", &roots, "", "not valid for name"),
        ("localhost", &roots, "--tls-name other.test", "not valid for name"),
    ] {
        let (code, text) = run(host, roots, more);
        assert_eq!(code, Some(1), "{text}");
        let failures = text.split("NO RESULT").nth(1).expect("no result");
        assert!(says(failures, "TLS handshake: invalid peer certificate: ") && says(failures, why), "{text}");
    }
}

#[test]
fn a_server_that_cheats_is_told() {
    for (trick, words) in [
        (Trick::Refuses, "STARTTLS: reply 454 \"4.7.0 not now\""),
        (Trick::InjectsReply, "TLS handshake: plaintext in place of TLS: \"250 mx.test\\r\\n\""),
        (Trick::ClosesInHandshake, "TLS handshake: the server closed the connection"),
        (Trick::SilentInHandshake, "TLS handshake: no reply within 300ms"),
        (Trick::EndsInMailData, "mail data: the server closed the connection (close_notify)"),
    ] {
        for scenario in ["steady", "churn"] {
            let server = SecureServer::start(trick);
            let arguments =
                format!("--connections 1 --messages 2 --tls starttls --timeout 300ms --scenario {scenario}");
            let (code, text) = loadgen(server.address, &arguments);
            assert_eq!(code, Some(1), "{text}");
            let failures = text.split("NO RESULT").nth(1).unwrap_or_default();
            assert!(says(failures, words), "{trick:?}: {text}");
        }
    }
    // It comes before or after ClientHello.
    let server = SecureServer::start(Trick::TalksPlaintext);
    let (code, text) = loadgen(server.address, "--connections 1 --messages 2 --tls starttls");
    assert_eq!(code, Some(1), "{text}");
    assert!(says(&text, "plaintext in place of TLS") || says(&text, "corrupt message"), "{text}");
}

#[test]
fn a_server_that_does_not_speak_tls_is_told() {
    let server = Server::start(Oddity::None);
    for scenario in ["steady", "idle", "early-talker"] {
        let arguments = format!("--connections 2 --duration 5s --tls starttls --scenario {scenario}");
        let (code, text) = loadgen(server.address, &arguments);
        assert_eq!(code, Some(1), "{text}");
        assert!(says(&text, "NO RESULT: the receiver does not offer STARTTLS"), "{text}");
    }
    let (code, text) = loadgen(server.address, "--connections 1 --messages 1 --tls implicit");
    assert_eq!(code, Some(1), "{text}");
    assert!(says(&text, "with --tls implicit the server must not begin in plaintext"), "{text}");
}

#[test]
fn sessions_end_with_close_notify() {
    let server = SecureServer::start(Trick::None);
    for (scenario, ends) in [("churn", 6), ("abort", 12)] {
        let arguments = format!("--connections 2 --messages 6 --tls starttls --scenario {scenario}");
        let (code, text) = loadgen(server.address, &arguments);
        assert_eq!(code, Some(0), "{text}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.clean_ends.load(Ordering::Relaxed) < ends {
            assert!(Instant::now() < deadline, "{scenario}: {}", server.clean_ends.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn arguments_about_tls_that_make_no_run_are_told() {
    for (arguments, words) in [
        ("--tls ssl", "starttls, implicit"),
        ("--tls-resume", "--tls <starttls|implicit>"),
        ("--tls-verify x.pem", "--tls <starttls|implicit>"),
        ("--tls-name mx.test", "--tls <starttls|implicit>"),
        ("--tls-version 1.3", "--tls <starttls|implicit>"),
        ("--tls implicit --tls-version 1.1", "1.2, 1.3"),
        ("--tls implicit --tls-name -", "--tls-name takes a host name"),
        ("--tls implicit --tls-verify /nowhere", "--tls-verify /nowhere"),
        ("--tls implicit --tls-verify /dev/null", "no certificate in it"),
    ] {
        let (code, text) = loadgen(SocketAddr::from(([127, 0, 0, 1], 25)), arguments);
        assert_eq!(code, Some(2), "{arguments}: {text}");
        assert!(says(&text, words), "{arguments}: {text}");
    }
}

#[test]
fn postfix_takes_mail_under_tls() {
    let Some(postfix) = Postfix::start() else { return };
    let roots = postfix.certificate.display();
    for (address, arguments) in [
        (postfix.starttls, "--tls starttls --pipelining --bdat".to_owned()),
        (postfix.starttls, format!("--tls starttls --tls-name localhost --tls-verify {roots}")),
        (postfix.implicit, "--tls implicit --size 300KiB --tls-version 1.3".to_owned()),
        (postfix.implicit, "--tls implicit --scenario steady:3,churn:1,abort:1,idle:1".to_owned()),
    ] {
        let (code, text) = loadgen(address, &format!("--connections 6 --messages 30 {arguments}"));
        assert_eq!(code, Some(0), "{arguments}: {text}");
    }
    for (version, least) in [("1.2", 80), ("1.3", 20)] {
        let arguments = format!(
            "--connections 2 --messages 40 --scenario churn --tls implicit --tls-resume --tls-version {version} \
             --fail-if resumed<{least}"
        );
        let (code, text) = loadgen(postfix.implicit, &arguments);
        assert_eq!(code, Some(0), "{text}");
    }
}

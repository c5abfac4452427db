//! The program against small servers that do, and do not, what a receiver should.

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::PROGRAM;
use crate::support::ended::{loadgen, loadgen_to};
use crate::support::server::{Oddity, Server};

#[test]
fn every_message_arrives_once_and_whole() {
    for pipelining in ["", "--pipelining"] {
        let server = Server::start(Oddity::None);
        let arguments = format!("--connections 7 --messages 500 --threads 2 --size 3000 {pipelining}");
        let ended = loadgen_to(&server, &arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        assert!(
            ended.text.contains("500 accepted of 500 begun") && ended.text.contains("messages/s"),
            "{}",
            ended.text
        );
        let seen = server.seen.lock().expect("lock");
        assert!(seen.messages.iter().all(|mail_data| mail_data.len() == 3000));
        let distinct: HashSet<&Vec<u8>> = seen.messages.iter().collect();
        assert_eq!((seen.messages.len(), distinct.len(), seen.connections, seen.quits), (500, 500, 7, 7));
    }
}

#[test]
fn a_session_has_as_many_messages_as_asked() {
    let server = Server::start(Oddity::None);
    let ended =
        loadgen_to(&server, "--connections 3 --messages 60 --per-connection 1 --recipients 3 --to x@y.test");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let seen = server.seen.lock().expect("lock");
    assert_eq!((seen.messages.len(), seen.recipients.len()), (60, 180));
    assert_eq!((seen.connections, seen.quits), (60, 60));
    for recipient in ["RCPT TO:<x@y.test>", "RCPT TO:<x+2@y.test>", "RCPT TO:<x+3@y.test>"] {
        assert_eq!(seen.recipients.iter().filter(|seen| *seen == recipient).count(), 60);
    }
}

#[test]
fn large_mail_data_passes_over_ipv6() {
    let server = Server::start_on("[::1]:0", Oddity::None);
    let ended = loadgen_to(&server, "--connections 2 --messages 6 --size 20MiB");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let seen = server.seen.lock().expect("lock");
    assert!(seen.messages.iter().all(|mail_data| mail_data.len() == 20 << 20) && seen.messages.len() == 6);
}

#[test]
fn a_run_by_time_ends_in_time() {
    let server = Server::start(Oddity::None);
    let started = Instant::now();
    let ended = loadgen_to(&server, "--connections 2 --duration 300ms");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!((300..3000).contains(&started.elapsed().as_millis()));
    assert!(!server.seen.lock().expect("lock").messages.is_empty());
}

#[test]
fn replies_may_come_an_octet_at_a_time() {
    let server = Server::start(Oddity::OctetsOneByOne);
    let ended = loadgen_to(&server, "--connections 4 --messages 50 --pipelining");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert_eq!(server.seen.lock().expect("lock").messages.len(), 50);
}

#[test]
fn without_pipelining_it_says_so_and_goes_on() {
    let server = Server::start(Oddity::NoPipelining);
    let ended = loadgen_to(&server, "--connections 4 --messages 50 --pipelining");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.says("asked for, but the server does not offer it"), "{}", ended.text);
    assert!(ended.text.contains("does not offer PIPELINING: going on without"), "{}", ended.text);
}

#[test]
fn a_run_with_a_refusal_has_no_result() {
    for pipelining in ["", "--pipelining"] {
        let server = Server::start(Oddity::RefusesSome);
        let ended = loadgen_to(&server, &format!("--connections 1 --messages 9 {pipelining}"));
        assert_eq!(ended.code, Some(1), "{}", ended.text);
        assert!(ended.text.contains("6 accepted of 9 begun"), "{}", ended.text);
        assert!(ended.text.contains("NO RESULT") && !ended.text.contains("messages/s"), "{}", ended.text);
        let escaped = r#"RCPT: reply 550 "5.1.1 \x1b[31mno such mailbox""#;
        assert!(ended.text.contains(escaped) && !ended.text.contains('\x1b'), "{}", ended.text);
    }
}

#[test]
fn a_lost_connection_is_a_failure_and_is_made_again() {
    for (oddity, words) in [
        (Oddity::ClosesAfterData, "mail data: the server closed the connection"),
        (Oddity::ShutsDown, "mail data: reply 421 \"4.3.2 shutting down\""),
    ] {
        let server = Server::start(oddity);
        let ended = loadgen_to(&server, "--connections 1 --messages 4");
        assert_eq!(ended.code, Some(1), "{}", ended.text);
        assert!(
            ended.text.contains("2 accepted of 4 begun") && ended.text.contains("2 failures"),
            "{}",
            ended.text
        );
        assert!(ended.text.contains(words), "{}", ended.text);
    }
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let closed = Server::start(Oddity::Closed);
    let ended = loadgen_to(&closed, "--connections 3 --messages 100");
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains(r#"greeting: reply 421 "4.3.2 mx.test is \x07 closed""#), "{}", ended.text);
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let ended = loadgen(&[&nobody.to_string(), "--messages", "100"]);
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains("Connection refused"), "{}", ended.text);
}

#[test]
fn a_server_that_goes_away_is_given_up() {
    let server = Server::start(Oddity::GoesAway);
    let ended = loadgen_to(&server, "--connections 1 --messages 4 --per-connection 1");
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(
        ended.text.contains("1 accepted of 1 begun") && ended.text.contains("5 failures"),
        "{}",
        ended.text
    );
}

#[test]
fn nothing_waits_for_ever() {
    let server = Server::start(Oddity::Silent);
    let ended = loadgen_to(&server, "--connections 2 --messages 2 --timeout 300ms");
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains("mail data: no reply within 300ms"), "{}", ended.text);
}

#[test]
fn a_connect_that_nobody_answers_ends() {
    use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket};
    // A listener with room for one connection, taken: the kernel drops what else comes.
    let new = || socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
    let (listener, first) = (new(), new());
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
    listen(&listener, 0).expect("listen");
    let address: std::net::SocketAddr = getsockname(&listener).expect("address").try_into().expect("IPv4");
    connect(&first, &address).expect("connect");
    let started = Instant::now();
    let ended =
        loadgen(&[&address.to_string(), "--connections", "1", "--messages", "1", "--timeout", "200ms"]);
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains("connect: no answer within 200ms"), "{}", ended.text);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn ctrl_c_ends_a_run_and_what_was_measured_is_told() {
    let server = Server::start(Oddity::None);
    let mut command = Command::new(PROGRAM);
    command.args([&server.address.to_string(), "--duration", "60s", "--connections", "2"]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("loadgen runs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.seen.lock().expect("lock").messages.len() < 10 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("kill");
    let output = child.wait_with_output().expect("loadgen ends");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("stopped") && text.contains("messages/s"), "{text}");
}

#[test]
fn arguments_that_make_no_run_are_told() {
    for (arguments, words) in [
        ("", "HOST:PORT"),
        ("192.0.2.1:25", "--i-own-this-host"),
        ("127.0.0.1", "not HOST:PORT"),
        ("127.0.0.1:25 --connections 0", "--connections takes 1 to"),
        ("127.0.0.1:25 --messages 0", "--messages"),
        ("127.0.0.1:25 --duration 0s", "longer than nothing"),
        ("127.0.0.1:25 --duration 10", "--duration"),
        ("127.0.0.1:25 --size 10", "--size must be at least"),
        ("127.0.0.1:25 --size 2GiB", "at most 1GiB"),
        ("127.0.0.1:25 --to nobody", "--to takes a mailbox"),
        ("127.0.0.1:25 --from a@b>", "--from takes a mailbox"),
        ("127.0.0.1:25 --recipients 0", "--recipients"),
        ("127.0.0.1:25 --per-connection 0", "--per-connection"),
        ("127.0.0.1:25 --threads 9 --connections 8", "9 threads need"),
        ("127.0.0.1:25 --cpus 999", "may not run on core 999"),
        ("127.0.0.1:25 --cpus 0 --threads 2", "give one a thread"),
        ("127.0.0.1:25 --pipeline", "--pipelining"),
        ("127.0.0.1:25 --pipelining=0", "--pipelining"),
        ("127.0.0.1:25 --rate 0/s", "no rate"),
        ("127.0.0.1:25 --rate 1/s..9/s", "as long as --duration says"),
        ("127.0.0.1:25 --scenario study", "there are steady"),
        ("127.0.0.1:25 --scenario steady,churn --connections 1", "2 scenarios need"),
        ("127.0.0.1:25 --size lognormal:x", "no size"),
        ("127.0.0.1:25 --corpus /nowhere", "reading /nowhere"),
        ("127.0.0.1:25 --source 192.0.2.1", "--i-own-this-host"),
        ("127.0.0.1:25 --source ::1", "another family"),
        ("127.0.0.1:25 --fail-if p98>1ms", "no metric"),
        ("127.0.0.1:25 --fail-if rate<NaN", "no bound"),
    ] {
        let ended = loadgen(&arguments.split_whitespace().collect::<Vec<_>>());
        assert_eq!(ended.code, Some(2), "{arguments}: {}", ended.text);
        assert!(ended.text.contains(words), "{arguments}: {}", ended.text);
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = Server::start(Oddity::None);
    let started = Instant::now();
    let ended = loadgen_to(&server, "--connections 4 --threads 2 --rate 200/s --messages 200");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!((990..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(ended.text.contains("open loop, 200/s") && ended.text.contains("  wait "), "{}", ended.text);
    let ended = loadgen_to(&server, "--connections 4 --rate 100/s..300/s --duration 1s --scenario churn");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let accepted =
        ended.text.split(" accepted of ").next().and_then(|before| before.split_whitespace().last());
    let accepted: u32 = accepted.and_then(|count| count.parse().ok()).expect("a count");
    assert!((150..=201).contains(&accepted), "{}", ended.text);
}

#[test]
fn an_open_loop_may_wait_until_connections_have_settled() {
    let server = Server::start(Oddity::None);
    let started = Instant::now();
    let ended = loadgen_to(&server, "-c 4 --rate 1000/s -m 200 --settle 2s --fail-if rate<150");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(started.elapsed() >= Duration::from_millis(2195), "{:?}", started.elapsed());
    assert!(ended.text.contains("200 accepted of 200 begun"), "{}", ended.text);
    assert_eq!(loadgen_to(&server, "--settle 1s").code, Some(2));
}

#[test]
fn what_could_not_be_sent_in_time_is_told() {
    let server = Server::start(Oddity::None);
    let ended = loadgen_to(&server, "--connections 1 --rate 1000000/s --duration 300ms");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.says("were due and not sent: the receiver does not take this rate"), "{}", ended.text);
}

#[test]
fn mail_of_others_is_sent_with_ids_of_ours_from_addresses_of_choice() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("a.eml"), "Subject: a\nMessage-ID: <x>\n\n.dot\n").expect("written");
    let server = Server::start(Oddity::None);
    let corpus = folder.path().display().to_string();
    let arguments =
        format!("--connections 3 --messages 9 --source 127.0.0.0/8 --corpus {corpus} --pipelining=2");
    let ended = loadgen_to(&server, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let seen = server.seen.lock().expect("lock");
    assert_eq!(seen.messages.len(), 9);
    for message in &seen.messages {
        let text = String::from_utf8_lossy(message);
        assert!(
            text.starts_with("X-Loadgen-Id: ") && text.ends_with("\r\nSubject: a\r\n\r\n.dot\r\n"),
            "{text}"
        );
    }
}

#[test]
fn idle_and_slow_connections_keep_a_run_company() {
    let server = Server::start(Oddity::None);
    let ended = loadgen_to(&server, "--connections 6 --messages 300 --scenario steady:4,slowloris:1,idle:1");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("300 accepted of 300 begun"), "{}", ended.text);
    let ended = loadgen_to(&server, "--connections 5 --duration 300ms --scenario idle");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("5 made"), "{}", ended.text);
}

#[test]
fn attacks_end_in_time_and_are_no_failures() {
    let server = Server::start(Oddity::None);
    for scenario in ["half-data", "never-reads", "steady:2,half-data:1,never-reads:1"] {
        let started = Instant::now();
        let ended = loadgen_to(&server, &format!("--connections 4 --duration 300ms --scenario {scenario}"));
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}

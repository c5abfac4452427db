//! What a flood of sessions does to the log of a real server: no line of a message is lost, and what has no
//! line is counted.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use support::client::Client;
use support::server::Server;

const DISCARD: &str = "[[sink]]\nkind = \"discard\"\n[shards]\ncpus = [0]\n";

/// The number of a field of a record.
fn number(line: &str, name: &str) -> u64 {
    let value = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in {line}"))
}

/// The numbers of a field of all records of a kind, summed.
fn sum(lines: &[String], event: &str, name: &str) -> u64 {
    let records = lines.iter().filter(|line| line.split(' ').nth(1) == Some(event));
    records.map(|line| number(line, name)).sum()
}

/// A client that says EHLO and QUIT in one session, and nothing about mail.
fn empty_session(address: SocketAddr) {
    let mut client = Client::greeted(address);
    client.command("QUIT", "221");
    client.expect_end();
}

#[test]
fn sessions_without_a_command_are_told_in_one_line() {
    let mut server = Server::start(DISCARD);
    for _ in 0..30 {
        let mut stream = TcpStream::connect(server.address()).expect("connected");
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).expect("a greeting");
    }
    empty_session(server.address());
    server.wait_for_log(|line| line.contains(" session "));
    assert!(server.stop().success());
    let log = server.log();
    assert_eq!(log.iter().filter(|line| line.contains(" session ")).count(), 1, "that with commands");
    let silent = ["silent_client", "silent_lost", "silent_server"].map(|name| sum(&log, "sessions", name));
    assert_eq!(silent.iter().sum::<u64>(), 30, "{log:#?}");
}

#[test]
fn sessions_over_the_rate_are_counted_and_those_with_mail_have_their_line() {
    let mut server = Server::start(&format!("{DISCARD}[log]\nsession_lines_max = 1\n"));
    for _ in 0..40 {
        empty_session(server.address());
    }
    for _ in 0..5 {
        let mut client = Client::greeted(server.address());
        let reply = client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        client.command("QUIT", "221");
        client.expect_end();
    }
    assert!(server.stop().success());
    let log = server.log();
    let sessions: Vec<&String> = log.iter().filter(|line| line.contains(" session ")).collect();
    let with_mail = sessions.iter().filter(|line| number(line, "accepted") == 1).count();
    assert_eq!(with_mail, 5);
    let others = (sessions.len() - with_mail) as u64;
    // A slow machine takes several seconds, each with a line of its own.
    assert!(others >= 1, "{log:#?}");
    assert_eq!(others + sum(&log, "sessions", "over_rate"), 40, "{log:#?}");
}

/// Standard error stands still while more sessions end than all that waits can hold, and a few messages come.
#[test]
fn a_flood_of_sessions_loses_no_line_of_a_message() {
    const MESSAGES: usize = 20;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringmx.toml");
    let config = "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let config = format!("{config}{DISCARD}[log]\nsession_lines_max = 1_000_000\n");
    fs::write(&file, config).expect("the configuration");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringmx"))
        .args(["serve", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("standard error")).lines();
    let mut next = || log.next().expect("it goes on").expect("readable");
    let listening = std::iter::repeat_with(&mut next).find(|line| line.contains(" listening address="));
    let address = listening.and_then(|line| Some(line.split_once("address=")?.1.to_owned()));
    let address: SocketAddr = address.expect("an address").parse().expect("an address");
    std::iter::repeat_with(&mut next).find(|line| line.ends_with(" ready"));

    // From here on nobody reads. A session's line takes an EHLO name of 255 octets, so 1,000 of these fill
    // what may wait.
    let name = "x".repeat(255);
    let flood = |count: usize| {
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).expect("connected");
            let mut greeting = BufReader::new(stream.try_clone().expect("a handle")).lines();
            greeting.next().expect("a greeting").expect("a greeting");
            stream.write_all(format!("EHLO {name}\r\n").as_bytes()).expect("sent");
            greeting.next().expect("a reply").expect("a reply");
            drop((greeting, stream));
        }
    };
    for _ in 0..MESSAGES {
        flood(300);
        let mut client = Client::greeted(address);
        let reply = client.deliver("a@x.test", "b@y.test", b"Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reader = std::thread::spawn(move || log.collect::<Result<Vec<String>, _>>().expect("readable"));
    let id = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("told to stop");
    assert!(child.wait().expect("it ends").success());
    let log = reader.join().expect("the rest of the log");
    let messages = log.iter().filter(|line| line.contains(" message ")).count();
    assert_eq!(messages, MESSAGES);
    assert_eq!(sum(&log, "dropped", "lines"), 0);
    let sessions = log.iter().filter(|line| line.contains(" session ")).count() as u64;
    let lost = sum(&log, "dropped", "session_lines");
    println!("{sessions} lines of sessions, {lost} lost");
    assert!(lost > 0, "the flood was too small");
    // The clients of the flood and those with mail.
    assert_eq!(sessions + lost, 301 * MESSAGES as u64);
}

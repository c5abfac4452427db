//! Many messages at a time, clients that go away, and the end of the server: bounded, and every message has
//! its one end.

use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::Client;
use support::fake_rspamd::{Asked, FakeRspamd, Manner};
use support::load::{loadgen, verify};
use support::server::Server;

use super::{MESSAGE, PASSES, SPOOL, config, counted, in_spool, scrape, sent, server_of, told, wait_until};

const IN_FLIGHT: &str = "ringmx_filter_messages_in_flight{filter=\"rspamd\"}";

fn in_flight(server: &Server) -> f64 {
    scrape(server)[IN_FLIGHT]
}

#[test]
fn more_messages_than_connections_wait_and_each_has_an_answer() {
    let fake = FakeRspamd::new(Manner::Slow(Duration::from_millis(300), PASSES.to_owned()));
    // Two connections have twelve answers in the time of a message.
    let server = server_of(&fake, "connections_max = 2\ntimeout = \"2s\"");
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..60).map(|_| sent(&server, MESSAGE)).collect();
    let mut most = 0.0_f64;
    while start.elapsed() < Duration::from_secs(1) {
        most = most.max(in_flight(&server));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(most < 2.1, "{most} at a time");
    let replies: Vec<String> = clients.iter_mut().map(Client::reply).collect();
    let took = start.elapsed();
    let passed = replies.iter().filter(|reply| reply.starts_with("250")).count();
    let put_off = replies.iter().filter(|reply| reply.starts_with("451 4.7.1")).count();
    println!("{passed} passed, {put_off} put off, in {took:?}");
    assert_eq!(passed + put_off, 60, "{replies:?}");
    // Two at a time, however long it takes to send them all.
    let most = 2 * (took.as_millis() / 300 + 1) as usize;
    assert!((1..=most).contains(&passed), "{passed} of at most {most}");
    assert!(took < Duration::from_secs(20), "{took:?}: they do not wait for each other");
    assert_eq!(in_spool(&server), passed);
    // No work is begun for messages whose time is nearly over.
    assert!(fake.asked().len() <= passed + 15, "{} asked about", fake.asked().len());
    // Nothing is left over.
    wait_until("nothing is in flight", || in_flight(&server) < 0.5);
    fake.does(Manner::Says(PASSES.to_owned()));
    wait_until("it works", || told(&server, MESSAGE).starts_with("250"));
}

#[test]
fn past_the_bound_of_a_shard_clients_are_put_off_at_once_and_memory_is_bounded() {
    /// Messages of a shard that may be at filters.
    const AWAY_MAX: usize = ringmx::limits::STATION_MESSAGES_MAX;
    support::client::open_files(8192);
    let fake = FakeRspamd::new(Manner::Mute);
    let url = format!("http://{}", fake.listen_tcp());
    let more = "[shards]\ncpus = [0]\n[limits]\nconnections_per_client_max = 3000\n[log]\nsessions = false\n";
    let server = Server::start_whole(&config(SPOOL, &url, "connections_max = 20\ntimeout = \"15s\"", more));
    let before = server.resident_bytes();
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..AWAY_MAX).map(|_| sent(&server, MESSAGE)).collect();
    let filled = start.elapsed();
    for _ in 0..20 {
        let start = Instant::now();
        sent(&server, MESSAGE).expect("451 4.7.1");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert!(filled < Duration::from_secs(10), "{filled:?}: the first of them are over");
    let grown = server.resident_bytes_max() - before;
    println!("{AWAY_MAX} messages took {} KiB, in {filled:?}", grown >> 10);
    assert!(grown < 128 << 20, "{grown}");
    assert!((in_flight(&server) - 20.0).abs() < 0.1);
    for client in &mut clients {
        client.expect("451 4.7.1");
    }
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert_eq!(in_spool(&server), 0);
    fake.does(Manner::Says(PASSES.to_owned()));
}

#[test]
fn a_message_whose_client_went_away_is_dropped() {
    let fake = FakeRspamd::new(Manner::Slow(Duration::from_secs(1), PASSES.to_owned()));
    let server = server_of(&fake, "");
    for round in 1..=3 {
        let client = sent(&server, MESSAGE);
        wait_until("it was asked", || fake.asked().len() == round);
        // It is gone, and not only silent: its end is a reset.
        rustix::net::sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("set");
        drop(client);
    }
    wait_until("it has answered", || counted(&server, "rspamd", "pass") > 2.5);
    assert!(told(&server, MESSAGE).starts_with("250"));
    assert_eq!(in_spool(&server), 1, "only that of whom was told");
    // Who sends nothing more may hear the reply.
    let mut client = sent(&server, MESSAGE);
    client.stream().shutdown(Shutdown::Write).expect("shut down");
    client.expect("250");
    assert_eq!(in_spool(&server), 2);
}

#[test]
fn a_server_that_is_told_to_stop_waits_for_no_filter_for_long_and_keeps_its_word() {
    for (manner, reply) in
        [(Manner::Slow(Duration::from_secs(1), PASSES.to_owned()), "250"), (Manner::Mute, "")]
    {
        let fake = FakeRspamd::new(manner);
        let mut server = server_of(&fake, "timeout = \"200s\"");
        let mut client = sent(&server, MESSAGE);
        wait_until("it was asked", || !fake.asked().is_empty());
        let start = Instant::now();
        let status = server.stop();
        let took = start.elapsed();
        let told = client.reply();
        println!("{reply:?} expected: stopped after {took:?}, {told:?}");
        assert!(status.success() && took < Duration::from_secs(45), "{status} after {took:?}");
        if told.starts_with("250") {
            assert_eq!(in_spool(&server), 1);
        } else {
            assert_eq!(in_spool(&server), 0, "{told}");
        }
        if !reply.is_empty() {
            assert!(told.starts_with(reply), "{told}");
        }
    }
}

#[test]
fn a_server_that_is_killed_while_a_filter_looks_has_nothing_half() {
    let fake = FakeRspamd::new(Manner::Says(PASSES.to_owned()));
    let mut server = server_of(&fake, "");
    assert!(told(&server, MESSAGE).starts_with("250"));
    fake.does(Manner::Mute);
    let large = [b"Subject: x\r\n\r\n".to_vec(), b"text text text text\r\n".repeat(200_000)].concat();
    let clients = [sent(&server, MESSAGE), sent(&server, &large)];
    wait_until("they were asked about", || fake.asked().len() == 3);
    server.signal(Signal::KILL);
    server.wait();
    drop(clients);
    assert_eq!(in_spool(&server), 1);
    let left: Vec<_> = walk(&server.folder().join("spool"));
    assert!(left.iter().all(|(_, bytes)| *bytes < 2 << 20), "{left:?}");
}

fn walk(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            let bytes = entry.metadata().map_or(0, |data| data.len());
            found.push((entry.path().to_string_lossy().into_owned(), bytes));
        }
    }
    found
}

/// Sends so many messages and gives what loadgen said.
fn load(server: &Server, ledger: &Path, more: &[&str]) -> String {
    let output = Command::new(loadgen())
        .arg(server.address().to_string())
        .args(["-c", "20", "--size", "lognormal:6KiB:1.5", "--recipients", "3", "--ledger"])
        .arg(ledger)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("loadgen runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

const QUIET: &str = "[log]\nsessions = false\n";

#[test]
fn nothing_is_lost_or_altered_behind_a_filter_under_load() {
    let fake = FakeRspamd::new(Manner::Says(PASSES.to_owned()));
    let url = format!("http://{}", fake.listen_tcp());
    let server = Server::start_whole(&config(SPOOL, &url, "connections_max = 10", QUIET));
    let ledger = server.folder().join("ledger");
    let mut said = load(&server, &ledger, &["-m", "1500"]);
    said += &load(&server, &ledger, &["-m", "500", "--bdat=3KiB", "--pipelining"]);
    let verdict = verify(&ledger, "spool", &server.folder().join("spool"), &["--no-duplicates"]);
    assert!(verdict.holds && verdict.accepted == 2000, "{}\n{said}", verdict.text);
    assert_eq!(fake.asked().len(), 2000);
    println!("{} connections; {}", fake.connections(), verdict.text);
}

/// The last digit of the length of a message decides.
fn a_tenth(asked: &Asked) -> String {
    if is_refused(asked) { "{\"action\":\"reject\"}".to_owned() } else { PASSES.to_owned() }
}

fn is_refused(asked: &Asked) -> bool {
    asked.message.len() % 10 == 7
}

#[test]
fn who_is_refused_is_refused_and_all_others_are_stored() {
    let fake = FakeRspamd::new(Manner::Judges(a_tenth));
    let url = format!("http://{}", fake.listen_tcp());
    let server = Server::start_whole(&config(SPOOL, &url, "connections_max = 10", QUIET));
    let ledger = server.folder().join("ledger");
    let said = load(&server, &ledger, &["-m", "1000"]);
    let asked = fake.asked();
    let refused = asked.iter().filter(|asked| is_refused(asked)).count();
    let verdict = verify(&ledger, "spool", &server.folder().join("spool"), &["--no-duplicates"]);
    println!("{refused} of {} refused; {}", asked.len(), verdict.text);
    assert!(verdict.holds && refused > 0, "{}\n{said}", verdict.text);
    assert_eq!(verdict.accepted, (asked.len() - refused) as u64, "{}\n{said}", verdict.text);
    assert_eq!(in_spool(&server), asked.len() - refused);
    assert!((counted(&server, "rspamd", "refuse") - refused as f64).abs() < 0.1);
}

//! Milters that are gone, hang, close or make no sense: what clients are told, how soon they are found again,
//! and which connections are used again.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::{Client, stuffed};
use support::fake_milter::{ACTIONS, Act, FakeMilter, agrees, packet, polite, says};
use support::py_milter::PyMilter;
use support::server::{Server, program};

use super::{MESSAGE, logged, milter, receiver, send, stored};

const PUT_OFF: &str = "451 4.7.1 Cannot check the message now, try again later";

/// A slow machine may take so long for what takes no time.
const AT_ONCE: Duration = Duration::from_secs(5);

/// It is found again within this, on a slow machine; on others within two seconds.
const BACK_MAX: Duration = Duration::from_secs(20);

/// How long it takes until a message passes the milter again.
fn time_until_it_passes(server: &Server) -> Duration {
    let start = Instant::now();
    loop {
        let reply = send(server);
        if reply.starts_with("250") {
            let time = start.elapsed();
            let (_, _, envelope) = stored(server, &reply).expect("stored");
            assert_eq!(envelope["filters"][0]["action"], "pass");
            return time;
        }
        assert!(start.elapsed() < BACK_MAX, "{reply}");
        sleep(Duration::from_millis(20));
    }
}

/// What a milter does in the place of being polite, and what of it is told.
fn faults() -> Vec<(u8, Vec<Act>, &'static str)> {
    let sends = |octets: &[u8]| vec![Act::Sends(octets.to_vec())];
    let mut faults = vec![
        (b'O', vec![Act::Closes], "(option negotiation): it may insist on more than adding header fields"),
        (b'O', vec![agrees(0x7F, 0)], "insists on what is not offered: replacing the body (SMFIF_CHGBODY)"),
        (b'O', vec![agrees(ACTIONS, 1 << 11)], "protocol options that are not offered: 0x800"),
        (b'O', vec![says(b'O', &[0; 12])], "speaks version 0"),
        (b'O', vec![says(b'O', &[0; 11])], "the reply 'O' has data that does not fit"),
        (b'O', vec![says(b'c', b"")], "the reply 'c' does not answer what was said (option negotiation)"),
        (b'O', sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a packet of 1213486160 octets"),
        (b'C', sends(&[0, 0, 0, 0]), "a packet of 0 octets"),
        (b'M', sends(b"220 mx.example.test ESMTP\r\n"), "a packet of "),
        (b'M', vec![says(b'Z', b"")], "the reply 'Z' is none of the protocol"),
        (b'T', vec![Act::Sends(packet(b'c', b"").repeat(2))], "answers nothing"),
        (b'L', vec![says(b'h', b"A\0b\0")], "add a header field, which it may not (header section)"),
        (b'B', vec![Act::Sends(vec![0, 0, 0]), Act::Closes], "closed the connection (body)"),
        (b'E', vec![says(b's', b"")], "does not answer what was said (end of message)"),
        (b'E', vec![says(b'm', b"\0\0\0\x01A\0b\0")], "change a header field, which it may not"),
        (b'E', vec![Act::Sends(packet(b'p', b"").repeat(1001))], "comes to no end"),
    ];
    for (command, place) in [
        (b'C', "(connection)"),
        (b'H', "(HELO)"),
        (b'M', "(MAIL)"),
        (b'N', "(header section)"),
        (b'E', "closed the connection (end of message)"),
    ] {
        faults.push((command, vec![Act::Closes], place));
    }
    faults
}

#[test]
fn a_milter_that_makes_no_sense_is_451_and_the_log_says_why() {
    let faults = Mutex::new(faults());
    let next = || faults.lock().expect("the faults").pop();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while let Some((command, acts, words)) = next() {
                    makes_no_sense(command, acts, words);
                }
            });
        }
    });
}

#[test]
fn a_milter_that_insists_is_told_of_at_the_start() {
    let fake = FakeMilter::at(b'O', vec![agrees(0x7F, 0)]);
    let server = receiver(&milter(&fake.socket(), ""), "");
    let line = server.wait_for_log(|line| line.contains("\"level\":\"warning\""));
    let words =
        "the filter milter: the milter insists on what is not offered: replacing the body (SMFIF_CHGBODY)";
    assert!(line.contains(words) && line.contains("451"), "{line}");
    let polite = FakeMilter::polite();
    let server = receiver(&milter(&polite.socket(), ""), "");
    assert!(!server.log().iter().any(|line| line.contains("the filter milter: ")), "{:#?}", server.log());
}

/// What it may have said because of the message: no other message has to do with that.
fn faults_about_a_message() -> Vec<(u8, Vec<Act>, &'static str)> {
    vec![
        (b'R', vec![says(b'y', b"250 2.0.0 Ok\0")], "neither 4yz nor 5yz"),
        (b'E', vec![says(b'h', b"A b\0c\0")], "without a good name"),
        (b'E', vec![Act::Sends(packet(b'h', b"A\0b\0").repeat(101))], "too many header fields"),
    ]
}

#[test]
fn a_milter_that_makes_no_sense_of_one_message_is_asked_about_the_next_one() {
    for (command, acts, words) in faults_about_a_message() {
        let fake = FakeMilter::at(command, acts);
        let server = receiver(&milter(&fake.socket(), ""), "");
        assert_eq!(send(&server), PUT_OFF, "{words}");
        let line = server.wait_for_log(|line| line.contains("\"level\":\"error\""));
        assert!(line.contains(words) && line.contains("have a message checked"), "{words}: {line}");
        fake.does(|_, _| None);
        assert!(send(&server).starts_with("250"), "{words}");
    }
}

fn makes_no_sense(command: u8, acts: Vec<Act>, words: &str) {
    let fake = FakeMilter::at(command, acts);
    let server = receiver(&milter(&fake.socket(), ""), "");
    let start = Instant::now();
    assert_eq!(send(&server), PUT_OFF, "{words}");
    assert!(start.elapsed() < AT_ONCE, "{words}: {:?}", start.elapsed());
    let line = server.wait_for_log(|line| line.contains("\"level\":\"error\""));
    assert!(line.contains(words), "{words}: {line}");
    assert!(line.contains("is answered 451") && line.contains("\"path\":\"milter\""), "{line}");
    let line = logged(&server, "refused", 1);
    assert_eq!((&line["reason"], &line["reply"]), (&json!("filter-unavailable"), &json!(PUT_OFF)));
    fake.does(|_, _| None);
    println!("{words}: back after {:?}", time_until_it_passes(&server));
    server.wait_for_log(|line| line.contains("the filter milter answers again"));
}

#[test]
fn a_milter_that_makes_no_sense_is_passed_by_where_the_configuration_says_so() {
    let fake = FakeMilter::polite();
    let server = receiver(&milter(&fake.socket(), "on_failure = \"accept\""), "");
    for (command, acts, words) in faults().into_iter().chain(faults_about_a_message()).rev() {
        fake.does(move |said, _| (said == command).then(|| acts.clone()));
        let start = Instant::now();
        let reply = send(&server);
        assert!(start.elapsed() < AT_ONCE, "{words}: {:?}", start.elapsed());
        let (front, below, envelope) = stored(&server, &reply).expect("stored");
        assert_eq!((&*front, below.as_slice()), ("", MESSAGE), "{words}");
        assert_eq!(envelope["filters"], json!(null), "{words}");
    }
    let line = server.wait_for_log(|line| line.contains("\"level\":\"error\""));
    assert!(line.contains("is taken unchecked"), "{line}");
}

#[test]
fn a_milter_that_hangs_is_waited_for_once() {
    for command in [b'O', b'C', b'B', b'E'] {
        let fake = FakeMilter::at(command, vec![Act::Hangs]);
        let server = receiver(&milter(&fake.socket(), "timeout = \"1s\""), "");
        let start = Instant::now();
        assert_eq!(send(&server), PUT_OFF, "{command}");
        let waited = start.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < AT_ONCE, "{command}: {waited:?}");
        if command == b'O' {
            let start = Instant::now();
            assert_eq!(send(&server), PUT_OFF);
            let waited = start.elapsed();
            assert!(waited < Duration::from_millis(900), "{waited:?}: it is known to be down");
        }
        fake.does(|_, _| None);
        println!("{}: back after {:?}", char::from(command), time_until_it_passes(&server));
    }
}

/// It answers each command late, but all of them in time.
#[test]
fn a_slow_milter_has_its_time_for_a_message() {
    let fake = FakeMilter::new(|command, _| {
        let acts = polite(command);
        (!acts.is_empty()).then(|| [vec![Act::Waits(Duration::from_millis(60))], acts].concat())
    });
    let server = receiver(&milter(&fake.socket(), ""), "");
    assert!(send(&server).starts_with("250"));
    let line = logged(&server, "message", 1);
    assert_eq!(line["filters"], json!(["milter pass"]));
    // With less time it is put off, and nobody waits longer than that.
    let hasty = receiver(&milter(&fake.socket(), "timeout = \"300ms\""), "");
    let start = Instant::now();
    assert_eq!(send(&hasty), PUT_OFF);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn a_milter_that_is_killed_or_stands_still_is_found_again() {
    let Some(mut pymilter) = PyMilter::start(&[]) else { return };
    let server = receiver(&milter(&pymilter.socket(), "timeout = \"3s\""), "");
    let in_the_middle = |pymilter: &mut PyMilter, ends: &dyn Fn(&mut PyMilter)| {
        pymilter.rules(&["wait=60"]);
        let before = pymilter.told().len();
        std::thread::scope(|threads| {
            let client = threads.spawn(|| (send(&server), Instant::now()));
            let start = Instant::now();
            while !pymilter.told().iter().skip(before).any(|line| line.contains("eom")) {
                assert!(start.elapsed() < BACK_MAX, "{:#?}", server.log());
                sleep(Duration::from_millis(5));
            }
            let start = Instant::now();
            ends(pymilter);
            let (reply, at) = client.join().expect("a reply");
            assert_eq!(reply, PUT_OFF);
            pymilter.rules(&[]);
            at.duration_since(start)
        })
    };
    assert!(send(&server).starts_with("250"));
    pymilter.kill();
    // The kept connection is closed, and nobody listens.
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(send(&server), PUT_OFF);
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    }
    pymilter.start_again();
    println!("killed between messages: back after {:?}", time_until_it_passes(&server));
    let told = in_the_middle(&mut pymilter, &PyMilter::kill);
    assert!(told < AT_ONCE, "{told:?}");
    pymilter.start_again();
    println!("killed in the middle: 451 after {told:?}, back after {:?}", time_until_it_passes(&server));
    pymilter.pause();
    let start = Instant::now();
    assert_eq!(send(&server), PUT_OFF);
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(send(&server), PUT_OFF);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}: it is known to be down", start.elapsed());
    pymilter.resume();
    println!("stopped between messages: back after {:?}", time_until_it_passes(&server));
    let told = in_the_middle(&mut pymilter, &|pymilter| pymilter.pause());
    pymilter.resume();
    println!("stopped in the middle: 451 after {told:?}, back after {:?}", time_until_it_passes(&server));
    let told = server.log().iter().filter(|line| line.contains("\"level\":\"error\"")).count();
    assert!((1..=2).contains(&told), "one line a minute: {told}");
}

/// So many clients at once, each with a message that is sent.
fn begun(server: &Server, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::greeted(server.address())).collect();
    for client in &mut clients {
        client.command("MAIL FROM:<a@x.test>", "250");
        client.command("RCPT TO:<b@y.test>", "250");
        client.command("DATA", "354");
    }
    for client in &mut clients {
        client.send(&stuffed(MESSAGE));
    }
    clients
}

#[test]
fn messages_beyond_the_connections_wait_for_their_turn() {
    let slow = |command: u8, _: &[u8]| {
        (command == b'E').then(|| vec![Act::Waits(Duration::from_millis(50)), says(b'c', b"")])
    };
    let fake = FakeMilter::new(slow);
    let server = receiver(&milter(&fake.socket(), "connections_max = 3"), "");
    let before = fake.connections();
    let replies: Vec<String> = begun(&server, 40).iter_mut().map(Client::reply).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:#?}");
    assert_eq!((fake.connections() - before, fake.connections_max()), (3, 3));
}

/// A socket that is a file has room for some connections that wait to be taken, and no more.
#[test]
fn a_burst_is_more_than_the_socket_of_a_milter_takes_and_costs_nobody_a_451() {
    let fake = FakeMilter::late(3, Duration::from_secs(2));
    let server = receiver(&milter(&fake.socket(), ""), "");
    let replies: Vec<String> = begun(&server, 50).iter_mut().map(Client::reply).collect();
    let errors: Vec<String> =
        server.log().into_iter().filter(|line| line.contains("\"level\":\"error\"")).collect();
    let passed = replies.iter().filter(|reply| reply.starts_with("250")).count();
    assert_eq!((passed, errors), (50, Vec::new()));
    // So does one that stands still for a moment.
    let Some(pymilter) = PyMilter::start(&["eom=accept"]) else { return };
    let server = receiver(&milter(&pymilter.socket(), ""), "");
    pymilter.pause();
    let mut clients = begun(&server, 150);
    sleep(Duration::from_millis(500));
    pymilter.resume();
    let replies: Vec<String> = clients.iter_mut().map(Client::reply).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:?}");
}

#[test]
fn connections_are_used_again_where_they_may_be() {
    let fake = FakeMilter::polite();
    let count = |wanted: usize, why: &str| {
        let server = receiver(&milter(&fake.socket(), ""), "");
        // Whether somebody listens was asked at the start.
        let before = fake.connections();
        for _ in 0..20 {
            let reply = send(&server);
            assert!(reply.starts_with("250"), "{why}: {reply} {:#?}", server.log());
        }
        let lines = server.log();
        assert!(!lines.iter().any(|line| line.contains("\"level\":\"error\"")), "{why}: {lines:#?}");
        assert_eq!(fake.connections() - before, wanted, "{why}");
    };
    count(1, "it says continue");
    fake.does(|command, _| (command == b'E').then(|| vec![says(b'a', b"")]));
    count(20, "it says accept");
    fake.does(|command, _| (command == b'O').then(|| vec![agrees(ACTIONS, 1)]));
    count(20, "it is not told of connections");
    fake.does(|command, _| {
        (command == b'O').then(|| vec![says(b'O', &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0])])
    });
    count(20, "its version is 2");
    fake.does(|command, _| (command == b'K').then(|| vec![Act::Closes]));
    count(20, "it closes between messages");
    fake.does(|command, _| {
        (command == b'K').then(|| vec![Act::Waits(Duration::from_millis(3)), Act::Closes])
    });
    count(20, "it closes at any moment");
    let is_kept = AtomicBool::new(false);
    fake.does(move |command, _| match command {
        b'K' => {
            is_kept.store(true, Ordering::Relaxed);
            None
        }
        b'C' => is_kept.swap(false, Ordering::Relaxed).then(|| vec![Act::Closes]),
        _ => None,
    });
    count(20, "it closes when it is told of the next one");
    fake.does(|command, _| (command == b'K').then(|| vec![says(b'c', b"")]));
    count(20, "it speaks where it is not asked");
}

/// Whoever has closed one half may read the reply yet; whoever resets the connection does not.
#[test]
fn a_message_whose_client_has_gone_is_dropped() {
    let fake = FakeMilter::at(b'E', vec![Act::Waits(Duration::from_millis(500)), says(b'c', b"")]);
    let server = receiver(&milter(&fake.socket(), ""), "");
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<gone@x.test>", "250");
    client.command("RCPT TO:<b@y.test>", "250");
    client.send(b"DATA\r\n");
    let mut octets = [0; 3];
    // What is not taken makes the end a reset.
    client.stream().peek(&mut octets).expect("a reply");
    assert_eq!(&octets, b"354");
    let start = Instant::now();
    client.send(&stuffed(MESSAGE));
    while !fake.commands().contains('E') {
        assert!(start.elapsed() < BACK_MAX);
        sleep(Duration::from_millis(5));
    }
    drop(client);
    assert!(send(&server).starts_with("250"), "the next one goes on");
    let list = Command::new(program()).args(["spool", "list"]).arg(server.folder().join("spool")).output();
    let list = String::from_utf8_lossy(&list.expect("it runs").stdout).into_owned();
    assert!(list.matches(" stored ").count() == 1 && !list.contains("gone@"), "{list}");
}

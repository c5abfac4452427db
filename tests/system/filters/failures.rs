//! Filters that are not there, are slow, or say what makes no sense: the right reply in time, nothing lost,
//! and nobody else held up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::client::Client;
use support::fake_rspamd::{FakeRspamd, Manner, response};
use support::rspamd::Rspamd;
use support::server::Server;

use super::{
    MESSAGE, PASSES, PATIENCE, begun, counted, in_spool, scrape, sent, server, server_of, spool, told,
    wait_until,
};

const UNANSWERED: &str = "451 4.7.1 ";

/// What a reply may take beyond the time that the filter has: machines of CI are slow.
const SLACK: Duration = Duration::from_secs(4);

/// Longer than what replies may take that wait for no filter, on a slow machine; much less than they would
/// take if they did.
const AT_ONCE: Duration = Duration::from_secs(10);

const LONG: &[u8] = &[b'x'; 70];

/// A message of many portions.
fn long() -> Vec<u8> {
    of_lines(10_000)
}

fn of_lines(lines: usize) -> Vec<u8> {
    [b"Subject: long\r\n\r\n".to_vec(), [LONG, b"\r\n"].concat().repeat(lines)].concat()
}

/// The reply to a message, and how long it took.
fn timed(server: &Server, message: &[u8]) -> (String, Duration) {
    let (mut client, rest) = begun(server, message, 1);
    let start = Instant::now();
    client.send(&rest);
    (client.reply().trim_end().to_owned(), start.elapsed())
}

fn is_up(server: &Server) -> bool {
    scrape(server).get("ringmx_filter_up{filter=\"rspamd\"}").is_some_and(|up| *up > 0.5)
}

#[test]
fn whatever_a_filter_does_there_is_the_right_reply_in_time() {
    let timeout = Duration::from_millis(500);
    let json = |body: &str| Manner::Sends(response(body).into_bytes());
    let octets = |octets: &[u8]| Manner::Sends(octets.to_vec());
    let answer = response(PASSES);
    let (first, _) = answer.split_at(answer.len() - 3);
    let manners = [
        Manner::Closes,
        Manner::ClosesAfter(1),
        Manner::Mute,
        Manner::TakesNothing,
        Manner::Slow(Duration::from_secs(6), PASSES.to_owned()),
        octets(b""),
        octets(b"\0\0\0\0"),
        octets(b"220 mx.test ESMTP\r\n"),
        octets(b"HTTP/1.1 200 OK\r\n"),
        octets(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        octets(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}"),
        octets(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nx\r\n"),
        octets(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        octets(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        octets(b"HTTP/1.1 302 Elsewhere\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"),
        octets(&[&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(10_000)].concat()),
        octets(&[&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b' '; 2 << 20]].concat()),
        octets(first.as_bytes()),
        json(""),
        json("{"),
        json("[]"),
        json("{}"),
        json("{\"action\":7}"),
        json("{\"error\":\"no\"}"),
        json(&"[".repeat(200_000)),
        json(&format!("{{\"action\":\"no action\",\"symbols\":{}", "{\"a\":".repeat(100_000))),
    ];
    let long = long();
    for on_failure in ["tempfail", "accept"] {
        let fake = FakeRspamd::new(Manner::Mute);
        let server = server_of(
            &fake,
            &format!("timeout = \"{}ms\"\non_failure = \"{on_failure}\"", timeout.as_millis()),
        );
        let expected = if on_failure == "accept" { "250 2.0.0 " } else { UNANSWERED };
        for manner in &manners {
            fake.does(manner.clone());
            for message in [MESSAGE, &long] {
                let (reply, took) = timed(&server, message);
                assert!(reply.starts_with(expected), "{manner:.60?}: {reply}");
                assert!(took < timeout + SLACK, "{manner:.60?}: {took:?}");
            }
            fake.does(Manner::Says(PASSES.to_owned()));
            // A probe finds that it is there again.
            wait_until("it is up", || is_up(&server));
        }
        let lost = counted(&server, "rspamd", "none");
        println!("{on_failure}: {lost} unanswered");
        assert!((lost - 2.0 * manners.len() as f64).abs() < 0.1, "{lost}");
        let expected = if on_failure == "accept" { 2 * manners.len() } else { 0 };
        assert_eq!(in_spool(&server), expected);
        assert!(told(&server, MESSAGE).starts_with("250"));
        assert_eq!(in_spool(&server), expected + 1);
        let ids = String::from_utf8(spool(&server, &["list"])).expect("ASCII");
        let id = ids.lines().last().and_then(|line| line.split_whitespace().next()).expect("one");
        assert!(super::stored(&server, id).0.ends_with(MESSAGE));
    }
}

#[test]
fn an_answer_may_come_in_single_octets_or_chunks_and_early() {
    let early = format!("HTTP/1.1 100 Continue\r\n\r\n{}", response("{\"action\":\"add header\"}"));
    let fake = FakeRspamd::new(Manner::Drips("{\"action\":\"add header\"}".to_owned()));
    let server = server_of(&fake, "timeout = \"20s\"");
    for manner in [
        Manner::Drips("{\"action\":\"add header\"}".to_owned()),
        Manner::SaysOnce("{\"action\":\"add header\"}".to_owned()),
        Manner::Sends(early.into_bytes()),
        Manner::Sends(b"HTTP/1.0 200 OK\r\n\r\n{\"action\":\"add_header\"}".to_vec()),
    ] {
        fake.does(manner.clone());
        let reply = told(&server, &long());
        let (stored, _) = super::stored(&server, super::id(&reply));
        assert!(stored.starts_with(b"X-Spam: Yes\r\n") && stored.ends_with(&long()), "{manner:?}");
    }
}

/// With keep-alive either end may close at any time between two messages.
#[test]
fn a_connection_that_was_closed_between_two_messages_costs_nobody_a_451() {
    let fake = FakeRspamd::new(Manner::Sends(response(PASSES).into_bytes()));
    let server = server_of(&fake, "timeout = \"20s\"");
    let (mut client, long) = (Client::greeted(server.address()), long());
    for manner in [
        Manner::Sends(response(PASSES).into_bytes()),
        Manner::SaysFirst(PASSES.to_owned()),
        Manner::Says(PASSES.to_owned()),
    ] {
        let before = fake.connections();
        fake.does(manner.clone());
        for message in [MESSAGE, MESSAGE, &long, &long, MESSAGE] {
            let reply = client.deliver("a@x.test", "b@y.test", message);
            assert!(reply.starts_with("250"), "{manner:.9?}: {reply}\n{}", server.log().join("\n"));
        }
        println!("{manner:?}: {} connections", fake.connections() - before);
    }
    assert!((counted(&server, "rspamd", "none")).abs() < 0.1);
    assert!(is_up(&server));
}

/// A filter that answers before it has all of a message gets the rest of it, or nothing more: what is left
/// is never taken for another request.
#[test]
fn what_a_filter_did_not_take_is_never_sent_as_something_else() {
    let fake = FakeRspamd::new(Manner::SaysEarly("{\"action\":\"reject\"}".to_owned()));
    let server = server_of(&fake, "timeout = \"2s\"\nconnections_max = 1");
    // More than the buffers of a connection hold.
    let message = of_lines(200_000);
    let (reply, took) = timed(&server, &message);
    assert!(reply.starts_with("550") || reply.starts_with(UNANSWERED), "{reply}");
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    fake.does(Manner::Says(PASSES.to_owned()));
    wait_until("it is up", || is_up(&server));
    let before = fake.connections();
    for _ in 0..3 {
        let reply = told(&server, MESSAGE);
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(fake.connections(), before + 1, "the first one is not used again");
}

/// Else each message would have to wait for it.
#[test]
fn one_that_hangs_is_known_after_one_message_also_where_it_has_little_time() {
    let fake = FakeRspamd::new(Manner::Mute);
    let server = server_of(&fake, "timeout = \"800ms\"");
    assert!(told(&server, MESSAGE).starts_with(UNANSWERED));
    let start = Instant::now();
    for _ in 0..20 {
        assert!(told(&server, MESSAGE).starts_with(UNANSWERED));
    }
    assert!(start.elapsed() < AT_ONCE, "{:?} for 20 of them", start.elapsed());
    assert_eq!(fake.asked().len(), 1);
}

/// What it says before it closes is about the message, not about the filter.
#[test]
fn one_that_does_not_like_a_message_is_not_taken_for_down() {
    let refusal = b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n".to_vec();
    let fake = FakeRspamd::new(Manner::SendsEarly(refusal));
    let server = server_of(&fake, "timeout = \"20s\"");
    let large = of_lines(100_000);
    for _ in 0..3 {
        let (reply, took) = timed(&server, &large);
        assert!(reply.starts_with(UNANSWERED) && took < AT_ONCE + SLACK, "{reply} after {took:?}");
    }
    server.wait_for_log(|line| line.contains("the HTTP status 413 Too large"));
    assert!(is_up(&server));
    assert!(!server.log().iter().any(|line| line.contains("answers again")), "{:?}", server.log());
}

#[test]
fn while_a_filter_is_down_nobody_waits_and_its_return_is_noticed() {
    let Some(mut rspamd) = Rspamd::start() else { return };
    let server = server(&rspamd.url(), "timeout = \"3s\"");
    let accepting = server_accepting(&rspamd);
    assert!(told(&server, MESSAGE).starts_with("250"));
    let mut stored = 1;
    for round in 0..4 {
        // Before a message, and in the middle of one.
        let begun = begun(&server, &long(), 5000);
        let is_stopped = round % 2 == 0;
        if is_stopped {
            rspamd.pause();
        } else {
            rspamd.kill();
        }
        let (mut client, rest) = begun;
        let start = Instant::now();
        client.send(&rest);
        let reply = client.reply();
        assert!(reply.starts_with(UNANSWERED), "{reply}");
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(3) + SLACK, "{waited:?}");
        let start = Instant::now();
        for _ in 0..20 {
            let reply = told(&server, MESSAGE);
            assert!(reply.starts_with(UNANSWERED), "{reply}");
        }
        assert!(start.elapsed() < AT_ONCE, "{:?} for 20 of them", start.elapsed());
        assert!(!is_up(&server));
        assert!(told(&accepting, MESSAGE).starts_with("250"));
        if is_stopped {
            rspamd.resume();
        } else {
            rspamd.start_again();
        }
        let start = Instant::now();
        while !told(&server, MESSAGE).starts_with("250") {
            assert!(start.elapsed() < PATIENCE, "{}", server.log().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
        stored += 1;
        let back = start.elapsed();
        println!("stopped: {is_stopped}; the first reply after {waited:?}, back after {back:?}");
        assert_eq!(in_spool(&server), stored);
    }
    let log = server.log().join("\n");
    assert!(log.contains("the filter rspamd answers again"), "{log}");
    let told =
        log.lines().filter(|line| line.contains("error") && line.contains("have a message checked")).count();
    assert!((1..=40).contains(&told), "{told} lines of 84 messages");
    assert_eq!(in_spool(&accepting), 4);
}

fn server_accepting(rspamd: &Rspamd) -> Server {
    server(&rspamd.url(), "timeout = \"3s\"\non_failure = \"accept\"")
}

#[test]
fn a_filter_that_dies_in_the_middle_of_a_message_costs_that_message_a_451() {
    let fake = FakeRspamd::new(Manner::Mute);
    let server = server_of(&fake, "timeout = \"30s\"");
    let mut client = sent(&server, MESSAGE);
    wait_until("it was asked", || fake.asked().len() == 1);
    fake.hangs_up();
    let start = Instant::now();
    client.expect(UNANSWERED);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(in_spool(&server), 0);
}

#[test]
fn others_are_not_held_up_by_a_message_that_waits() {
    /// The others have their replies.
    static GOES_ON: AtomicBool = AtomicBool::new(false);
    let judge = |asked: &support::fake_rspamd::Asked| {
        let start = Instant::now();
        while asked.message.ends_with(b"slow\r\n") && !GOES_ON.load(Ordering::Acquire) {
            assert!(start.elapsed() < 2 * PATIENCE, "nobody lets it go on");
            std::thread::sleep(Duration::from_millis(10));
        }
        PASSES.to_owned()
    };
    let fake = FakeRspamd::new(Manner::Judges(judge));
    let server = server_of(&fake, "timeout = \"120s\"");
    let mut slow: Vec<Client> = (0..5).map(|_| sent(&server, b"Subject: x\r\n\r\nslow\r\n")).collect();
    wait_until("they are there", || {
        scrape(&server).get("ringmx_filter_messages_in_flight{filter=\"rspamd\"}") == Some(&5.0)
    });
    for _ in 0..10 {
        let reply = told(&server, MESSAGE);
        assert!(reply.starts_with("250"), "{reply}");
    }
    GOES_ON.store(true, Ordering::Release);
    for client in &mut slow {
        client.expect("250");
    }
}

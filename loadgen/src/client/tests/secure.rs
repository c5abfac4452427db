//! Sessions under TLS, without TLS: the handshake is a word in the server's list.

use super::*;
use crate::proxy::{Proxy, ProxyVersion};

/// Stands for a handshake that is done.
const DONE: &str = "(handshake)";

const OFFERS_TLS: &str = "250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n";

fn secure(name: &str, mode: Mode, proxy: bool) -> &'static Scenario {
    let Scenario { row, messages_per_session, commands, corpus, .. } =
        scenario_of(name, Some(1), None, 1, None);
    let clients = "198.18.0.0/15".parse().expect("a network");
    Box::leak(Box::new(Scenario {
        row,
        messages_per_session: *messages_per_session,
        pipelining: Some(1),
        bdat: None,
        proxy: proxy.then_some(Proxy { version: ProxyVersion::V1, clients }),
        tls: Some(mode),
        commands: commands.clone(),
        corpus,
    }))
}

/// As `play`, and where a handshake begins, what goes before it is in the list.
fn play_secure(scenario: &'static Scenario, replies: &[&str]) -> Played {
    let mut now = Instant::now();
    let mut work = Work::new(0, Some(1));
    let client = Client::new(scenario, work.take(now), 0, now);
    let mut played = Played { sent: Vec::new(), tally: Tally::default(), client };
    for reply in std::iter::once(&"").chain(replies) {
        now += Duration::from_millis(1);
        if *reply == DONE {
            played.client.handle_secured(now);
        } else {
            played.client.handle_octets(reply.as_bytes(), now, &mut played.tally);
        }
        let mut head = Vec::new();
        if played.client.awaits_handshake() {
            played.client.begin_handshake(&mut head);
            played.sent.push(format!("{}ClientHello", in_words(&String::from_utf8_lossy(&head))));
            head.clear();
        }
        while let Some(body) = played.client.next_send(&mut head, &mut work, now, &mut played.tally) {
            played.sent.push(in_words(&String::from_utf8_lossy(&[&head[..], body].concat())));
            head.clear();
            played.client.handle_sent(now, &mut played.tally);
        }
    }
    played
}

const GROUP: &str = "MAIL FROM:<a@x.test>;RCPT TO:<b@y.test>;DATA;";

const SERVED: [&str; 3] = ["250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n", "221 bye\r\n"];

#[test]
fn behind_starttls_the_session_begins_afresh() {
    let scenario = secure("steady", Mode::Starttls, false);
    // What is offered in plaintext does not count.
    let replies =
        [&["220 mx.test\r\n", OFFERS_TLS, "220 go\r\n", DONE, "250 mx.test\r\n"][..], &["250 ok\r\n"]];
    let played = play_secure(scenario, &replies.concat());
    let ehlo = "EHLO loadgen.test;";
    assert_eq!(
        played.sent,
        [ehlo, "STARTTLS;", "ClientHello", ehlo, "MAIL FROM:<a@x.test>;", "RCPT TO:<b@y.test>;"]
    );
    assert!(played.tally.pipelining_missing);
    let replies = [&["220 mx.test\r\n", OFFERS_TLS, "220 go\r\n", DONE, OFFERS][..], &SERVED].concat();
    let played = play_secure(scenario, &replies);
    assert_eq!(played.sent[3..], [ehlo, GROUP, "(mail data)", "QUIT;"]);
    assert_eq!((played.tally.accepted, played.tally.failures.count), (1, 0));
}

#[test]
fn plaintext_behind_the_reply_to_starttls_is_never_a_reply() {
    let scenario = secure("steady", Mode::Starttls, false);
    let start = ["220 mx.test\r\n", OFFERS_TLS];
    for replies in [
        &["220 go\r\n250 mx.test\r\n"][..],
        &["220 go\r\n2"],
        &["220 go\r\n", "250 mx.test\r\n"],
        &["220 go\r\n", "2"],
    ] {
        let played = play_secure(scenario, &[&start[..], replies].concat());
        assert_eq!(played.client.ending(), Some(SessionEnd::Broken), "{replies:?}");
        assert_eq!(played.tally.failures.count, 1);
        let words = &played.tally.failures.kinds()[0].words;
        assert!(words.starts_with("TLS handshake: plaintext in place of TLS: \"2"), "{words}");
    }
}

#[test]
fn starttls_that_is_not_offered_or_refused_is_told() {
    for name in ["steady", "idle", "early-talker"] {
        let scenario = secure(name, Mode::Starttls, false);
        let played = play_secure(scenario, &["220 mx.test\r\n", OFFERS]);
        let why = played.tally.unsupported.expect("it is told");
        assert!(why.starts_with("the receiver does not offer STARTTLS"), "{why}");
        assert_eq!(played.sent.last().map(String::as_str), Some("QUIT;"));
        let played = play_secure(scenario, &["220 mx.test\r\n", OFFERS_TLS, "454 4.7.0 not now\r\n"]);
        assert_eq!(played.tally.failures.kinds()[0].words, "STARTTLS: reply 454 \"4.7.0 not now\"", "{name}");
        assert_eq!(played.sent.last().map(String::as_str), Some("QUIT;"));
    }
}

#[test]
fn with_implicit_tls_the_handshake_comes_first() {
    let replies = [&[DONE, "220 mx.test\r\n", OFFERS][..], &SERVED].concat();
    let played = play_secure(secure("steady", Mode::Implicit, false), &replies);
    assert_eq!(played.sent, ["ClientHello", "EHLO loadgen.test;", GROUP, "(mail data)", "QUIT;"]);
    assert_eq!((played.tally.accepted, played.tally.failures.count), (1, 0));
    // The greeting is waited for since the handshake.
    assert_eq!(played.tally.latencies.percentiles(Phase::Greeting).max, 1000);
}

#[test]
fn a_proxy_header_is_said_once_and_in_plaintext() {
    let header = "PROXY TCP4 198.18.0.1 192.0.2.25 1024 25;";
    let replies = [DONE, "220 mx.test\r\n", OFFERS];
    let played = play_secure(secure("steady", Mode::Implicit, true), &replies);
    assert_eq!(played.sent, [format!("{header}ClientHello").as_str(), "EHLO loadgen.test;", GROUP]);
    let replies = ["220 mx.test\r\n", OFFERS_TLS, "220 go\r\n", DONE, OFFERS];
    let played = play_secure(secure("steady", Mode::Starttls, true), &replies);
    let ehlo = "EHLO loadgen.test;";
    assert_eq!(played.sent, [header, ehlo, "STARTTLS;", "ClientHello", ehlo, GROUP]);
}

#[test]
fn an_early_talker_is_early_once() {
    let ehlo = "EHLO loadgen.test;";
    let played = play_secure(
        secure("early-talker", Mode::Implicit, false),
        &[DONE, "220 mx.test\r\n250 mx.test\r\n", "250 ok\r\n"],
    );
    assert_eq!(played.sent[..3], ["ClientHello", ehlo, "MAIL FROM:<a@x.test>;"]);
    let scenario = secure("early-talker", Mode::Starttls, false);
    let start = ["220 mx.test\r\n", OFFERS_TLS, "220 go\r\n", DONE];
    let played = play_secure(scenario, &start);
    assert_eq!(played.sent, [ehlo, "STARTTLS;", "ClientHello", ehlo]);
    // Then a refusal is a failure.
    let played = play_secure(scenario, &[&start[..], &["554 no\r\n"]].concat());
    assert_eq!((played.tally.refused, played.tally.failures.count), (0, 1));
    assert!(!played.client.may_be_ended());
}

#[test]
fn no_scenario_lets_the_server_end_a_handshake() {
    for name in ["idle", "slowloris", "early-talker"] {
        let played = play_secure(secure(name, Mode::Implicit, false), &[]);
        assert!(!played.client.may_be_ended(), "{name}");
        assert_eq!(played.client.waits_for().to_string(), "TLS handshake");
    }
}

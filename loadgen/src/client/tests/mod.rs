//! Sessions in memory: a server that is a list of replies, on virtual time.

use std::num::NonZeroU64;
use std::time::Duration;

use super::*;
use crate::corpus::{Corpus, Recipe};
use crate::ledger::entry::{Entry, Step};
use crate::scenario::commands::{Commands, forward_paths};
use crate::scenario::mix::Mix;
use crate::work::Work;

mod secure;

fn scenario(pipelining: bool, recipients: usize, messages_per_session: Option<u64>) -> &'static Scenario {
    scenario_of("steady", pipelining.then_some(1), None, recipients, messages_per_session)
}

fn scenario_of(
    name: &str,
    pipelining: Option<u16>,
    bdat: Option<usize>,
    recipients: usize,
    messages_per_session: Option<u64>,
) -> &'static Scenario {
    let commands = Commands::new("a@x.test", "", &forward_paths("b@y.test", recipients));
    let next_group: &[u8] = if pipelining > Some(1) && bdat.is_none() { &commands.group } else { b"" };
    let recipe = Recipe { chunked: bdat.is_some(), next_group, ..Recipe::for_tests() };
    let corpus = Box::leak(Box::new(Corpus::new(&recipe).expect("large enough")));
    let row = name.parse::<Mix>().expect("a scenario").0[0].0;
    let messages_per_session = messages_per_session.and_then(NonZeroU64::new).or(row.messages_per_session);
    Box::leak(Box::new(Scenario {
        row,
        messages_per_session,
        pipelining,
        bdat,
        proxy: None,
        tls: None,
        commands,
        corpus,
    }))
}

/// A session against a server that says these replies, each once the client waits: what the client sent (mail
/// data as one word), and what was counted.
struct Played {
    sent: Vec<String>,
    tally: Tally,
    client: Client,
}

fn play(scenario: &'static Scenario, messages: u64, replies: &[&str]) -> Played {
    play_in_portions(scenario, messages, replies, &|octets| vec![octets])
}

fn play_in_portions(
    scenario: &'static Scenario,
    messages: u64,
    replies: &[&str],
    portions: &dyn for<'a> Fn(&'a [u8]) -> Vec<&'a [u8]>,
) -> Played {
    let mut now = Instant::now();
    let mut work = Work::new(0, Some(messages));
    let client = Client::new(scenario, work.take(now), 0, now);
    let mut played = Played { sent: Vec::new(), tally: Tally::default(), client };
    for reply in replies {
        now += Duration::from_millis(1);
        for portion in portions(reply.as_bytes()) {
            played.client.handle_octets(portion, now, &mut played.tally);
            let mut head = Vec::new();
            while let Some(body) = played.client.next_send(&mut head, &mut work, now, &mut played.tally) {
                let text = String::from_utf8([&head[..], body].concat()).expect("ASCII");
                played.sent.push(in_words(&text));
                head.clear();
                played.client.handle_sent(now, &mut played.tally);
            }
        }
    }
    played
}

/// Commands with `;` for CRLF, and one word for mail data.
fn in_words(text: &str) -> String {
    let (before, data) = text.split_at(text.find("X-Loadgen-Id").unwrap_or(text.len()));
    let behind = data.find("\r\n.\r\n").map_or("", |at| &data[at + 5..]);
    let word = if data.is_empty() { "" } else { "(mail data)" };
    format!("{}{word}{}", before.replace("\r\n", ";"), behind.replace("\r\n", ";"))
}

const OFFERS: &str = "250-mx.test\r\n250-pipelining\r\n250 SIZE 1000\r\n";

#[test]
fn a_session_says_each_command_when_the_last_was_answered() {
    let replies = [
        "220 mx.test\r\n",
        OFFERS,
        "250 ok\r\n",
        "250 ok\r\n",
        "251 will forward\r\n",
        "354\r\n",
        "250 ok\r\n",
        "221 bye\r\n",
    ];
    let played = play(scenario(false, 2, None), 1, &replies);
    assert_eq!(
        played.sent,
        [
            "EHLO loadgen.test;",
            "MAIL FROM:<a@x.test>;",
            "RCPT TO:<b@y.test>;",
            "RCPT TO:<b+2@y.test>;",
            "DATA;",
            "(mail data)",
            "QUIT;"
        ]
    );
    assert_eq!(played.client.ending(), Some(SessionEnd::Quit));
    assert_eq!((played.tally.accepted, played.tally.started, played.tally.failures.count), (1, 1, 0));
    let latency = |phase| played.tally.latencies.percentiles(phase).max;
    assert_eq!(
        [Phase::Greeting, Phase::Envelope, Phase::Accepted, Phase::Transaction].map(latency),
        [1000, 4001, 1000, 5003]
    );
}

#[test]
fn a_command_group_leaves_in_one_and_replies_may_be_split_anywhere() {
    let scenario = scenario(true, 2, None);
    let replies = [
        "220-mx\r\n220 test\r\n",
        OFFERS,
        "250 ok\r\n250-o\r\n250 k\r\n250 ok\r\n354 go\r\n",
        "250 ok\r\n",
        "221 bye\r\n",
    ];
    let whole = play(scenario, 1, &replies);
    let group = "MAIL FROM:<a@x.test>;RCPT TO:<b@y.test>;RCPT TO:<b+2@y.test>;DATA;";
    assert_eq!(whole.sent, ["EHLO loadgen.test;", group, "(mail data)", "QUIT;"]);
    assert_eq!((whole.tally.accepted, whole.tally.failures.count), (1, 0));
    for at in 0..replies.iter().map(|reply| reply.len()).max().unwrap_or(0) {
        let split = play_in_portions(scenario, 1, &replies, &|octets| {
            let (one, two) = octets.split_at(at.min(octets.len()));
            vec![one, two]
        });
        assert_eq!(
            (&split.sent, split.tally.accepted, split.tally.failures.count),
            (&whole.sent, 1, 0),
            "split at {at}"
        );
    }
    let bytes = play_in_portions(scenario, 1, &replies, &|octets| octets.chunks(1).collect());
    assert_eq!((bytes.sent, bytes.tally.accepted), (whole.sent, 1));
}

#[test]
fn without_pipelining_in_the_reply_to_ehlo_no_group_is_sent() {
    let replies = ["220 mx.test\r\n", "250 mx.test\r\n", "250 ok\r\n"];
    let played = play(scenario(true, 1, None), 1, &replies);
    assert_eq!(played.sent[1..], ["MAIL FROM:<a@x.test>;", "RCPT TO:<b@y.test>;"]);
    assert!(played.tally.pipelining_missing);
}

#[test]
fn a_session_ends_after_its_messages() {
    let message = ["250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n"];
    let replies = [&["220 mx.test\r\n", OFFERS][..], &message, &message, &["221 bye\r\n"]].concat();
    let played = play(scenario(true, 1, Some(2)), 100, &replies);
    assert_eq!(played.tally.accepted, 2);
    assert_eq!(played.client.ending(), Some(SessionEnd::Quit));
}

#[test]
fn a_refused_message_is_a_failure_and_the_session_goes_on() {
    let start = ["220 mx.test\r\n", OFFERS];
    let refusals: [(&[&str], &str); 5] = [
        (&["451 no\r\n"], "MAIL: reply 451 \"no\""),
        (&["250 ok\r\n", "550 5.1.1 \x1b[2J\r\n"], "RCPT: reply 550 \"5.1.1 \\x1b[2J\""),
        (&["250 ok\r\n", "250 ok\r\n", "554 no\r\n"], "DATA: reply 554"),
        (&["250 ok\r\n", "252 hm\r\n"], "RCPT: reply 252"),
        (&["250 ok\r\n", "250 ok\r\n", "354 go\r\n", "452 full\r\n"], "mail data: reply 452"),
    ];
    for (replies, words) in refusals {
        let played = play(scenario(false, 1, None), 2, &[&start, replies].concat());
        assert_eq!(
            (played.tally.started, played.tally.accepted),
            (if words.starts_with("mail") { 2 } else { 1 }, 0)
        );
        assert_eq!(played.tally.failures.count, 1);
        assert!(played.tally.failures.kinds()[0].words.starts_with(words), "{:?}", played.tally.failures);
        let next = if words.starts_with("mail") { "MAIL FROM:<a@x.test>;" } else { "RSET;" };
        assert_eq!(played.sent.last().map(String::as_str), Some(next));
    }
}

#[test]
fn one_refused_recipient_spoils_the_message_but_not_the_session() {
    let replies = ["220 mx.test\r\n", OFFERS, "250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n", "250 ok\r\n"];
    let played = play(scenario(true, 2, None), 1, &replies);
    assert_eq!(played.sent[2..], ["(mail data)", "QUIT;"]);
    assert_eq!((played.tally.accepted, played.tally.failures.count), (0, 1));
}

#[test]
fn data_accepted_without_recipients_is_ended_by_a_dot() {
    let replies =
        ["220 mx.test\r\n", OFFERS, "250 ok\r\n550 no\r\n354 go\r\n", "554 no valid recipients\r\n"];
    let played = play(scenario(true, 1, None), 1, &replies);
    assert_eq!(played.sent[2..], [".;", "QUIT;"]);
    assert_eq!((played.tally.accepted, played.tally.failures.count), (0, 2));
}

#[test]
fn a_421_and_a_reply_that_nothing_asked_for_end_the_session() {
    for (reply, words) in [
        ("421 4.3.2 closing\r\n", "MAIL: reply 421"),
        ("250 ok\r\n250 more\r\n", "RCPT: reply 250 \"more\" (nothing was asked)"),
        ("what\r\n", "MAIL: not a reply: \"what\\r\\n\""),
    ] {
        let played = play(scenario(false, 1, None), 1, &["220 mx.test\r\n", OFFERS, reply]);
        assert_eq!(played.client.ending(), Some(SessionEnd::Broken));
        assert!(played.tally.failures.kinds()[0].words.starts_with(words), "{:?}", played.tally.failures);
        assert_eq!(played.tally.accepted, 0);
    }
}

/// What the ledger gets to know of the first message when the session hears these replies, and its connection
/// is then lost after all was sent, or not.
fn ending_after(pipelining: bool, recipients: usize, replies: &[&str], sent: bool) -> (Ending, u16) {
    use crate::ledger::notes::{Basket, Notes};
    let basket = Basket::default();
    let scenario = scenario(pipelining, recipients, Some(1));
    let now = Instant::now();
    let mut tally = Tally { notes: Notes::new(Some(basket.clone())), ..Tally::default() };
    let mut work = Work::new(5, Some(1));
    let mut client = Client::new(scenario, work.take(now), 0, now);
    for reply in [&["220 mx.test\r\n", OFFERS][..], replies].concat() {
        client.handle_octets(reply.as_bytes(), now, &mut tally);
        while client.next_send(&mut Vec::new(), &mut work, now, &mut tally).is_some() {}
    }
    client.abandon(sent, &mut tally);
    tally.notes.end();
    match basket.entries()[..] {
        [Entry::Begun { number: 5 }, Entry::Ended { number: 5, ending, recipients }] => (ending, recipients),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn the_ledger_is_told_how_each_message_ended() {
    use Ending::{Accepted, Refused, Unfinished, Unknown};
    let group = "250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n";
    let none = "250 ok\r\n550 no\r\n451 no\r\n354 go\r\n";
    let refused = |step, code| Refused { step, code };
    for (replies, sent, expected) in [
        (&[group, "250 ok\r\n"][..], true, (Accepted, 1)),
        (&[group, "552 no\r\n"], true, (refused(Step::End, 552), 1)),
        (&[group, "451 no\r\n"], true, (refused(Step::End, 451), 1)),
        (&[group, "421 bye\r\n"], true, (refused(Step::End, 421), 1)),
        (&[group, "200 hm\r\n"], true, (Unknown, 1)),
        (&[group, "what\r\n"], true, (Unknown, 1)),
        (&[group], true, (Unknown, 1)),
        (&[group], false, (Unfinished, 1)),
        (&["250 ok\r\n"], true, (Unfinished, 0)),
        (&[none, "554 no\r\n"], true, (refused(Step::Rcpt, 451), 0)),
        (&[none, "250 strange\r\n"], true, (refused(Step::Rcpt, 451), 0)),
        (&["421 bye\r\n"], true, (refused(Step::Mail, 421), 0)),
        (&["451 no\r\n503 no\r\n503 no\r\n503 no\r\n"], true, (refused(Step::Data, 503), 0)),
    ] {
        assert_eq!(ending_after(true, 2, replies, sent), expected, "{replies:?}");
    }
    assert_eq!(
        ending_after(false, 1, &["250 ok\r\n", "250 ok\r\n", "554 no\r\n"], true).0,
        refused(Step::Data, 554)
    );
    assert_eq!(ending_after(false, 1, &["250 ok\r\n", "250 ok\r\n", "250 what\r\n"], true).0, Unfinished);
}

const OFFERS_ALL: &str = "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 CHUNKING\r\n";

#[test]
fn two_deep_the_next_envelope_rides_behind_the_mail_data() {
    let group = "250 ok\r\n250 ok\r\n354 go\r\n";
    let both = format!("250 accepted\r\n{group}");
    let replies = ["220 mx.test\r\n", OFFERS, group, &both, "250 accepted\r\n", "221 bye\r\n"];
    let played = play(scenario_of("steady", Some(2), None, 1, None), 2, &replies);
    let said = "MAIL FROM:<a@x.test>;RCPT TO:<b@y.test>;DATA;";
    assert_eq!(
        played.sent,
        ["EHLO loadgen.test;", said, &format!("(mail data){said}"), "(mail data)", "QUIT;"]
    );
    assert_eq!((played.tally.accepted, played.tally.started, played.tally.failures.count), (2, 2, 0));
}

#[test]
fn chunks_wait_for_their_replies_unless_pipelined() {
    let one = ["250 ok\r\n", "250 ok\r\n", "250 300 octets\r\n", "250 accepted\r\n", "221 bye\r\n"];
    let replies = [&["220 mx.test\r\n", OFFERS_ALL][..], &one].concat();
    let played = play(scenario_of("steady", None, Some(300), 1, None), 1, &replies);
    assert_eq!(played.sent.len(), 6, "{:?}", played.sent);
    assert!(played.sent[3].starts_with("BDAT 300;(mail data)"), "{}", played.sent[3]);
    assert!(played.sent[4].starts_with("BDAT 300 LAST;"), "{}", played.sent[4]);
    assert_eq!((played.tally.accepted, played.tally.failures.count), (1, 0));

    // Three transactions leave before the first is answered.
    let whole = "250 ok\r\n250 ok\r\n250 accepted\r\n";
    let replies = ["220 mx.test\r\n", OFFERS_ALL, whole, &whole.repeat(2), "221 bye\r\n"];
    let played = play(scenario_of("steady", Some(3), Some(1 << 20), 1, None), 3, &replies);
    let transaction = "MAIL FROM:<a@x.test>;RCPT TO:<b@y.test>;BDAT 600 LAST;(mail data)";
    assert_eq!(played.sent, ["EHLO loadgen.test;", transaction, transaction, transaction, "QUIT;"]);
    assert_eq!((played.tally.accepted, played.tally.failures.count), (3, 0));
}

#[test]
fn what_the_server_does_not_offer_is_told() {
    let played = play(scenario_of("steady", None, Some(300), 1, None), 1, &["220 mx.test\r\n", OFFERS]);
    assert!(played.tally.unsupported.is_some_and(|why| why.contains("CHUNKING")));
    assert_eq!(played.sent.last().map(String::as_str), Some("QUIT;"));
    let small = "250-mx.test\r\n250 SIZE 500\r\n";
    let played = play(scenario(false, 1, None), 1, &["220 mx.test\r\n", small]);
    assert!(played.tally.unsupported.is_some_and(|why| why.contains("at most 500 octets")));
    let replies = ["220 mx.test\r\n", "502 what\r\n", "250 mx.test\r\n"];
    let played = play(scenario(false, 1, None), 1, &replies);
    assert!(played.tally.helo && played.tally.failures.count == 0);
    assert_eq!(played.sent, ["EHLO loadgen.test;", "HELO loadgen.test;", "MAIL FROM:<a@x.test>;"]);
}

#[test]
fn each_scenario_says_what_it_should_and_hears_what_it_expects() {
    let start = ["220 mx.test\r\n", OFFERS];
    let refusals = [&start[..], &["250 ok\r\n", "550 5.1.1 no\r\n", "221 bye\r\n"]].concat();
    let played = play(scenario_of("refused", None, None, 1, None), 9, &refusals);
    assert_eq!(played.sent[1..], ["MAIL FROM:<a@x.test>;", "RCPT TO:<b@y.test>;", "QUIT;"]);
    assert_eq!((played.tally.refused, played.tally.failures.count, played.tally.started), (1, 0, 1));
    let accepted = [&start[..], &["250 ok\r\n", "250 ok\r\n", "221 bye\r\n"]].concat();
    let played = play(scenario_of("refused", None, None, 1, None), 9, &accepted);
    assert_eq!((played.tally.refused, played.tally.failures.count), (0, 1));

    let abort = [&start[..], &["250 ok\r\n", "250 ok\r\n", "354 go\r\n"]].concat();
    let played = play(scenario_of("abort", None, None, 1, None), 9, &abort);
    assert_eq!(played.client.ending(), Some(SessionEnd::Done));
    assert_eq!((played.tally.aborted, played.tally.failures.count), (1, 0));

    let idle = scenario_of("idle", None, None, 1, None);
    let played = play(idle, 9, &start);
    assert!(played.client.is_idle() && played.sent == ["EHLO loadgen.test;"]);
    let played = play(idle, 9, &[start[0], start[1], "421 4.4.2 Timed out\r\n"]);
    assert_eq!((played.tally.ended_by_server, played.tally.failures.count), (1, 0));
    assert_eq!(played.client.ending(), Some(SessionEnd::Done));
    let mut played = play(scenario_of("slowloris", None, None, 1, None), 9, &abort);
    assert_eq!(played.sent.last().map(String::as_str), Some("x"));
    let now = Instant::now() + Duration::from_secs(2);
    assert!(played.client.is_quiet() && played.client.take_drip(now));
}

#[test]
fn attacks_take_whatever_becomes_of_them() {
    let start = ["220 mx.test\r\n", OFFERS, "250 ok\r\n", "250 ok\r\n", "354 go\r\n"];
    for (reply, accepted, refused, ended) in [
        ("250 stored\r\n", 1, 0, 0),
        ("550 5.6.11 bare LF\r\n", 0, 1, 0),
        ("451 4.3.2 later\r\n", 0, 1, 0),
        ("421 4.7.0 away\r\n", 0, 1, 1),
    ] {
        let played = play(scenario_of("bare-lf", None, None, 1, None), 1, &[&start[..], &[reply]].concat());
        let tally = &played.tally;
        assert_eq!(
            (tally.accepted, tally.refused, tally.ended_by_server),
            (accepted, refused, ended),
            "{reply}"
        );
        assert_eq!(tally.failures.count, 0, "{reply}");
    }

    let half = scenario_of("half-data", None, None, 1, None);
    let played = play(half, 9, &start);
    assert!(played.client.is_quiet() && played.client.reads() && played.tally.failures.count == 0);
    let played = play(half, 9, &[&start[..], &["421 4.4.2 too slow\r\n"]].concat());
    assert_eq!((played.tally.ended_by_server, played.tally.failures.count), (1, 0));

    let mut played = play(scenario_of("never-reads", None, None, 1, None), 9, &start[..2]);
    let now = Instant::now();
    assert!(played.client.reads());
    played.client.handle_octets(b"250 ok\r\n", now, &mut played.tally);
    assert!(played.client.is_quiet() && !played.client.reads());
    for _ in 0..3 {
        let mut work = Work::new(0, Some(1));
        let said = played.client.next_send(&mut Vec::new(), &mut work, now, &mut played.tally);
        assert!(
            said.is_some_and(|said| said.len() > 60_000 && said.starts_with(b"RCPT TO:<b@y.test>\r\nRCPT "))
        );
    }
    played.client.end();
    assert_eq!(played.client.ending(), Some(SessionEnd::Done));
}

#[test]
fn an_early_talker_is_served_or_refused() {
    let scenario = scenario_of("early-talker", None, None, 1, None);
    for (replies, refused) in [(&["554 you talk early\r\n"][..], 1), (&["220 mx.test\r\n250 mx.test\r\n"], 0)]
    {
        let now = Instant::now();
        let (mut work, mut tally) = (Work::new(0, Some(2)), Tally::default());
        let mut client = Client::new(scenario, work.take(now), 0, now);
        let said = client.next_send(&mut Vec::new(), &mut work, now, &mut tally);
        assert_eq!(said, Some(&b"EHLO loadgen.test\r\n"[..]));
        for reply in replies {
            client.handle_octets(reply.as_bytes(), now, &mut tally);
        }
        assert_eq!((tally.refused, tally.failures.count), (refused, 0), "{replies:?}");
        let next = client.next_send(&mut Vec::new(), &mut work, now, &mut tally);
        assert_eq!(next.is_some(), refused == 0);
    }
}

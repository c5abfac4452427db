//! Sessions of bots in memory: a server that is a list of replies, on virtual time.

use super::*;
use crate::scenario::bots::KindMix;

fn bots(kind: &str) -> &'static Bots {
    let mix: KindMix = kind.parse().expect("a kind");
    Box::leak(Box::new(Bots::new((mix, Duration::from_secs(9), 7), None, "a@x.test", "no{}@y.test")))
}

/// A session of this number against a server that says these replies, each once the bot waits: what it said,
/// and what was counted.
fn play(kind: &str, number: u64, replies: &[&str]) -> (Vec<String>, Bot, Tally) {
    let mut now = Instant::now();
    let (mut bot, mut tally, mut said) = (Bot::new(bots(kind), number, now), Tally::default(), Vec::new());
    let mut say = |bot: &mut Bot, now| {
        let mut head = Vec::new();
        while let Some(body) = bot.next_send(&mut head, now) {
            said.push([&head[..], body].concat().escape_ascii().to_string().replace(r"\r\n", ";"));
            head.clear();
            if !bot.reads() {
                break;
            }
        }
    };
    bot.handle_connected(now);
    say(&mut bot, now);
    for reply in replies {
        now += Duration::from_millis(2);
        bot.handle_octets(reply.as_bytes(), now, &mut tally);
        say(&mut bot, now);
    }
    (said, bot, tally)
}

const OK: &str = "250 ok\r\n";

#[test]
fn a_refused_bot_quits_and_its_refusal_is_timed() {
    let replies = ["220 mx\r\n", "250-mx\r\n250 SIZE\r\n", OK, "550 5.1.1 who\r\n", "221 bye\r\n"];
    let (said, bot, tally) = play("refused", 5, &replies);
    assert_eq!(said, ["EHLO bot.test;", "MAIL FROM:<a@x.test>;", "RCPT TO:<no5@y.test>;", "QUIT;"]);
    assert_eq!((bot.end(), bot.resets()), (Some(End::Left), false));
    let latency = |phase| (tally.latencies.percentiles(phase).count, tally.latencies.percentiles(phase).max);
    assert_eq!([Phase::Greeting, Phase::Refused].map(latency), [(1, 2000), (1, 2000)]);
    let (_, counts) =
        tally.bots.by_kind().next().map_or((Kind::Silent, None), |(kind, all)| (kind, Some(all)));
    assert!(counts.is_none(), "its end is counted by its thread");
    assert_eq!(
        tally.replies.by_code().into_iter().collect::<Vec<_>>(),
        [(220, 1), (221, 1), (250, 2), (550, 1)]
    );
}

#[test]
fn only_the_kind_refused_times_refusals_and_only_those_of_its_recipient() {
    let replies = |mail, rcpt| ["220 mx\r\n", OK, mail, rcpt];
    for (kind, mail, rcpt, timed) in [
        ("refused", OK, "550 who\r\n", 1),
        ("refused", OK, "451 later\r\n", 1),
        ("refused", OK, OK, 0),
        // RCPT is out of sequence where MAIL was refused, and 421 is the end of all.
        ("refused", "450 later\r\n", "503 no MAIL\r\n", 0),
        ("refused", OK, "421 too much\r\n", 0),
        ("no-quit", OK, "550 who\r\n", 0),
        ("bad-ehlo", "503 no EHLO\r\n", "503 no MAIL\r\n", 0),
    ] {
        let (_, _, tally) = play(kind, 1, &replies(mail, rcpt));
        assert_eq!(tally.latencies.percentiles(Phase::Refused).count, timed, "{kind}: {mail}{rcpt}");
    }
}

#[test]
fn a_session_is_complete_when_it_went_as_its_kind_does() {
    let refused = ["220 mx\r\n", OK, OK, "550 who\r\n", "221 bye\r\n"];
    let closed = |kind, replies: &[&str], end| {
        let (_, mut bot, _) = play(kind, 1, replies);
        bot.finish(end);
        bot.is_complete()
    };
    assert!(closed("refused", &refused, End::Closed), "it left before that");
    assert!(closed("no-quit", &refused[..4], End::Reset), "the same");
    for (kind, replies, end, is_complete) in [
        ("refused", &refused[..4], End::Closed, false),
        ("refused", &refused[..0], End::NotConnected, false),
        ("early-talker", &["554 too early\r\n"][..], End::Closed, true),
        ("early-talker", &["421 too many\r\n"], End::Closed, false),
        ("silent", &refused[..1], End::Closed, true),
        ("silent", &["220 mx\r\n421 too slow\r\n"], End::Closed, true),
        ("silent", &["421 too many\r\n"], End::Closed, false),
        ("silent", &["554 not you\r\n"], End::Closed, false),
        ("silent", &[], End::Closed, false),
        ("silent", &refused[..1], End::TimedOut, false),
        ("slowloris", &refused[..1], End::Reset, false),
        ("slowloris", &refused[..1], End::Cut, false),
        ("slowloris", &refused[..1], End::Closed, true),
        ("refused", &["220 mx\r\n", "what is this\r\n"], End::Closed, false),
    ] {
        assert_eq!(closed(kind, replies, end), is_complete, "{kind} {replies:?} {end:?}");
    }
}

#[test]
fn an_early_talker_speaks_before_the_greeting_and_goes_after_the_last_reply() {
    let (said, bot, _) = play("early-talker", 1, &[]);
    assert_eq!((said.len(), bot.end()), (1, None));
    assert!(said[0].starts_with("EHLO bot.test;MAIL") && said[0].ends_with("RCPT TO:<no1@y.test>;"));
    let (_, bot, _) = play("early-talker", 1, &["220 mx\r\n250 mx\r\n", OK, "550 no\r\n"]);
    assert_eq!(bot.end(), Some(End::Left));
}

#[test]
fn a_bot_says_nothing_after_421() {
    for kind in ["refused", "bad-ehlo", "no-quit", "rcpt-flood", "bad-tls", "slowloris", "never-reads"] {
        let (said, bot, _) = play(kind, 0, &["421 4.7.0 too many\r\n"]);
        assert_eq!((said.len(), bot.end()), (0, None), "{kind}");
        let mut later = bot;
        assert_eq!(later.take_drip(Instant::now() + Duration::from_secs(5)), None, "{kind}");
    }
}

#[test]
fn every_other_bot_without_quit_resets_its_connection() {
    let replies = ["220 mx\r\n", OK, OK, "550 no\r\n"];
    for number in 0..4 {
        let (said, bot, _) = play("no-quit", number, &replies);
        assert_eq!((said.len(), bot.end()), (3, Some(End::Left)));
        assert_eq!(bot.resets(), number % 2 == 0);
    }
}

#[test]
fn floods_end_with_their_replies_or_never() {
    let refusals = "550 no\r\n".repeat(1000);
    let (said, bot, tally) = play("rcpt-flood", 0, &["220 mx\r\n", OK, OK, &refusals]);
    assert_eq!(said[2].matches("RCPT").count(), 1000);
    assert_eq!((bot.end(), tally.replies.by_code().get(&550)), (Some(End::Left), Some(&1000)));
    let (said, bot, _) = play("never-reads", 0, &["220 mx\r\n", OK, OK]);
    assert_eq!((said.len(), bot.reads(), bot.is_small(), bot.end()), (3, false, true, None));
}

#[test]
fn a_slow_bot_says_an_octet_a_second() {
    let (said, mut bot, _) = play("slowloris", 0, &["220 mx\r\n"]);
    let (start, mut octets) = (Instant::now(), Vec::new());
    for tenths in 0..45 {
        octets.extend(bot.take_drip(start + Duration::from_millis(100 * tenths)).unwrap_or_default());
    }
    assert_eq!((said.len(), octets.as_slice(), bot.end()), (0, &b"EHLO "[..], None));
}

#[test]
fn what_comes_in_place_of_client_hello_differs_and_an_alert_is_no_reply() {
    let replies = ["220 mx\r\n", "250 STARTTLS\r\n", "220 go\r\n", "\x15\x03\x03\0\x02\x02\n"];
    let mut kinds = std::collections::HashSet::new();
    for number in 0..64 {
        let (said, bot, tally) = play("bad-tls", number, &replies);
        assert_eq!((said[1].as_str(), bot.end(), tally.failures.count), ("STARTTLS;", None, 0));
        kinds.insert(said[2].len().min(600));
    }
    assert!(kinds.len() >= 4, "{kinds:?}");
}

#[test]
fn the_seed_and_the_number_decide_everything() {
    let all = Box::leak(Box::new(Bots::new(
        (KindMix::default(), Duration::from_secs(9), 42),
        None,
        "a@x.test",
        "no@y.test",
    )));
    let now = Instant::now();
    let drawn = |number| {
        let bot = Bot::new(all, number, now);
        (bot.kind(), bot.address())
    };
    let first: Vec<_> = (0..2000).map(drawn).collect();
    assert_eq!(first, (0..2000).map(drawn).collect::<Vec<_>>());
    for (kind, share) in [(Kind::Refused, 800), (Kind::BadTls, 200), (Kind::Silent, 100)] {
        let count = first.iter().filter(|(drawn, _)| *drawn == kind).count();
        assert!((share / 2..share * 2).contains(&count), "{kind:?}: {count}");
    }
    let addresses: std::collections::HashSet<u64> = first.iter().map(|(_, address)| *address).collect();
    assert_eq!(addresses.len(), 2000);
}

#[test]
fn a_proxy_header_comes_first_even_from_a_silent_bot() {
    use crate::proxy::{Proxy, ProxyVersion};
    let proxy = Proxy { version: ProxyVersion::V1, clients: "198.18.0.0/15".parse().expect("a network") };
    for (kind, then) in [("silent", ""), ("refused", ""), ("early-talker", "EHLO")] {
        let drawn = (kind.parse().expect("a kind"), Duration::from_secs(9), 7);
        let bots = Box::leak(Box::new(Bots::new(drawn, Some(proxy), "a@x.test", "no@y.test")));
        let (mut bot, mut head) = (Bot::new(bots, 3, Instant::now()), Vec::new());
        let body = bot.next_send(&mut head, Instant::now()).expect("a header");
        let said = String::from_utf8([&head[..], body].concat()).expect("ASCII");
        let (header, rest) = said.split_once("\r\n").expect("a line");
        assert!(header.starts_with("PROXY TCP4 198.1") && rest.starts_with(then), "{kind}: {said}");
        assert_eq!(
            (rest.is_empty(), bot.next_send(&mut Vec::new(), Instant::now())),
            (then.is_empty(), None)
        );
    }
}

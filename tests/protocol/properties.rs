//! Random sessions. What holds for all of them: splitting the input changes nothing, mail data is what the
//! naive reference says, every command has one reply in its order, and every reply line is well formed. A
//! failure prints its seed.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ringmx::mail::outcome::TryAgain;
use ringmx::smtp::settings::{BareLineEnd, ChunkLineEnd, Pipelining, Settings};

use support::exchange::{Exchange, Seen, Trouble, settings};
use support::reference::{self, Naive, bdat, naive, replies, waiting_lines};

/// Settings with budgets that a random session does not use up.
fn patient() -> Settings {
    let mut settings = settings();
    settings.limits.errors_max = u32::MAX;
    settings.limits.idle_commands_max = u32::MAX;
    settings.limits.recipients_max = 3;
    settings.limits.line_bytes_max = 512;
    settings.limits.message_size_max = 400;
    settings
}

/// What is seen of a session that receives these octets in pieces of these sizes, again and again.
fn session(settings: Settings, octets: &[u8], sizes: &[usize]) -> Seen {
    let mut exchange = Exchange::new(settings);
    let ends = waiting_lines(octets);
    let mut rest = octets;
    for size in sizes.iter().cycle() {
        let start = octets.len() - rest.len();
        let most = ends.iter().find(|end| **end > start).map_or(rest.len(), |end| end - start);
        let (piece, behind) = rest.split_at((*size).min(most));
        exchange.receive(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    exchange.seen
}

fn mail_data() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        6 => Just(b"\r\n".to_vec()),
        3 => Just(b".".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\n".to_vec()),
        3 => Just(b"text".to_vec()),
        1 => Just(b"\r\n.\r\n".to_vec()),
        1 => (0..90_usize).prop_map(|count| vec![b'x'; count]),
        1 => any::<u8>().prop_map(|octet| vec![octet]),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    const LINES: [&str; 50] = [
        "EHLO client.test",
        "HELO client.test",
        "EHLO",
        "MAIL FROM:<a@client.test>",
        "MAIL FROM:<>",
        "MAIL FROM:<a>",
        "MAIL FROM:<a@client.test> SIZE=300",
        "MAIL FROM:<a@client.test> SIZE=500",
        "MAIL FROM:<a@b> BODY=8BITMIME",
        "RCPT TO:<b@example.org>",
        "RCPT TO:<c@example.org>",
        "RCPT TO:<d@example.org>",
        "RCPT TO:<e@example.org>",
        "RCPT TO:<postmaster>",
        "RCPT TO:<a%b@example.org>",
        "RCPT TO:<\"q q\"@example.org>",
        "RCPT TO:<x",
        "RCPT TO:<\u{e9}@example.org>",
        "RSET",
        "RSET x",
        "NOOP",
        "NOOP  x ",
        "VRFY x",
        "VRFY",
        "HELP",
        "STARTTLS",
        "AUTH PLAIN",
        "EXPN x",
        "FROB",
        "",
        " ",
        "DATA x",
        "N\u{0}OP",
        "caf\u{e9}",
        "MAIL FROM:<a@b> BODY=BINARYMIME",
        "MAIL FROM:<a@b> SMTPUTF8",
        "MAIL FROM:<\u{e9}@b\u{fc}cher.test> SMTPUTF8",
        "MAIL FROM:<a@b> RET=FULL ENVID=x REQUIRETLS",
        "RCPT TO:<b@b\u{fc}cher.test>",
        "RCPT TO:<b@example.org> NOTIFY=DELAY ORCPT=utf-8;\u{e9}",
        "VRFY \u{e9} SMTPUTF8",
        "BDAT 0",
        "BDAT 0 LAST",
        "BDAT 0 FIRST",
        // With the CRLF after it.
        "BDAT 2\r\n",
        "BDAT 6\r\ntext",
        "BDAT 6 last\r\nQUIT",
        "BDAT 8 LAST\r\n\n\r.\r\n.",
        "BDAT 12 x\r\nBDAT 0\r\nRS",
        "\tBDAT 2",
    ];
    prop_oneof![
        12 => (0..LINES.len()).prop_map(|index| LINES[index].as_bytes().to_vec()),
        1 => (100..399_usize, any::<bool>()).prop_map(|(count, last)| {
            let last = if last { " LAST" } else { "" };
            [format!("BDAT {}{last}\r\n", count + 2).into_bytes(), vec![b'x'; count]].concat()
        }),
        1 => (500..700_usize).prop_map(|count| [b"NOOP ".to_vec(), vec![b'x'; count]].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|mut octets| {
            octets.retain(|octet| *octet != b'\r' && *octet != b'\n');
            [b"X ".to_vec(), octets].concat()
        }),
    ]
}

/// A part of a session as `reference::check_session` reads it.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    const OUTSIDE: [&[u8]; 10] = [b"|", b"wA", b"w\xff", b"o", b"l", b"n", b"r", b"u", b"s", b"t"];
    const XCLIENT: [&str; 9] = [
        "XCLIENT ADDR=192.0.2.1 PORT=4321",
        "xclient addr=ipv6:2001:db8::1 proto=SMTP helo=x.test",
        "XCLIENT HELO=front+2Etest",
        "XCLIENT HELO=[UNAVAILABLE] PROTO=ESMTP",
        "XCLIENT ADDR=[TEMPUNAVAIL] NAME=[UNAVAILABLE]",
        "XCLIENT ADDR=::ffff:192.0.2.7",
        "XCLIENT ADDR=x",
        "XCLIENT",
        "XCLIENT LOGIN=a+40b\tDESTADDR=192.0.2.9  DESTPORT=25",
    ];
    prop_oneof![
        2 => (0..XCLIENT.len()).prop_map(|index| [XCLIENT[index].as_bytes(), b"\r\n"].concat()),
        6 => command().prop_map(|command| [&command, &b"\r\n"[..]].concat()),
        4 => Just(OPEN.to_vec()),
        4 => mail_data(),
        4 => Just(b"\r\n.\r\n".to_vec()),
        2 => (0..OUTSIDE.len()).prop_map(|index| [&b"\x1b"[..], OUTSIDE[index]].concat()),
        4 => Just(b"\x1b|".to_vec()),
        1 => Just(b"\x1be".to_vec()),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![prop::collection::vec(1..6_usize, 1..8), prop::collection::vec(1..80_usize, 1..8)]
}

fn policy() -> impl Strategy<Value = BareLineEnd> {
    prop_oneof![Just(BareLineEnd::Reject), Just(BareLineEnd::Normalize)]
}

const OPEN: &[u8] = b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

/// Before it many a random line is another protocol's, and closes.
const HELLO: &[u8] = b"EHLO client.test\r\n";

/// Settings with which a client need not wait.
fn tolerant() -> Settings {
    let mut settings = settings();
    settings.gate.pipelining = Pipelining::Tolerate;
    settings
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1500),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn mail_data_is_what_the_reference_says(
        data in mail_data(),
        bare_lf in policy(),
        bare_cr in policy(),
        sizes in sizes(),
    ) {
        let mut settings = settings();
        (settings.bare_lf, settings.bare_cr) = (bare_lf, bare_cr);
        let octets = [OPEN, &data].concat();
        let expected = naive(&data, bare_lf, bare_cr);
        // What follows the end of the mail data are commands; they are left away.
        let octets = match &expected {
            Some(naive) => &octets[..OPEN.len() + naive.consumed],
            None => &octets,
        };
        let seen = session(settings, octets, &sizes);
        let last = replies(&seen).last().and_then(|lines| lines.last().cloned()).unwrap_or_default();
        match expected {
            None => {
                prop_assert!(seen.stored.is_empty() && last.starts_with("354"), "{}", last);
            }
            Some(Naive { has_bare: true, .. }) => {
                prop_assert!(seen.stored.is_empty() && last.starts_with("550 5.5.2"), "{}", last);
            }
            Some(Naive { stored, .. }) => {
                prop_assert!(last.starts_with("250 2.0.0 Ok: queued as"), "{}", last);
                prop_assert_eq!(seen.stored.len(), 1);
                prop_assert_eq!(seen.stored[0].data.escape_ascii().to_string(), stored.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn chunks_are_what_the_reference_says(
        chunks in prop::collection::vec(mail_data(), 1..6),
        policy in prop_oneof![Just(ChunkLineEnd::Keep), Just(ChunkLineEnd::Normalize), Just(ChunkLineEnd::Reject)],
        binary in any::<bool>(),
        sizes in sizes(),
    ) {
        reference::check_chunks_with(&chunks, policy, binary, &sizes);
    }

    #[test]
    fn chunks_of_any_octets_are_what_the_reference_says(input in prop::collection::vec(any::<u8>(), 0..200)) {
        reference::check_chunks(&input);
    }

    #[test]
    fn every_command_has_one_reply_in_its_order(commands in prop::collection::vec(command(), 0..40), sizes in sizes()) {
        let mut exchange = Exchange::new(patient());
        exchange.receive(HELLO);
        for (index, command) in commands.iter().enumerate() {
            exchange.receive(&[command, &b"\r\n"[..]].concat());
            prop_assert_eq!(replies(&exchange.seen).len(), index + 3, "after {:?}", command.escape_ascii().to_string());
        }
        let lines = commands.iter().flat_map(|command| [command, &b"\r\n"[..]].concat());
        let octets: Vec<u8> = HELLO.iter().copied().chain(lines).collect();
        prop_assert_eq!(&session(patient(), &octets, &[usize::MAX]), &exchange.seen);
        prop_assert_eq!(&session(patient(), &octets, &sizes), &exchange.seen);
    }

    #[test]
    fn splitting_a_session_changes_nothing(
        parts in prop::collection::vec((prop::collection::vec(command(), 0..6), mail_data(), 0..8_u8), 1..5),
        bare in policy(),
        sizes in sizes(),
    ) {
        let mut octets = HELLO.to_vec();
        for (commands, data, kind) in parts {
            // Whatever the octets before were, EHLO begins a line: a refused DATA would close, or not, with
            // what is pending.
            octets.extend_from_slice(b"\r\n");
            for command in commands {
                octets.extend([&command, &b"\r\n"[..]].concat());
            }
            octets.extend_from_slice(OPEN.strip_suffix(b"DATA\r\n").expect("its end"));
            octets.extend(if kind < 4 { [b"DATA\r\n", &data[..]].concat() } else { bdat(&[data.clone(), data]) });
            octets.extend_from_slice(match kind {
                0 => b"".as_slice(),
                1 => b"QUIT\n",
                2 => b"\r\n.\r\n",
                4 => b"",
                5 => b"BDAT 0 LAST\r\n",
                6 => b"BDAT 6\r\nNOOP\r\n",
                7 => b"RSET\r\nBDAT x\r\n",
                _ => b"\r\n.\r\nRSET\r\n",
            });
        }
        let chunk = if bare == BareLineEnd::Reject { ChunkLineEnd::Reject } else { ChunkLineEnd::Normalize };
        let settings = || Settings { bare_lf: bare, bdat_bare_lf: chunk, ..patient() };
        let whole = session(settings(), &octets, &[usize::MAX]);
        replies(&whole);
        prop_assert_eq!(&session(settings(), &octets, &[1]), &whole);
        prop_assert_eq!(&session(settings(), &octets, &sizes), &whole);
    }

    /// The claims of the fuzz target `session`: sessions in which time passes, sinks fail and servers stop.
    #[test]
    fn a_session_is_what_the_reference_walks(operations in prop::collection::vec(operation(), 0..30), settings: u8) {
        let hello = if settings < 128 { HELLO } else { b"" };
        reference::check_session(&[&[settings], hello, &operations.concat()[..]].concat());
    }

    #[test]
    fn arbitrary_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..600), sizes in sizes()) {
        let whole = session(settings(), &octets, &[usize::MAX]);
        replies(&whole);
        prop_assert_eq!(session(settings(), &octets, &sizes), whole);
    }

    #[test]
    fn a_message_is_stored_exactly_when_the_client_is_told(
        trouble in 0..6_usize,
        cut in 0..190_usize,
        shut_down in any::<bool>(),
    ) {
        const TROUBLES: [Option<Trouble>; 6] = [
            None,
            Some(Trouble::TryAgain(TryAgain::Overload)),
            Some(Trouble::TryAgain(TryAgain::Local)),
            Some(Trouble::TryAgain(TryAgain::NoSpace)),
            Some(Trouble::Refused),
            Some(Trouble::Unknown),
        ];
        let chunks = bdat(&[b"te".to_vec(), b"xt\r\n".to_vec()]);
        let octets = [OPEN, b"text\r\n.\r\n", OPEN.strip_suffix(b"DATA\r\n").expect("its end"), &chunks].concat();
        let (first, second) = octets.split_at(cut.min(octets.len() - 1));
        let mut exchange = Exchange::new(tolerant());
        exchange.receive(first);
        exchange.trouble = TROUBLES[trouble];
        if shut_down { exchange.shut_down() }
        exchange.receive(second);
        exchange.end_input();
        let told = replies(&exchange.seen).iter().filter(|lines| lines[0].contains("queued as")).count();
        prop_assert_eq!(told, exchange.seen.stored.len());
        prop_assert!(told <= 2 && (trouble == 0 || told < 2));
        prop_assert!(exchange.seen.stored.iter().all(|stored| stored.data == b"text\r\n"));
    }

    #[test]
    fn time_ends_every_session_that_does_not_go_on(data in mail_data(), cut in 0..400_usize) {
        let octets = if cut % 2 == 0 {
            [OPEN, &data].concat()
        } else {
            [OPEN.strip_suffix(b"DATA\r\n").expect("its end"), b"BDAT 1000\r\n", &data].concat()
        };
        let mut exchange = Exchange::new(tolerant());
        exchange.receive(&octets[..cut.min(octets.len())]);
        exchange.wait(Duration::from_secs(301));
        prop_assert!(exchange.seen.closed);
        replies(&exchange.seen);
    }
}

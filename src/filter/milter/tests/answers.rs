//! What becomes of each answer, at each place.

use super::*;

/// Answers up to the end for two recipients: connection, HELO, MAIL, two of RCPT, DATA, field, end of header,
/// body, end.
const PLACES: [&str; 10] = [
    "connection",
    "HELO",
    "MAIL",
    "RCPT",
    "RCPT",
    "DATA",
    "header section",
    "header section",
    "body",
    "end of message",
];

/// The milter says `answer` at this place, and `c` before and after it, until it is found.
fn at(place: usize, answer: &str, found: &str) {
    let mut text = "T: to=b@x,c@x\nM: O 6 21 0\n".to_owned();
    text.push_str(&"M: c\n".repeat(place));
    text.push_str("M: ");
    text.push_str(answer);
    text.push('\n');
    let goes_on = found.starts_with('+');
    if goes_on {
        text.push_str(&"M: c\n".repeat(PLACES.len() - 1 - place));
    }
    script(&(text + "= " + found.trim_start_matches('+')));
}

#[test]
fn an_answer_decides_the_message_wherever_it_comes() {
    for (answer, found) in [
        ("a", "pass\n= spent"),
        ("4", "refuse 451 4.7.1 Not now, try again later\n= spent"),
        ("f", "refuse 451 4.7.1 Not now, try again later\n= spent"),
    ] {
        (0..PLACES.len()).for_each(|place| at(place, answer, found));
    }
    for (answer, found) in [
        ("r", "refuse 550 5.7.1 Refused\n= spent"),
        ("t", "refuse 451 4.7.1 Not now, try again later\n= spent"),
        ("y554 5.6.0 No thanks|", "refuse 554 5.6.0 No thanks\n= spent"),
        ("y421 4.3.2 Bye|", "refuse 451 4.3.2 Bye\n= spent"),
    ] {
        for (place, name) in PLACES.iter().enumerate() {
            // Of two recipients one is refused.
            at(place, answer, if *name == "RCPT" { "+pass" } else { found });
        }
    }
    for (place, name) in PLACES.iter().enumerate() {
        // There is no message yet that could be discarded.
        at(place, "d", if place < 2 { "+pass" } else { "discard\n= spent" });
        at(place, "p\nM: p\nM: c", "+pass");
        let no_fit = |code| format!("the reply '{code}' does not answer what was said ({name})");
        at(place, "O 6 0 0", &no_fit('O'));
        at(place, "w", "the reply 'w' is none of the protocol");
        at(place, "<raw>00000001ff", "the reply 255 is none of the protocol");
        at(place, "cx", "the reply 'c' has data that does not fit");
        at(place, "y250 ok|", "the milter refuses with a reply that is neither 4yz nor 5yz");
        at(place, "y|", "the milter refuses with a reply that is neither 4yz nor 5yz");
        at(place, "<close>", &format!("the milter closed the connection ({name})"));
    }
    at(9, "s", "the reply 's' does not answer what was said (end of message)");
}

#[test]
fn a_recipient_that_is_refused_decides_only_with_all_others() {
    let of = |answers: [&str; 2]| {
        format!("T: to=b@x,c@x\nM: O 6 21 0\nM: c\nM: c\nM: c\nM: {}\nM: {}\n", answers[0], answers[1])
    };
    let to_the_end = "M: c\n".repeat(5);
    for answers in [["r", "c"], ["c", "t"], ["y550 5.1.1 Who|", "c"]] {
        script(&(of(answers) + &to_the_end + "= pass"));
    }
    for (answers, reply) in [
        (["r", "y550 5.1.1 Who|"], "550 5.1.1 Who"),
        (["y450 4.2.0 Later|", "r"], "450 4.2.0 Later"),
        (["r", "y450 4.2.0 Later|"], "450 4.2.0 Later"),
        (["t", "y450 4.2.0 Later|"], "450 4.2.0 Later"),
    ] {
        script(&(of(answers) + &format!("= refuse {reply}\n= spent")));
    }
    // All that follow are skipped: the second one is not refused.
    script(&("T: to=b@x,c@x\nM: O 6 21 0\nM: c\nM: c\nM: c\nM: s\n".to_owned() + &to_the_end + "= pass"));
    // How many were refused can be told.
    let mut driver = Driver::new(vec![Planned::of("to=b@x,c@x,d@x")]);
    for line in ["O 6 21 0", "c", "c", "c", "r", "c", "r", "a"] {
        driver.feed(b"");
        let Event::Octets(octets) = said(line) else { panic!("octets") };
        driver.feed(&octets);
    }
    assert!(driver.said.contains("= pass"), "{}", driver.said);
    assert_eq!(driver.session.refused_recipients(), 2);
}

#[test]
fn no_more_is_told_of_what_is_skipped() {
    // Header fields, then chunks of a body of two.
    script(
        "T: header=A:_1\\r\\nA:_2\\r\\n\\r\\n
         R: O 6 121 101ff7ff
         M: O 6 21 64f
         R: L A|1|
         M: s
         R: B b
         M: s
         R: E
         M: c
         = pass
         = spent"
            .replace("R: L A", &format!("{MACROS}R: L A"))
            .replace("R: B b", &format!("R: DN i={}\nR: B b", QueueId(1)))
            .replace("R: E", &format!("R: DE i={}\nR: E", QueueId(1)))
            .as_str(),
    );
}

const MACROS: &str = "R: DC j=mx {daemon_name}=mx v=ringmx _=[192.0.2.1] [192.0.2.1]\n\
     R: DM i=00000000000000000000000001 {mail_addr}=a@s {mail_host}=s\nR: DT i=00000000000000000000000001\n";

#[test]
fn a_reply_of_many_lines_becomes_one() {
    for (said, told) in [
        ("550-5.7.1 one\\r\\n550 5.7.1 two|", "550 5.7.1 one two"),
        ("550-5.7.1 one\\r\\n550-5.7.1\\r\\n550 5.7.1 3|", "550 5.7.1 one 3"),
        ("550-5.7.1 one\\n550 5.7.2 two|", "550 5.7.1 one 5.7.2 two"),
        ("550 5.7.1 one\\r\\ntwo|", "550 5.7.1 one two"),
        ("550 one\\r\\n550 one|", "550 5.7.1 one one"),
        ("550 5.7.1 100%% sure, 50% not|", "550 5.7.1 100% sure, 50% not"),
        ("450|", "450 4.7.1 Not now, try again later"),
        // Without the NUL, and with more after it.
        ("550 5.7.1 x", "550 5.7.1 x"),
        ("550 5.7.1 x|250 ok|", "550 5.7.1 x"),
    ] {
        at_end("0", &format!("M: y{said}\n= refuse {told}\n= spent"));
    }
}

/// Only what libmilter is known to take well: `c` at the end of a message of which it was told from the
/// connection on.
#[test]
fn a_connection_is_kept_where_the_next_message_begins_anew() {
    let (asked, answers) = ("T: to=b@x\nT: to=c@x\n", "M: c\n".repeat(9));
    script(&format!("{asked}M: O 6 0 0\n{answers}= pass\n{answers}= pass"));
    script(&format!("{asked}M: O 4 0 0\n{answers}= pass\n= spent"));
    script(&format!("{asked}M: O 6 0 0\n{}M: a\n= pass\n= spent", "M: c\n".repeat(8)));
    script(&format!("{asked}M: O 6 0 1\n{}= pass\n= spent", "M: c\n".repeat(8)));
    script(&format!(
        "{asked}M: O 6 0 0\n{answers}= pass\nM: <close>\n= the milter closed the connection (connection)"
    ));
}

#[test]
fn a_kept_connection_that_is_closed_is_told_apart() {
    let mut driver = Driver::new(vec![Planned::of("to=b@x"); 2]);
    let feed = |driver: &mut Driver, line: &str| {
        driver.feed(b"");
        let Event::Octets(octets) = said(line) else { panic!("octets") };
        driver.feed(&octets);
    };
    feed(&mut driver, "O 6 0 0");
    assert!(!driver.session.is_kept_unheard(), "the first message");
    (0..9).for_each(|_| feed(&mut driver, "c"));
    assert!(driver.session.is_kept_unheard() && driver.session.messages == 2);
    feed(&mut driver, "c");
    assert!(!driver.session.is_kept_unheard(), "it has spoken");
}

/// A header section of any length, and what the milter says of it.
#[test]
fn a_connection_that_rests_holds_little_memory() {
    let mut planned = Planned::of("to=b@x");
    planned.header = [b"A: ", &vec![b'x'; 500_000][..], b"\r\nodd\r\n", &vec![b'y'; 500_000][..]].concat();
    let mut driver = Driver::new(vec![planned]);
    driver.feed(b"");
    let mut octets = Vec::new();
    let silent = 0x000f_f080_u32 | 0x34e;
    packet::push(&mut octets, command::NEGOTIATE, |data| {
        for word in [6, 0x21, silent] {
            data.extend_from_slice(&word.to_be_bytes());
        }
    });
    driver.feed(&octets);
    assert!(driver.session.script.memory_bytes() > 500_000, "while it is told");
    octets.clear();
    packet::push(&mut octets, b'q', |data| packet::push_text(data, &vec![b'z'; 65_000]));
    driver.feed(&octets);
    octets.clear();
    packet::push(&mut octets, b'c', |_| {});
    driver.feed(&octets);
    let Session { state: State::Ready, script, reader, .. } = &driver.session else { panic!("it rests") };
    assert!(script.memory_bytes() <= 3 * 16 * 1024, "{}", script.memory_bytes());
    assert!(reader.memory_bytes() <= 4096, "{}", reader.memory_bytes());
}

#[test]
fn a_session_is_ended_in_any_state() {
    for (said_before, packets) in [
        (&[][..], "Q"),
        (&["O 6 0 0"], "AQ"),
        (&["O 6 0 37f"], "AQ"),
        (&["O 6 0 37f", "c"], "Q"),
        (&["O 6 0 37f", "w"], ""),
    ] {
        let mut driver = Driver::new(vec![Planned::of("to=b@x")]);
        for line in said_before {
            driver.feed(b"");
            let Event::Octets(octets) = said(line) else { panic!("octets") };
            driver.feed(&octets);
        }
        let mut output = Vec::new();
        driver.session.quit(&mut output);
        let codes: String =
            output.iter().filter(|octet| octet.is_ascii_uppercase()).map(|o| char::from(*o)).collect();
        assert_eq!(codes, packets, "{said_before:?}");
    }
}

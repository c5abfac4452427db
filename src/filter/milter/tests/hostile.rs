//! Milters that do what no milter may.

use super::*;

#[test]
fn lengths_are_bounded() {
    for (raw, length) in [("00000000", 0_u32), ("00010001", 65_537), ("ffffffff", u32::MAX)] {
        script(&format!("R: O 6 121 101ff7ff\nM: <raw>{raw}\n= a packet of {length} octets"));
        at_end("1", &format!("M: <raw>{raw}\n= a packet of {length} octets"));
    }
    // The longest one is no fault by itself.
    let long = format!("<raw>0001000063{}", "00".repeat(65_535));
    whole(&format!("T: \nM: O 6 1 {ONLY_END}\nM: {long}\n= the reply 'c' has data that does not fit"));
}

#[test]
fn a_milter_that_never_ends_is_ended() {
    for said in ["p", "qx|"] {
        let fill = |count: usize| format!("M: {said}\n").repeat(count);
        let found = if said == "p" { "pass" } else { "mark [x] X-Quarantine: x|" };
        whole(&format!("T: \nM: O 6 21 {ONLY_END}\n{}M: c\n= {found}\n= spent", fill(1000)));
        whole(&format!(
            "T: \nM: O 6 21 {ONLY_END}\n{}= the milter comes to no end (end of message)",
            fill(1001)
        ));
    }
}

/// What comes with the reply before it, or in the middle of it, was said to nothing.
#[test]
fn a_reply_that_comes_too_early_is_no_answer() {
    let offer = "R: O 6 121 101ff7ff";
    // With the options, before a message began; a reply that only says that the milter works is none.
    whole(&format!("{offer}\nM: O 6 0 37f\nM: c\n= the reply 'c' answers nothing"));
    let mut driver = Driver::new(vec![Planned::of("to=b@x")]);
    driver.feed(b"");
    let octets = |lines: &[&str]| -> Vec<u8> {
        lines
            .iter()
            .flat_map(|line| match said(line) {
                Event::Octets(octets) => octets,
                Event::Lost(_) => Vec::new(),
            })
            .collect()
    };
    driver.feed(&octets(&["O 6 0 0"]));
    driver.feed(&octets(&["c", "c"]));
    assert!(driver.said.ends_with("= the reply 'c' answers nothing\n"), "{}", driver.said);
    // The beginning of one came before what it would answer.
    let mut driver = Driver::new(vec![Planned::of("to=b@x")]);
    driver.feed(b"");
    driver.feed(&octets(&["O 6 0 0"]));
    let two = octets(&["c", "c"]);
    driver.feed(&two[..6]);
    driver.feed(&two[6..]);
    assert!(driver.said.ends_with("= the reply 'c' answers nothing\n"), "{}", driver.said);
    // Once that is over, what comes is an answer.
    let mut driver = Driver::new(vec![Planned::of("to=b@x")]);
    driver.feed(b"");
    driver.feed(&octets(&["O 6 0 0"]));
    driver.feed(&octets(&["c", "p"]));
    driver.feed(&octets(&["a"]));
    assert!(driver.said.ends_with("= pass\n= spent\n"), "{}", driver.said);
}

#[test]
fn what_comes_between_two_messages_is_no_answer() {
    whole("R: O 6 121 101ff7ff\nM: O 6 0 0\nM: p\nM: r\n= the reply 'r' answers nothing");
    let mut driver = Driver::new(vec![Planned::of("to=b@x")]);
    for lines in [&["O 6 0 37e"][..], &["c"], &["c", "r"]] {
        driver.feed(b"");
        for line in lines {
            let Event::Octets(octets) = said(line) else { panic!("octets") };
            driver.feed(&octets);
        }
    }
    // The ruling was told before.
    assert!(driver.said.contains("= pass\n= the reply 'r' answers nothing\n"), "{}", driver.said);
}

#[test]
fn it_may_close_anywhere_and_a_ruling_that_is_known_stays() {
    let mut session = Session::new();
    let mut output = Vec::new();
    assert_eq!(session.advance(&mut &b""[..], &mut output), Step::NeedInput);
    let Event::Octets(negotiated) = said("O 6 0 37f") else { panic!("octets") };
    assert_eq!(session.advance(&mut &negotiated[..], &mut output), Step::Ready);
    Planned::of("to=b@x").begin(&mut session);
    assert_eq!(session.advance(&mut &b""[..], &mut output), Step::NeedInput);
    assert_eq!(session.phase(), Phase::End);
    let Event::Octets(answer) = said("d") else { panic!("octets") };
    let mut input = &answer[..];
    // As `advance` does, up to the moment before the ruling is told.
    while !matches!(session.state, State::Settled(..)) {
        assert_eq!(session.turn(&mut input, &mut output), None);
    }
    session.handle_lost(Loss::Closed);
    let ruling = Ruling { action: Action::Discard, ..Ruling::default() };
    assert_eq!(session.advance(&mut input, &mut output), Step::Done(ruling));
    assert_eq!(session.advance(&mut input, &mut output), Step::Spent);
}

use std::sync::Arc;

use proptest::prelude::*;
use support::signer::Signer;

use super::*;
use crate::dns::asking::tests::Zone;
use crate::dns::{Answer, Failure, Kind, Question, Records};

/// Where a header section ends, in the simplest words.
fn naive_end(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(2);
    }
    octets.windows(4).position(|end| end == HEADER_END).map(|at| at + 4)
}

/// Where the check finds it in these pieces.
fn end_in(pieces: &[&[u8]]) -> Option<usize> {
    let (mut check, mut before) = (MessageCheck::new(), 0);
    for piece in pieces {
        match check.look(piece) {
            Piece::HeaderEnds(at) => {
                assert_eq!(check.header_bytes(), before + at);
                return Some(before + at);
            }
            Piece::Header => before += piece.len(),
            Piece::Body => panic!("nobody took the header section"),
        }
        assert!(check.is_in_header() && check.header_bytes() == before);
    }
    None
}

/// Cuts octets at these places, wherever they are; two at one place leave an empty piece.
fn cut<'a>(octets: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (octets.len() + 1)).collect();
    places.sort_unstable();
    let (mut pieces, mut at) = (Vec::new(), 0);
    for place in places {
        pieces.extend(octets.get(at..place));
        at = place;
    }
    pieces.extend(octets.get(at..));
    pieces
}

#[test]
fn the_end_of_a_header_section_is_found_at_every_split() {
    const OCTETS: [u8; 3] = [b'\r', b'\n', b'a'];
    const LENGTH: u32 = 7;
    for number in 0..OCTETS.len().pow(LENGTH) {
        let octets: Vec<u8> =
            (0..LENGTH).map(|place| OCTETS[number / OCTETS.len().pow(place) % OCTETS.len()]).collect();
        let expected = naive_end(&octets);
        for cuts in 0_u32..1 << (LENGTH - 1) {
            let places: Vec<usize> = (1..octets.len()).filter(|place| cuts >> (place - 1) & 1 == 1).collect();
            assert_eq!(end_in(&cut(&octets, &places)), expected, "{} {places:?}", octets.escape_ascii());
        }
    }
}

fn question(name: &str) -> Question {
    Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"))
}

fn text(text: &str) -> Answer {
    Answer::Records(Records::Txt(vec![text.as_bytes().into()]))
}

fn rules() -> AuthRules {
    AuthRules {
        authserv_id: "mx.test".into(),
        spf: SpfUse::Mark,
        dkim: true,
        dmarc: DmarcUse::WithReason,
        header_bytes_max: 1 << 16,
        ..AuthRules::nothing()
    }
}

const SENDER: Sender<'static> = Sender {
    client: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    ehlo: b"mx.x.test",
    reverse_path: b"a@x.test",
    hostname: "mx.test",
    now: 1_800_000_000,
};

fn zone(signer: &Signer) -> Zone {
    Zone::default()
        .with(question("x.test"), text("v=spf1 ip4:192.0.2.1 -all"))
        .with(question("s._domainkey.x.test"), text(&signer.record()))
        .with(question("_dmarc.x.test"), text("v=DMARC1; p=reject"))
}

/// Hands the pieces over as a shard does.
fn taken(pieces: &[&[u8]]) -> MessageCheck {
    let (mut check, mut header, rules) = (MessageCheck::new(), Vec::new(), rules());
    let take = |check: &mut MessageCheck, header: &[u8]| {
        // Text has no header section.
        let is_text = header.starts_with(b"just text");
        check.take_header(&Header::new(if is_text { b"" } else { header }), &rules, SENDER.now);
    };
    for piece in pieces {
        match check.look(piece) {
            Piece::Header => header.extend_from_slice(piece),
            Piece::HeaderEnds(at) => {
                header.extend_from_slice(&piece[..at]);
                take(&mut check, &header);
                check.take_body(&piece[at..]);
            }
            Piece::Body => check.take_body(piece),
        }
    }
    if check.is_in_header() {
        take(&mut check, &header);
    }
    check.finish();
    check
}

/// What is found of a message in these pieces.
fn found(pieces: &[&[u8]], zone: &Zone) -> String {
    let (mut check, mut keys) = (taken(pieces), Keys::default());
    zone.run(|asking| check.judge(&SENDER, &rules(), asking, &mut keys).is_some());
    format!("{:?}", check.found())
}

const PLAIN: &str = "Received: x\r\n by y\r\nFrom: A <a@x.test>\r\nTo: b@y.test\r\nSubject:  two  words \r\n\
                     List-Id: <l.x.test>\r\n\r\nText \t with blanks  \r\n\r\n..\r\nmore\r\n\r\n\r\n";

/// Messages that are one thing or another, and what of it is found.
fn messages(signer: &Signer) -> Vec<(String, &'static str)> {
    let signed = signer.sign("x.test", "s", PLAIN);
    let header = PLAIN.split_inclusive("\r\n\r\n").next().expect("a header section").to_owned();
    vec![
        (signed.replace("more", "less"), "result: Fail"),
        (signed.replace("Subject: ", "Subject: re"), "result: Fail"),
        (format!("From root@host Thu Jan  1 00:00:00 1970\r\n{signed}"), "aligned: [Spf, Dkim]"),
        (signed, "aligned: [Spf, Dkim]"),
        (signer.sign("x.test", "s", &header).trim_end().to_owned() + "\r\n", "aligned: [Spf, Dkim]"),
        (PLAIN.to_owned(), "dkim: Some([])"),
        (format!("just text\r\n{PLAIN}"), "Some(Missing)"),
        ("\r\nFrom: a@x.test\r\n".to_owned(), "Some(Missing)"),
        ("From: a@x.test\r\nFrom: b@x.test\r\n".to_owned(), "Some(Several)"),
        (String::new(), "Some(Missing)"),
    ]
}

#[test]
fn a_message_is_found_to_be_the_same_at_every_split() {
    let signer = Signer::ed25519();
    let zone = zone(&signer);
    for (message, expected) in messages(&signer) {
        let octets = message.as_bytes();
        let whole = found(&[octets], &zone);
        assert!(whole.contains(expected), "{expected}: {whole}");
        for at in 0..=octets.len() {
            assert_eq!(found(&cut(octets, &[at]), &zone), whole, "{message:?} at {at}");
        }
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(found(&single, &zone), whole, "{message:?} octet by octet");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_found_to_be_the_same_in_any_pieces(
        cuts in proptest::collection::vec(0_usize..4096, 0..12),
    ) {
        let signer = Signer::ed25519();
        let zone = zone(&signer);
        for (message, _) in messages(&signer) {
            let octets = message.as_bytes();
            prop_assert_eq!(found(&cut(octets, &cuts), &zone), found(&[octets], &zone), "{:?}", message);
        }
    }
}

/// An answer that did not come is none for ever: the message may take minutes.
#[test]
fn what_failed_while_the_message_came_is_looked_for_again_at_its_end() {
    let signer = Signer::ed25519();
    let mut check = taken(&[signer.sign("x.test", "s", PLAIN).as_bytes()]);
    let mut failed = |_: &Question| Some(Arc::new(Answer::Failed(Failure::Server)));
    check.ask_ahead(&SENDER, &rules(), &mut Asking::new(&mut failed));
    let mut keys = Keys::default();
    zone(&signer).run(|asking| check.judge(&SENDER, &rules(), asking, &mut keys).is_some());
    assert_eq!(check.found().spf_path.as_ref().map(|outcome| outcome.result), Some(SpfResult::Pass));
    let dmarc = check.found().dmarc.as_ref().expect("it has a policy");
    assert_eq!(dmarc.aligned, [dmarc::Aligned::Spf, dmarc::Aligned::Dkim]);
}

/// Some of the answers come after others were used.
#[test]
fn what_failed_at_the_end_is_looked_for_again_as_long_as_others_are_waited_for() {
    let signer = Signer::ed25519();
    let mut check = taken(&[PLAIN.as_bytes()]);
    let mut keys = Keys::default();
    let mut first = |question: &Question| {
        let is_policy = question.name.octets().starts_with(b"_dmarc");
        (!is_policy).then(|| Arc::new(Answer::Failed(Failure::Server)))
    };
    assert!(check.judge(&SENDER, &rules(), &mut Asking::new(&mut first), &mut keys).is_none());
    zone(&signer).run(|asking| check.judge(&SENDER, &rules(), asking, &mut keys).is_some());
    assert_eq!(check.found().spf_path.as_ref().map(|outcome| outcome.result), Some(SpfResult::Pass));
}

#[test]
fn questions_leave_before_the_message_is_there() {
    let signer = Signer::ed25519();
    let mut check = MessageCheck::new();
    let missing = |check: &mut MessageCheck| {
        let mut nothing = |_: &Question| None;
        let mut asking = Asking::new(&mut nothing);
        check.ask_ahead(&SENDER, &rules(), &mut asking);
        asking.missing().iter().map(|question| question.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(missing(&mut check), ["mx.x.test", "x.test"], "SPF needs the envelope only");
    let signed = signer.sign("x.test", "s", PLAIN);
    let end = naive_end(signed.as_bytes()).expect("an end");
    assert_eq!(check.look(&signed.as_bytes()[..end]), Piece::HeaderEnds(end));
    check.take_header(&Header::new(&signed.as_bytes()[..end]), &rules(), SENDER.now);
    let after_header = missing(&mut check);
    assert_eq!(after_header, ["mx.x.test", "x.test", "s._domainkey.x.test", "_dmarc.x.test"]);
}

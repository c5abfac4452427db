//! What is found, from stored copies in memory.

use super::*;
use crate::corpus::checksum::Text;
use crate::corpus::fingerprints::Fingerprints;
use crate::corpus::forged::Forgery;
use crate::corpus::{Corpus, Recipe};
use crate::ledger::entry::{Ending, Step};

const RUN: u64 = 9;

/// The texts of messages 0 to 9 and a ledger in which all of them have this ending, for 2 recipients.
fn findings(ending: Ending) -> (Vec<Vec<u8>>, Findings) {
    findings_with(ending, None)
}

/// The same with forged results.
fn findings_with(ending: Ending, forged: Option<&Forgery>) -> (Vec<Vec<u8>>, Findings) {
    let size = crate::size::Size::Fixed(900);
    let corpus =
        Corpus::new(&Recipe { size, forged, run: RUN, ..Recipe::for_tests() }).expect("large enough");
    let fingerprints = Fingerprints::new(&corpus);
    let mut ledger = Ledger::default();
    ledger.runs.insert(RUN);
    let mut texts = Vec::new();
    for number in 0..10 {
        let text: Text = fingerprints.of(&corpus, number);
        let cut = fingerprints.cut_of(&corpus, number);
        ledger.messages.insert(Id { run: RUN, number }, Recorded { text, cut, recipients: 2, ending });
        let mut sent = Vec::new();
        let rest = corpus.write_head(number, false, &mut sent);
        sent.extend_from_slice(rest);
        let lines = sent.strip_suffix(b".\r\n").expect("the end").split_inclusive(|octet| *octet == b'\n');
        texts.push(lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect());
    }
    (texts, Findings::new(ledger, None))
}

fn store(findings: &mut Findings, text: &[u8], recipient: &str) {
    let content = [b"Received: here\r\n", text].concat();
    findings.take(Stored {
        place: &"here",
        content: &content,
        lf_allowed: true,
        recipients: vec![Some(recipient.into())],
        mail_data_at: None,
        complaint: None,
    });
}

fn store_all(findings: &mut Findings, texts: &[Vec<u8>]) {
    for text in texts {
        store(findings, text, "a@x");
        store(findings, text, "b@x");
    }
}

fn counts(verdict: &Verdict) -> [u64; 4] {
    [&verdict.lost, &verdict.altered, &verdict.unclean, &verdict.duplicated].map(|names| names.count)
}

#[test]
fn what_was_accepted_must_be_there_for_every_recipient() {
    let (texts, mut findings) = findings(Ending::Accepted);
    store_all(&mut findings, &texts[2..]);
    store(&mut findings, &texts[1], "a@x");
    let verdict = findings.verdict();
    assert_eq!(counts(&verdict), [2, 0, 0, 0]);
    assert!(!verdict.holds());
    assert!(verdict.lost.first[0].starts_with("0000000000000009-0000000000000000"));
    assert!(verdict.lost.first[1].contains("for 1 of 2 recipients"), "{:?}", verdict.lost.first);
}

#[test]
fn lf_for_crlf_throughout_is_whole_and_in_part_is_altered() {
    let (texts, mut whole) = findings(Ending::Accepted);
    let lf =
        |text: &[u8]| String::from_utf8(text.to_vec()).expect("ASCII").replace("\r\n", "\n").into_bytes();
    store_all(&mut whole, &texts.iter().map(|text| lf(text)).collect::<Vec<_>>());
    assert_eq!(counts(&whole.verdict()), [0; 4]);
    let (texts, mut mixed) = findings(Ending::Accepted);
    let half: Vec<_> = texts.iter().map(|text| [&text[..400], &lf(&text[400..])].concat()).collect();
    store_all(&mut mixed, &half);
    assert_eq!(counts(&mixed.verdict()), [0, 10, 0, 0]);
}

#[test]
fn the_body_of_another_message_is_found() {
    let (texts, mut findings) = findings(Ending::Accepted);
    let swap = |to: usize, from: usize| [&texts[to][..200], &texts[from][200..]].concat();
    let swapped: Vec<_> = (0..10).map(|number| swap(number, (number + 1) % 10)).collect();
    store_all(&mut findings, &swapped);
    assert_eq!(counts(&findings.verdict()), [0, 10, 0, 0]);
}

#[test]
fn nothing_of_refused_and_unfinished_mail_may_be_there() {
    let refused = |step, code| Ending::Refused { step, code };
    for ending in [refused(Step::Mail, 451), refused(Step::End, 552), Ending::Unfinished] {
        let (texts, mut findings) = findings(ending);
        store(&mut findings, &texts[0], "a@x");
        store(&mut findings, &texts[1][..500], "a@x");
        let verdict = findings.verdict();
        assert_eq!(counts(&verdict), [0, 1, 2, 0], "{ending:?}");
        assert!(!verdict.holds());
    }
}

#[test]
fn unknown_and_deferred_mail_is_absent_or_whole() {
    for ending in [Ending::Unknown, Ending::Refused { step: Step::End, code: 451 }] {
        let (texts, mut whole) = findings(ending);
        store(&mut whole, &texts[0], "a@x");
        store_all(&mut whole, &texts[1..3]);
        let verdict = whole.verdict();
        assert_eq!(counts(&verdict), [0; 4]);
        assert!(verdict.holds());
        let (texts, mut partial) = findings(ending);
        store(&mut partial, &texts[0][..500], "a@x");
        assert_eq!(counts(&partial.verdict()), [0, 1, 0, 0]);
    }
}

#[test]
fn duplicates_are_told_and_fail_only_if_asked() {
    let (texts, mut findings) = findings(Ending::Accepted);
    store_all(&mut findings, &texts);
    store(&mut findings, &texts[3], "a@x");
    let verdict = findings.verdict();
    assert_eq!(counts(&verdict), [0, 0, 0, 1]);
    assert!(verdict.holds());
}

#[test]
fn two_copies_for_one_recipient_are_not_one_for_each_of_two() {
    let (texts, mut findings) = findings(Ending::Accepted);
    store_all(&mut findings, &texts[1..]);
    store(&mut findings, &texts[0], "a@x");
    store(&mut findings, &texts[0], "a@x");
    assert_eq!(counts(&findings.verdict()), [1, 0, 0, 1]);
}

#[test]
fn other_mail_is_counted_and_not_judged() {
    let (texts, mut findings) = findings(Ending::Accepted);
    store_all(&mut findings, &texts);
    store(&mut findings, b"Subject: other\r\n\r\n", "a@x");
    let first = String::from_utf8(texts[0].clone()).expect("ASCII");
    let of = |id: &str| first.replace("0000000000000009-0000000000000000", id).into_bytes();
    store(&mut findings, &of("000000000000000a-0000000000000000"), "a@x");
    store(&mut findings, &of("0000000000000009-00000000000000ff"), "a@x");
    let verdict = findings.verdict();
    assert_eq!(verdict.unrecorded.count, 1);
    assert_eq!((counts(&verdict), verdict.foreign.count), ([0; 4], 2));
}

/// The fields that a receiver with checks puts above the mail data.
const TRACE: &[u8] =
    b"Authentication-Results: mx.test; spf=pass smtp.mailfrom=a@x.test;\r\n\tdkim=none\r\nReceived: here\r\n";

fn without(text: &[u8], part: &str) -> Vec<u8> {
    String::from_utf8(text.to_vec()).expect("ASCII").replacen(part, "", 1).into_bytes()
}

#[test]
fn results_of_the_receiver_stand_above_the_mail_data_and_are_no_change() {
    let (texts, mut findings) = findings(Ending::Accepted);
    for text in &texts {
        for recipient in ["a@x", "b@x"] {
            findings.take(Stored {
                place: &"here",
                content: &[TRACE, text].concat(),
                lf_allowed: false,
                recipients: vec![Some(recipient.into())],
                mail_data_at: Some(TRACE.len()),
                complaint: None,
            });
        }
    }
    let verdict = findings.verdict();
    assert_eq!((counts(&verdict), verdict.cut, verdict.forged.count), ([0; 4], 0, 0));
}

#[test]
fn a_forged_field_may_be_cut_and_nothing_else() {
    let forgery: Forgery = "mx.test:100".parse().expect("a forgery");
    let forged = "Authentication-Results: mx.test; spf=pass smtp.mailfrom=bank.test; \
                  dkim=pass header.d=bank.test; dmarc=pass\r\n";
    let (texts, mut cut) = findings_with(Ending::Accepted, Some(&forgery));
    let whole = texts.iter().map(|text| without(text, forged)).collect::<Vec<_>>();
    assert!(whole.iter().zip(&texts).all(|(cut, sent)| cut.len() + forged.len() == sent.len()));
    store_all(&mut cut, &whole);
    let verdict = cut.verdict();
    assert_eq!((counts(&verdict), verdict.cut, verdict.forged.count), ([0; 4], 20, 0));

    let (texts, mut kept) = findings_with(Ending::Accepted, Some(&forgery));
    store_all(&mut kept, &texts);
    let verdict = kept.verdict();
    assert_eq!((counts(&verdict), verdict.cut, verdict.forged.count), ([0; 4], 0, 20));

    // Another field with it, an octet elsewhere, a part of it, and the end of the header section.
    for parts in [
        [forged, "Subject: A message made by loadgen\r\n"],
        [forged, "MIME-Version: 1.0\r\n"],
        [forged, "Date"],
        [forged, "made by"],
        ["dmarc=pass", ""],
        [&forged[..forged.len() - 1], ""],
        [&forged[1..], ""],
        ["", "\r\n\r\n"],
    ] {
        let (texts, mut altered) = findings_with(Ending::Accepted, Some(&forgery));
        let cut = texts.iter().map(|text| parts.iter().fold(text.clone(), |text, part| without(&text, part)));
        store_all(&mut altered, &cut.collect::<Vec<_>>());
        assert_eq!(counts(&altered.verdict())[1], 10, "{parts:?}");
    }
}

use std::sync::LazyLock;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;
use crate::auth::dkim::bodies::Bodies;
use crate::auth::dkim::canonical::Form;
use crate::auth::dkim::keys::Keys;
use crate::auth::dkim::signature::Problem as OfSignature;
use crate::auth::dkim::verify::tests::{Signer, relaxed, signers};
use crate::auth::header::Header;
use crate::dns::asking::tests::Zone;
use crate::dns::{Answer, Failure, Kind, Name, Question, Records};

const NOW: u64 = 1_700_000_000;
const FIELDS: &str = "From: A <a@x.test>\r\nSubject:  two  words \r\n";
const BODY: &[u8] = b"one\r\n two \r\n\r\n";
/// [`BODY`] in the relaxed form.
const RELAXED: &[u8] = b"one\r\n two\r\n";

/// The fields of one sealer: results, message signature, seal.
type Set = [String; 3];

/// What is sealed with, by turns.
struct Sealers([Signer; 2]);

/// Keys take a while to make.
static SEALERS: LazyLock<Sealers> = LazyLock::new(|| Sealers(signers()));

impl Sealers {
    fn of(&self, instance: usize) -> &Signer {
        &self.0[instance % 2]
    }

    fn domain(instance: usize) -> String {
        format!("hop{instance}.test")
    }

    /// The keys of all sealers.
    fn zone(&self) -> Zone {
        (1..=12).fold(Zone::default(), |zone, instance| {
            let record = self.of(instance).record().into_bytes().into_boxed_slice();
            zone.with(key_of(instance), Answer::Records(Records::Txt(vec![record])))
        })
    }

    /// Adds a set on top of those that are there, as RFC 8617 §5.1 says.
    fn seal(&self, before: &[Set], status: &str) -> Set {
        let instance = before.len() + 1;
        let (signer, domain) = (self.of(instance), Self::domain(instance));
        let sign = |octets: &str| BASE64.encode(&signer.sign(octets.as_bytes()));
        let results = format!("ARC-Authentication-Results: i={instance}; {domain};\r\n\tdkim=pass\r\n");
        let hash = BASE64.encode(digest::digest(&digest::SHA256, RELAXED).as_ref());
        let message = |signature: &str| {
            format!(
                "ARC-Message-Signature: i={instance}; a={}; c=relaxed/relaxed;\r\n d={domain}; s=arc;\r\n \
                 h=from:Subject:from; bh={hash}; t={NOW};\r\n b={signature}\r\n",
                signer.algorithm()
            )
        };
        let signed =
            format!("from:A <a@x.test>\r\nsubject:two words\r\n{}", relaxed(&message("")).trim_end());
        let message = message(&sign(&signed));
        let seal = |signature: &str| {
            format!(
                "ARC-Seal: i={instance}; cv={status}; a={};\r\n d={domain}; s=arc; b={signature}\r\n",
                signer.algorithm()
            )
        };
        let fields = before.iter().flatten().chain([&results, &message]).map(|field| relaxed(field));
        let signed = fields.collect::<String>() + relaxed(&seal("")).trim_end();
        let seal = seal(&sign(&signed));
        [results, message, seal]
    }

    fn chain(&self, count: usize) -> Vec<Set> {
        let mut sets = Vec::new();
        for instance in 1..=count {
            sets.push(self.seal(&sets, if instance == 1 { "none" } else { "pass" }));
        }
        sets
    }
}

fn key_of(instance: usize) -> Question {
    let name = format!("arc._domainkey.{}", Sealers::domain(instance));
    Question::new(Kind::Txt, Name::new(name.as_bytes()).expect("a name"))
}

/// The header section of a chain, with the last set on top.
fn section(sets: &[Set]) -> String {
    let fields = sets.iter().rev().flat_map(|[results, message, seal]| [seal, message, results]);
    fields.map(String::as_str).collect::<String>() + FIELDS
}

fn hashed(chain: &Chain, body: &[u8], size: usize) -> Bodies {
    let mut bodies = Bodies::default();
    chain.want(&mut bodies);
    body.chunks(size).for_each(|piece| bodies.update(piece));
    bodies.finish();
    bodies
}

fn judge_in(zone: &Zone, section: &str, body: &[u8]) -> Outcome {
    let chain = Chain::of(&Header::new(section.as_bytes()), NOW);
    let (bodies, mut keys) = (hashed(&chain, body, 3), Keys::default());
    zone.run(|asking| chain.check(&bodies, asking, &mut keys)).0.expect("all is answered")
}

/// The problem of a chain that fails.
fn problem(sealers: &Sealers, section: &str) -> Option<Problem> {
    let outcome = judge_in(&sealers.zone(), section, BODY);
    let expected = if outcome.problem.is_some() { ArcResult::Fail } else { ArcResult::Pass };
    assert_eq!(outcome.result, expected, "{section}");
    outcome.problem
}

fn sealers_of(outcome: &Outcome) -> Vec<String> {
    outcome.sealers.iter().map(Name::to_string).collect()
}

#[test]
fn a_message_without_a_chain_has_none() {
    for section in ["", FIELDS, "Authentication-Results: i=1; x.test; arc=pass\r\nFrom: a@x.test\r\n"] {
        let outcome = judge_in(&Zone::default(), section, BODY);
        assert_eq!((outcome.result, outcome.problem), (ArcResult::None, None));
        assert_eq!(Chain::of(&Header::new(section.as_bytes()), NOW).body_form(), None, "nothing is hashed");
    }
}

#[test]
fn chains_of_one_to_ten_sets_pass_and_the_last_sealer_comes_first() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(SETS_MAX);
    for count in 1..=SETS_MAX {
        let section = section(&sets[..count]);
        let outcome = judge_in(&sealers.zone(), &section, BODY);
        assert_eq!((outcome.result, outcome.problem), (ArcResult::Pass, None), "{count}");
        let expected: Vec<String> = (1..=count).rev().map(Sealers::domain).collect();
        assert_eq!(sealers_of(&outcome), expected);
        assert_eq!(Chain::of(&Header::new(section.as_bytes()), NOW).body_form(), Some(Form::Relaxed));
    }
}

#[test]
fn a_chain_with_more_sets_than_are_judged_fails() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(SETS_MAX + 1);
    assert_eq!(problem(sealers, &section(&sets)), Some(Problem::TooManySets(SETS_MAX + 1)));
    assert!(Problem::TooManySets(11).to_string().contains("at most 10 are judged"));
}

#[test]
fn where_the_fields_stand_means_nothing() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(3);
    let mut fields: Vec<&str> = sets.iter().flatten().map(String::as_str).collect();
    for _ in 0..9 {
        fields.rotate_left(2);
        assert_eq!(problem(sealers, &(fields.concat() + FIELDS)), None);
        assert_eq!(problem(sealers, &(FIELDS.to_owned() + &fields.concat())), None);
    }
    let folded = section(&sets).replace("ARC-Seal: ", "arc-SEAL :\r\n\t");
    assert_eq!(problem(sealers, &folded), None, "the relaxed form");
}

#[test]
fn a_set_has_each_field_once_and_no_set_is_left_out() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(3);
    for (instance, set) in (1..).zip(&sets) {
        for field in set {
            let without = section(&sets).replace(field.as_str(), "");
            assert_eq!(problem(sealers, &without), Some(Problem::Incomplete(instance)), "{field}");
            let twice = field.clone() + &section(&sets);
            assert_eq!(problem(sealers, &twice), Some(Problem::Twice(instance)), "{field}");
        }
    }
    let gap = [&section(&sets[2..]), sets[0].concat().as_str()].concat();
    assert_eq!(problem(sealers, &gap), Some(Problem::Incomplete(2)));
    assert_eq!(problem(sealers, &section(&sets[1..])), Some(Problem::Incomplete(1)));
    assert_eq!(problem(sealers, &section(&sets[..2])), None, "without the last sealer's");
}

#[test]
fn numbers_of_sets_are_one_to_fifty() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(1);
    for (number, expected) in [
        ("0", Problem::NoInstance),
        ("51", Problem::NoInstance),
        ("100", Problem::NoInstance),
        ("-1", Problem::NoInstance),
        ("x", Problem::NoInstance),
        ("", Problem::NoInstance),
        ("1 1", Problem::NoInstance),
        ("2", Problem::Incomplete(1)),
        ("50", Problem::Incomplete(1)),
    ] {
        for field in &sets[0] {
            let other = field.replacen("i=1", &format!("i={number}"), 1);
            let section = section(&sets).replace(field.as_str(), &other);
            assert_eq!(problem(sealers, &section), Some(expected), "{other}");
        }
    }
    for field in &sets[0] {
        let unread = section(&sets).replace(field.as_str(), &field.replacen("i=1;", "", 1));
        assert_eq!(problem(sealers, &unread), Some(Problem::NoInstance), "{unread}");
        let twice = section(&sets).replace(field.as_str(), &field.replacen("i=1;", "i=1; i=1;", 1));
        let of_results = field.starts_with("ARC-Authentication-Results");
        let expected = if of_results {
            // What follows the number is for readers of results; only a seal notices a change of it.
            Problem::Seal(1, OfSignature::Signature)
        } else {
            Problem::NoInstance
        };
        assert_eq!(problem(sealers, &twice), Some(expected), "{twice}");
    }
}

#[test]
fn what_seals_say_of_the_chain_before_them_has_to_be_true() {
    let sealers = &*SEALERS;
    let first = vec![sealers.seal(&[], "none")];
    let second = |status: &str| vec![first[0].clone(), sealers.seal(&first, status)];
    assert_eq!(problem(sealers, &section(&second("pass"))), None);
    assert_eq!(problem(sealers, &section(&second("fail"))), Some(Problem::BrokenBefore));
    assert_eq!(problem(sealers, &section(&second("none"))), Some(Problem::WrongStatus(2)));
    assert_eq!(problem(sealers, &section(&second("Pass"))), Some(Problem::WrongStatus(2)));
    for (status, expected) in
        [("pass", Problem::WrongStatus(1)), ("fail", Problem::BrokenBefore), ("", Problem::WrongStatus(1))]
    {
        assert_eq!(problem(sealers, &section(&[sealers.seal(&[], status)])), Some(expected));
    }
    let mut broken = second("fail");
    broken.push(sealers.seal(&broken, "pass"));
    assert_eq!(problem(sealers, &section(&broken)), Some(Problem::WrongStatus(2)), "once broken, for good");
}

#[test]
fn a_message_that_was_changed_after_the_last_sealer_fails() {
    let sealers = &*SEALERS;
    let section = section(&sealers.chain(2));
    let outcome = judge_in(&sealers.zone(), &section, b"other");
    assert_eq!(outcome.problem, Some(Problem::Message(OfSignature::BodyHash)));
    assert_eq!(sealers_of(&outcome), ["hop2.test", "hop1.test"], "told, and worth nothing");
    for (from, to) in [("two  words", "three words"), ("a@x.test", "b@y.test")] {
        let changed = section.replace(from, to);
        assert_eq!(problem(sealers, &changed), Some(Problem::Message(OfSignature::Signature)), "{to}");
    }
    let added = section.clone() + "From: b@y.test\r\n";
    assert_eq!(problem(sealers, &added), Some(Problem::Message(OfSignature::Signature)), "oversigned");
    let respaced = section.replace("two  words ", "two words");
    assert_eq!(problem(sealers, &respaced), None, "the relaxed form");
}

#[test]
fn a_field_of_any_set_that_was_changed_breaks_the_newest_seal() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(3);
    let newest = Problem::Seal(3, OfSignature::Signature);
    for instance in 1..=3 {
        let results = format!("i={instance}; hop{instance}.test;\r\n\tdkim=pass");
        let changed = section(&sets).replace(&results, &results.replace("pass", "fail"));
        assert_eq!(problem(sealers, &changed), Some(newest), "results of {instance}");
    }
    // Older signatures over the message need not verify: others may have changed it in between.
    let seal = sets[0][2].replace("s=arc;", "s=arc; x=y;");
    assert_eq!(problem(sealers, &section(&sets).replace(&sets[0][2], &seal)), Some(newest));
    // The newest seal is good, and over one that is not.
    let mut forged = sealers.chain(1);
    forged[0][2] = forged[0][2].replace("hop1", "hop3");
    forged.push(sealers.seal(&forged, "pass"));
    assert_eq!(problem(sealers, &section(&forged)), Some(Problem::Seal(1, OfSignature::Signature)));
}

#[test]
fn a_set_of_one_chain_is_none_in_another() {
    let sealers = &*SEALERS;
    let (one, other) = (sealers.chain(2), Sealers(signers()).chain(2));
    let mixed = [one[0].clone(), other[1].clone()];
    assert_eq!(problem(sealers, &section(&mixed)), Some(Problem::Message(OfSignature::Signature)));
    let mixed = [other[0].clone(), one[1].clone()];
    assert_eq!(problem(sealers, &section(&mixed)), Some(Problem::Seal(2, OfSignature::Signature)));
}

#[test]
fn fields_that_cannot_be_signatures_fail() {
    let sealers = &*SEALERS;
    let sets = sealers.chain(1);
    let replaced = |from: &str, to: &str| section(&sets).replacen(from, to, 1);
    for (from, to, expected) in [
        ("cv=none", "h=from; cv=none", Problem::Seal(1, OfSignature::BadTag("h"))),
        ("cv=none; a=ed25519-sha256", "cv=none; a=rsa-sha1", Problem::Seal(1, OfSignature::Sha1)),
        ("cv=none; a=ed25519-sha256;", "cv=none;", Problem::Seal(1, OfSignature::MissingTag("a"))),
        ("cv=none", "cv=none; cv=none", Problem::NoInstance),
        ("h=from:Subject:from; ", "", Problem::Message(OfSignature::MissingTag("h"))),
        ("h=from:Subject:from", "h=subject", Problem::Message(OfSignature::FromUnsigned)),
        ("c=relaxed/relaxed", "c=other", Problem::Message(OfSignature::BadTag("c"))),
        ("t=1700000000", "x=1699999000", Problem::Message(OfSignature::Expired)),
        ("t=1700000000", "t=1700001000", Problem::Message(OfSignature::FromFuture)),
        ("t=1700000000", "l=3", Problem::Message(OfSignature::PartOfBody)),
        ("d=hop1.test", "d=test", Problem::Seal(1, OfSignature::BadTag("d"))),
    ] {
        let changed = replaced(from, to);
        assert_ne!(changed, section(&sets), "{from} is there");
        assert_eq!(problem(sealers, &changed), Some(expected), "{to}");
    }
}

#[test]
fn keys_that_are_not_there_fail_and_those_without_an_answer_are_a_temporary_error() {
    let sealers = &*SEALERS;
    let section = section(&sealers.chain(2));
    let judged = |instance, answer: Answer, body: &[u8]| {
        let outcome = judge_in(&sealers.zone().with(key_of(instance), answer), &section, body);
        (outcome.result, outcome.problem)
    };
    let failed = || Answer::Failed(Failure::Server);
    for answer in [Answer::NoName, Answer::NoRecords] {
        let expected = Problem::Seal(1, OfSignature::NoKey);
        assert_eq!(judged(1, answer, BODY), (ArcResult::Fail, Some(expected)));
    }
    let revoked = Answer::Records(Records::Txt(vec![b"v=DKIM1; p="[..].into()]));
    assert_eq!(judged(2, revoked, BODY), (ArcResult::Fail, Some(Problem::Message(OfSignature::Revoked))));
    let no_answer = Problem::Message(OfSignature::NoAnswer);
    assert_eq!(judged(2, failed(), BODY), (ArcResult::TempError, Some(no_answer)));
    let no_answer = Problem::Seal(1, OfSignature::NoAnswer);
    assert_eq!(judged(1, failed(), BODY), (ArcResult::TempError, Some(no_answer)));
    let changed = (ArcResult::Fail, Some(Problem::Message(OfSignature::BodyHash)));
    assert_eq!(judged(1, failed(), b"other"), changed, "broken whatever the answer would be");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn neither_the_order_of_answers_nor_the_pieces_of_the_body_change_anything(
        order in proptest::collection::vec(0_usize..100, 1..8),
        size in 1_usize..20,
        unanswered in proptest::option::of(1_usize..4),
        is_changed in any::<bool>(),
    ) {
        let sealers = &*SEALERS;
        let section = section(&sealers.chain(3));
        let zone = match unanswered {
            Some(instance) => sealers.zone().with(key_of(instance), Answer::Failed(Failure::TimedOut)),
            None => sealers.zone(),
        };
        let body = if is_changed { b"one\r\n two\r\n\r\n." } else { BODY };
        let expected = judge_in(&zone, &section, body);
        let chain = Chain::of(&Header::new(section.as_bytes()), NOW);
        let (bodies, mut keys) = (hashed(&chain, body, size), Keys::default());
        let mut turns = order.into_iter().cycle();
        let next = |count: usize| turns.next().unwrap_or(0) % count;
        let (outcome, asked) = zone.run_in_order(next, |asking| chain.check(&bodies, asking, &mut keys));
        prop_assert_eq!(outcome, Some(expected));
        prop_assert_eq!(asked, 3);
        let asked = zone.run(|asking| chain.ask_ahead(asking)).1;
        prop_assert_eq!(asked, 3, "all that is needed is asked ahead");
    }

    #[test]
    fn any_octets_have_some_outcome(
        parts in proptest::collection::vec(prop_oneof![
            Just("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; b=Zm9v\r\n"),
            Just("ARC-Message-Signature: i=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=Zm9v; b=Zm9v\r\n"),
            Just("ARC-Authentication-Results: i=1; x.test; none\r\n"),
            Just("ARC-Seal: i=2; a=rsa-sha256; cv=pass; d=x.test; s=s; b=Zm9v\r\n"),
            Just("ARC-Seal:"),
            Just("\r\n"),
            Just("From: a@x.test\r\n"),
            Just(" i=50;"),
        ], 0..12),
    ) {
        let outcome = judge_in(&Zone::default(), &parts.concat(), BODY);
        prop_assert!(outcome.result != ArcResult::Pass);
    }
}

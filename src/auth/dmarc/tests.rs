use std::cell::Cell;

use super::evaluate::Found;
use super::*;
use crate::dns::asking::tests::Zone;
use crate::dns::{Answer, Asking, Failure, Kind, Name, Question, Records};

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

/// DMARC records by their domains; the domains exist.
fn zone(records: &[(&str, &str)]) -> Zone {
    let mut zone = Zone::default();
    for (domain, text) in records {
        let texts = text.split('|').map(|text| text.as_bytes().into()).collect();
        zone =
            zone.with(question(Kind::Txt, &format!("_dmarc.{domain}")), Answer::Records(Records::Txt(texts)));
    }
    zone
}

fn question(kind: Kind, text: &str) -> Question {
    Question::new(kind, name(text))
}

/// A check of a message that nobody vouches for.
fn unvouched(zone: &Zone, author: &str) -> Outcome {
    vouched(zone, author, None, &[])
}

fn vouched(zone: &Zone, author: &str, spf: Option<(&str, Found)>, dkim: &[(&str, Found)]) -> Outcome {
    let (author, spf) = (name(author), spf.map(|(domain, found)| (name(domain), found)));
    let dkim: Vec<_> = dkim.iter().map(|(domain, found)| (name(domain), *found)).collect();
    let facts =
        Facts { author: &author, spf: spf.as_ref().map(|(domain, found)| (domain, *found)), dkim: &dkim };
    zone.run(|asking| check(&facts, asking)).0.expect("all is answered")
}

fn signed(zone: &Zone, author: &str, domain: &str) -> &'static str {
    vouched(zone, author, None, &[(domain, Found::Pass)]).result.word()
}

fn exists(zone: Zone, domain: &str) -> Zone {
    zone.with(question(Kind::A, domain), Answer::NoRecords)
}

#[test]
fn the_walk_asks_eight_times_at_most() {
    let asked = Cell::new(Vec::new());
    let mut look = |question: &Question| {
        let mut all = asked.take();
        if !all.contains(&question.name.to_string()) {
            all.push(question.name.to_string());
        }
        asked.set(all);
        Some(std::sync::Arc::new(Answer::NoName))
    };
    let mut asking = Asking::new(&mut look);
    let author = name("a.b.c.d.e.f.g.h.i.j.mail.example.com");
    let outcome = check(&Facts { author: &author, spf: None, dkim: &[] }, &mut asking).expect("an outcome");
    assert_eq!(outcome.result, DmarcResult::None);
    let asked = asked.take();
    assert_eq!(asked.len(), 8);
    assert_eq!(asked[1], "_dmarc.g.h.i.j.mail.example.com");
    assert_eq!(asked[7], "_dmarc.com");
}

#[test]
fn the_policy_is_the_organisations_and_not_one_in_between() {
    let zone = exists(
        zone(&[
            ("mail.example.com", "v=DMARC1; p=none"),
            ("example.com", "v=DMARC1; p=reject; sp=quarantine"),
        ]),
        "a.mail.example.com",
    );
    let outcome = unvouched(&zone, "a.mail.example.com");
    assert_eq!((outcome.policy_domain, outcome.policy), (Some(name("example.com")), Policy::Quarantine));
    assert_eq!(unvouched(&zone, "mail.example.com").policy, Policy::None, "its own");
    assert_eq!(signed(&zone, "a.mail.example.com", "example.com"), "pass");
}

#[test]
fn psd_n_ends_the_walk() {
    let zone =
        zone(&[("mail.example.com", "v=DMARC1; p=reject; psd=n"), ("example.com", "v=DMARC1; p=none")]);
    let outcome = unvouched(&exists(zone, "a.mail.example.com"), "a.mail.example.com");
    assert_eq!((outcome.policy_domain, outcome.policy), (Some(name("mail.example.com")), Policy::Reject));
}

#[test]
fn a_public_suffix_gives_its_policy_and_no_alignment() {
    let zone = exists(zone(&[("bank.example", "v=DMARC1; p=none; sp=reject; psd=y")]), "giant.bank.example");
    let outcome = unvouched(&zone, "giant.bank.example");
    assert_eq!((outcome.policy_domain, outcome.policy), (Some(name("bank.example")), Policy::Reject));
    assert_eq!(signed(&zone, "giant.bank.example", "mega.bank.example"), "fail");
    assert_eq!(signed(&zone, "giant.bank.example", "mail.giant.bank.example"), "pass");
    assert_eq!(signed(&zone, "bank.example", "bank.example"), "pass");
    assert_eq!(
        signed(&zone, "bank.example", "mega.bank.example"),
        "fail",
        "the suffix is its own organisation"
    );
}

#[test]
fn a_public_suffix_that_is_met_after_a_jump_has_the_organisation_cut_from_the_start() {
    let zone = zone(&[("f.g.h.i.bank.example.org", "v=DMARC1; p=reject; psd=y")]);
    let author = "a.b.c.d.e.f.g.h.i.bank.example.org";
    assert_eq!(unvouched(&zone, author).policy_domain, Some(name("f.g.h.i.bank.example.org")));
    assert_eq!(signed(&zone, author, "x.e.f.g.h.i.bank.example.org"), "pass");
    assert_eq!(signed(&zone, author, "x.f.g.h.i.bank.example.org"), "fail");
}

#[test]
fn of_two_records_none_counts() {
    let zone = exists(
        zone(&[
            ("x.example.com", "v=DMARC1; p=none|v=DMARC1; p=reject"),
            ("example.com", "v=DMARC1; p=quarantine"),
        ]),
        "x.example.com",
    );
    assert_eq!(unvouched(&zone, "x.example.com").policy_domain, Some(name("example.com")));
}

#[test]
fn records_are_read_as_they_are_written() {
    for (text, expected) in [
        ("v=DMARC1; p=reject", Some(Policy::Reject)),
        ("v = DMARC1 ;P = Reject ; pct=0; rf=afrf; ri=1; unknown=x", Some(Policy::Reject)),
        ("v=DMARC1;p=reject;", Some(Policy::Reject)),
        ("v=DMARC1; p=reject; adkim=x; aspf=; fo=9; psd=maybe; t=perhaps", Some(Policy::Reject)),
        ("v=dmarc1; p=reject", None),
        ("p=reject; v=DMARC1", None),
        ("v=DMARC12; p=reject", None),
        ("v=DMARC1", None),
        ("v=DMARC1; p=bogus", None),
        ("v=DMARC1; rua=mailto:a@x.test", Some(Policy::None)),
        ("v=DMARC1; p=bogus; rua=mailto:a@x.test!10m", Some(Policy::None)),
        ("v=DMARC1; p=bogus; rua=nobody", None),
        ("v=DMARC1; p=reject; sp=bogus", None),
        ("v=DMARC1; p=reject; sp=bogus; rua=mailto:a@x.test", Some(Policy::None)),
    ] {
        let outcome = unvouched(&zone(&[("x.test", text)]), "x.test");
        let policy = (outcome.result == DmarcResult::Fail).then_some(outcome.policy);
        assert_eq!(policy, expected, "{text}");
    }
}

#[test]
fn a_name_that_does_not_exist_has_a_policy_of_its_own() {
    let all = "v=DMARC1; p=none; sp=quarantine; np=reject";
    for (text, missing, there) in [
        (all, Policy::Reject, Policy::Quarantine),
        ("v=DMARC1; p=none; sp=quarantine", Policy::Quarantine, Policy::Quarantine),
        ("v=DMARC1; p=reject", Policy::Reject, Policy::Reject),
        ("v=DMARC1; p=none; np=reject", Policy::Reject, Policy::None),
    ] {
        let records = [("x.test", text)];
        assert_eq!(unvouched(&zone(&records), "a.x.test").policy, missing, "NXDOMAIN: {text}");
        assert_eq!(
            unvouched(&exists(zone(&records), "a.x.test"), "a.x.test").policy,
            there,
            "NODATA: {text}"
        );
    }
}

#[test]
fn a_policy_under_test_is_one_less() {
    for (text, expected) in [
        ("v=DMARC1; p=reject; t=y", Policy::Quarantine),
        ("v=DMARC1; p=quarantine; t=y", Policy::None),
        ("v=DMARC1; p=none; t=y", Policy::None),
        ("v=DMARC1; p=reject; t=n", Policy::Reject),
    ] {
        assert_eq!(unvouched(&zone(&[("x.test", text)]), "x.test").wanted(), expected, "{text}");
    }
}

#[test]
fn alignment_ends_at_labels_and_strict_means_the_same_name() {
    let relaxed = zone(&[("example.com", "v=DMARC1; p=reject")]);
    for (domain, expected) in [
        ("example.com", "pass"),
        ("EXAMPLE.com.", "pass"),
        ("mail.example.com", "pass"),
        ("notexample.com", "fail"),
        ("example.com.evil.org", "fail"),
        ("com", "fail"),
        ("evil.org", "fail"),
    ] {
        assert_eq!(signed(&relaxed, "example.com", domain), expected, "{domain}");
        let by_spf = vouched(&relaxed, "example.com", Some((domain, Found::Pass)), &[]);
        assert_eq!(by_spf.result.word(), expected, "{domain}");
    }
    let strict = zone(&[("example.com", "v=DMARC1; p=reject; adkim=s")]);
    assert_eq!(signed(&strict, "example.com", "mail.example.com"), "fail");
    let by_spf = vouched(&strict, "example.com", Some(("mail.example.com", Found::Pass)), &[]);
    assert_eq!((by_spf.result, by_spf.aligned), (DmarcResult::Pass, vec![Aligned::Spf]));
}

#[test]
fn without_an_answer_it_neither_passes_nor_fails() {
    let zone = || zone(&[("x.test", "v=DMARC1; p=reject")]);
    let open = vouched(&zone(), "x.test", None, &[("x.test", Found::TempError)]);
    assert_eq!((open.result, open.wanted()), (DmarcResult::TempError, Policy::None));
    let saved = vouched(&zone(), "x.test", Some(("x.test", Found::Pass)), &[("x.test", Found::TempError)]);
    assert_eq!(saved.result, DmarcResult::Pass, "an aligned pass elsewhere wins");
    let strange = vouched(&zone(), "x.test", None, &[("evil.org", Found::TempError)]);
    assert_eq!(strange.result, DmarcResult::Fail, "what is not aligned changes nothing");
}

#[test]
fn a_walk_that_is_not_needed_is_not_missed() {
    let failed = || Answer::Failed(Failure::Server);
    let with_fault = |zone: Zone| zone.with(question(Kind::Txt, "_dmarc.com"), failed());
    let zone = || with_fault(zone(&[("example.com", "v=DMARC1; p=reject; adkim=s")]));
    assert_eq!(signed(&zone(), "example.com", "example.com"), "pass");
    assert_eq!(signed(&zone(), "example.com", "mail.example.com"), "fail", "strict");
    let by_spf = vouched(&zone(), "example.com", Some(("mail.example.com", Found::Pass)), &[]);
    assert_eq!(by_spf.result, DmarcResult::TempError, "relaxed needs the walk");
}

use std::cell::Cell;

use proptest::prelude::*;

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
        ("V=DMARC1; P=reject", Some(Policy::Reject)),
        ("x; v=DMARC1; p=reject", None),
        ("; v=DMARC1; p=reject", None),
        ("v=DMARC1 p=reject", None),
        ("v=DMARC1; p", None),
        ("v=DMARC1; p=reject; np=bogus", None),
        ("v=DMARC1; p=; rua=mailto:a@x.test", Some(Policy::None)),
        ("v=DMARC1; p=reject; rua=nobody", Some(Policy::Reject)),
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
fn a_record_that_nobody_needs_is_none() {
    let policy = |bytes: usize| {
        let text = format!("v=DMARC1; p=reject; x={}", "x".repeat(bytes - "v=DMARC1; p=reject; x=".len()));
        unvouched(&zone(&[("x.test", &text)]), "x.test").result.word()
    };
    assert_eq!((policy(4096), policy(4097)), ("fail", "none"));
}

#[test]
fn bad_values_of_other_tags_are_their_defaults() {
    let bad =
        [("example.com", "v=DMARC1; p=reject; adkim=strict; aspf=x; t=yes; psd=perhaps; fo=all; pct=0")];
    assert_eq!(signed(&zone(&bad), "example.com", "mail.example.com"), "pass", "relaxed");
    let by_spf = vouched(&zone(&bad), "example.com", Some(("mail.example.com", Found::Pass)), &[]);
    assert_eq!(by_spf.result, DmarcResult::Pass, "relaxed");
    assert_eq!(unvouched(&zone(&bad), "example.com").wanted(), Policy::Reject, "no test, and pct is nothing");
    let fault = zone(&bad).with(question(Kind::Txt, "_dmarc.com"), Answer::Failed(Failure::Server));
    assert_eq!(signed(&fault, "example.com", "mail.example.com"), "temperror", "psd: the walk goes on");
}

#[test]
fn a_record_that_cannot_be_followed_is_still_the_one_that_applies() {
    let records = [
        ("x.example.com", "v=DMARC1; p=bogus"),
        ("example.com", "v=DMARC1; p=reject"),
        ("example.net", "v=DMARC1; sp=bogus; p=reject"),
        ("y.example.net", "v=DMARC1; p=quarantine"),
    ];
    let none = |author| {
        let outcome = unvouched(&exists(zone(&records), author), author);
        (outcome.result, outcome.policy_domain.clone(), outcome.wanted())
    };
    let judged_by_nobody = (DmarcResult::None, None, Policy::None);
    assert_eq!(none("x.example.com"), judged_by_nobody, "not by the organisation's");
    assert_eq!(none("z.example.net"), judged_by_nobody);
    assert_eq!(none("a.x.example.com").2, Policy::Reject, "the organisation is above it");
    // It still says which domains belong together.
    assert_eq!(signed(&zone(&records), "y.example.net", "example.net"), "pass");
    let suffix = [("bank.example", "v=DMARC1; psd=y"), ("giant.bank.example", "v=DMARC1; p=reject")];
    assert_eq!(signed(&zone(&suffix), "giant.bank.example", "mega.bank.example"), "fail");
}

#[test]
fn a_public_suffix_at_the_start_ends_the_walk() {
    let fault = || Answer::Failed(Failure::Server);
    let records = [("bank.example", "v=DMARC1; p=reject; sp=none; psd=y")];
    let zone = zone(&records).with(question(Kind::Txt, "_dmarc.example"), fault());
    assert_eq!(signed(&zone, "bank.example", "mail.example"), "temperror", "the other's walk goes on");
    let outcome = vouched(&zone, "bank.example", None, &[("giant.bank.example", Found::Pass)]);
    assert_eq!((outcome.result, outcome.policy), (DmarcResult::Fail, Policy::Reject), "its own p");
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

/// What a walk asks, in its order, and what came of it.
fn asked_for(zone: &Zone, author: &str, spf: &str, dkim: &str) -> (Vec<String>, Outcome) {
    let (author, spf, dkim) = (name(author), name(spf), [(name(dkim), Found::Pass)]);
    let facts = Facts { author: &author, spf: Some((&spf, Found::Pass)), dkim: &dkim };
    let mut names = Vec::new();
    let mut look = |question: &Question| {
        let shown = question.name.to_string();
        if question.kind == Kind::Txt && !names.contains(&shown) {
            names.push(shown);
        }
        Some(zone.answer(question))
    };
    let outcome = check(&facts, &mut Asking::new(&mut look)).expect("all is answered");
    (names, outcome)
}

#[test]
fn the_simple_example_of_the_standard() {
    // Appendix B.4.1
    let records = [("example.com", "v=DMARC1; p=reject"), ("signing.example.com", "v=DMARC1; p=none")];
    let (asked, outcome) = asked_for(&zone(&records), "example.com", "example.com", "signing.example.com");
    assert_eq!(asked, ["_dmarc.example.com", "_dmarc.signing.example.com", "_dmarc.com"]);
    assert_eq!(outcome.policy_domain, Some(name("example.com")));
    assert_eq!((outcome.result, outcome.aligned), (DmarcResult::Pass, vec![Aligned::Spf, Aligned::Dkim]));
    assert_eq!(unvouched(&zone(&records), "example.com").wanted(), Policy::Reject);
}

#[test]
fn the_deep_example_of_the_standard() {
    // Appendix B.4.2
    let author = "a.b.c.d.e.f.g.h.i.j.k.example.com";
    let records =
        [("example.com", "v=DMARC1; p=reject; sp=quarantine"), ("signing.example.com", "v=DMARC1; p=none")];
    let zone = exists(zone(&records), author);
    let (asked, outcome) = asked_for(&zone, author, "example.com", "signing.example.com");
    let expected = [
        "_dmarc.a.b.c.d.e.f.g.h.i.j.k.example.com",
        "_dmarc.g.h.i.j.k.example.com",
        "_dmarc.h.i.j.k.example.com",
        "_dmarc.i.j.k.example.com",
        "_dmarc.j.k.example.com",
        "_dmarc.k.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
        "_dmarc.signing.example.com",
    ];
    assert_eq!(asked, expected);
    assert_eq!(outcome.policy_domain, Some(name("example.com")));
    assert_eq!((outcome.result, outcome.aligned), (DmarcResult::Pass, vec![Aligned::Spf, Aligned::Dkim]));
    assert_eq!(unvouched(&zone, author).wanted(), Policy::Quarantine);
}

#[test]
fn the_example_of_the_standard_with_a_public_suffix() {
    // Appendix B.4.3
    let records =
        [("bank.example", "v=DMARC1; p=none; psd=y"), ("giant.bank.example", "v=DMARC1; p=quarantine")];
    let (author, spf, dkim) = ("giant.bank.example", "mail.giant.bank.example", "mail.mega.bank.example");
    let (asked, outcome) = asked_for(&zone(&records), author, spf, dkim);
    let expected = [
        "_dmarc.giant.bank.example",
        "_dmarc.mail.giant.bank.example",
        "_dmarc.bank.example",
        "_dmarc.mail.mega.bank.example",
        "_dmarc.mega.bank.example",
    ];
    assert_eq!(asked, expected, "and never _dmarc.example");
    assert_eq!(outcome.policy_domain, Some(name(author)));
    assert_eq!((outcome.result, outcome.aligned), (DmarcResult::Pass, vec![Aligned::Spf]));
    assert_eq!(unvouched(&zone(&records), author).wanted(), Policy::Quarantine);
}

/// Domains that are near to each other, so that walks meet.
const DOMAINS: [&str; 8] = [
    "example",
    "bank.example",
    "giant.bank.example",
    "mail.giant.bank.example",
    "mega.bank.example",
    "a.b.c.d.e.f.g.h.mega.bank.example",
    "mail.example",
    "other.test",
];

const RECORDS: [Option<&str>; 8] = [
    None,
    None,
    Some("v=DMARC1; p=reject; np=none"),
    Some("v=DMARC1; p=quarantine; psd=y; sp=reject"),
    Some("v=DMARC1; p=none; psd=n; adkim=s"),
    Some("v=DMARC1; p=none|v=DMARC1; p=none"),
    Some("v=DMARC1; p=bogus"),
    Some("SERVFAIL"),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_order_of_answers_changes_nothing(
        records in proptest::array::uniform8(0_usize..RECORDS.len()),
        author in 0_usize..DOMAINS.len(),
        spf in proptest::option::of(0_usize..DOMAINS.len()),
        dkim in proptest::collection::vec((0_usize..DOMAINS.len(), any::<bool>()), 0..4),
        order in proptest::collection::vec(0_usize..100, 1..8),
    ) {
        let mut zone = Zone::default();
        for (domain, record) in DOMAINS.iter().zip(records) {
            let question = question(Kind::Txt, &format!("_dmarc.{domain}"));
            zone = match RECORDS[record] {
                None => zone,
                Some("SERVFAIL") => zone.with(question, Answer::Failed(Failure::Server)),
                Some(texts) => {
                    let texts = texts.split('|').map(|text| text.as_bytes().into()).collect();
                    zone.with(question, Answer::Records(Records::Txt(texts)))
                }
            };
        }
        let (author, spf) = (name(DOMAINS[author]), spf.map(|at| name(DOMAINS[at])));
        let found = |passes| if passes { Found::Pass } else { Found::TempError };
        let dkim: Vec<_> = dkim.into_iter().map(|(at, passes)| (name(DOMAINS[at]), found(passes))).collect();
        let facts = Facts { author: &author, spf: spf.as_ref().map(|spf| (spf, Found::Pass)), dkim: &dkim };
        let expected = zone.run(|asking| check(&facts, asking)).0;
        prop_assert!(expected.is_some());
        let mut turns = order.into_iter().cycle();
        let next = |count: usize| turns.next().unwrap_or(0) % count;
        let (last, _) = zone.run_in_order(next, |asking| {
            let outcome = check(&facts, asking);
            assert!(outcome.is_none() || outcome == expected, "said too early: {outcome:?}");
            outcome
        });
        prop_assert_eq!(last, expected);
    }
}

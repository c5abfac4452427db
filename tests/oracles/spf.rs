//! SPF beside pyspf, over random zones.
//!
//! pyspf passes the OpenSPF suite, and yet it differs from RFC 7208, or from what we read there, in the rules
//! below. `tests/python/oracles.py` can put each right, by itself. With all of them put right the results
//! have to be the same. Where they differ without, one rule or several together have to be the cause, which
//! is counted and printed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmx::auth::spf::{Outcome, Sender, SpfResult, check};
use ringmx::dns::{Asking, Question};
use serde_json::Value;
use support::load::Random;

use crate::python::Python;
use crate::spf_zones::Case;
use crate::{Again, seeds};

/// Rules of pyspf that are others: their names in `oracles.py`, and what we do.
const RULES: &[(&str, &str)] = &[
    (
        "void",
        "§4.6.4 limits terms that find nothing; pyspf counts look-ups: also those of the domain itself, of %{p}, \
         and of addresses of exchangers and of the client's names",
    ),
    ("ptr", "§5.5: names of the client that nobody answers for are left out; pyspf: temperror"),
    (
        "mx",
        "§5.4 has exchangers looked at in their order until one matches; pyspf looks at all of them first, and \
         one that nobody answers for is a temperror also after a match",
    ),
    (
        "redirect",
        "§4.6.4: a redirect that nobody follows asks nothing; pyspf counts it as it reads the record",
    ),
    ("include", "an include of the domain itself asks until the limit; pyspf: permerror before any match"),
    (
        "modifiers",
        "§4.6.1, §6: names have no case, and unknown ones may come twice; pyspf knows redirect= and exp= in \
         small letters only, and has any modifier once",
    ),
    (
        "grammar",
        "§7.1: an open brace, and letters after a macro's, are errors of syntax; pyspf passes them over",
    ),
    ("sender", "§4.3 puts `postmaster` for a missing local-part, also into %{s}; pyspf only into %{l}"),
    ("reverse", "§7.1: words of the grammar have no case; pyspf passes over the R of %{dR}"),
    (
        "default",
        "a mechanism without a domain has that of its record as it is; pyspf expands that as a macro",
    ),
    (
        "p",
        "§7.3 prefers names of the client in the domain of the record; pyspf keeps what it took for the first",
    ),
    ("length", "§7.3 cuts whole labels until the name fits; pyspf cuts one"),
];

fn ours(case: &Case) -> Outcome {
    let mut known = |question: &Question| Some(Arc::new(case.zone.answer(question)));
    let (local_part, domain) = case.identity();
    let sender = Sender {
        client: case.client,
        helo: case.helo.as_bytes(),
        local_part: local_part.as_bytes(),
        domain: domain.as_bytes(),
        receiver: "mx.example.org",
        explains: true,
        now: 1_700_000_000,
    };
    check(&sender, &mut Asking::new(&mut known)).expect("nothing is missing")
}

fn theirs(pyspf: &mut Python, asked: &Value, rules: &[&str]) -> Value {
    let mut asked = asked.clone();
    asked["rules"] = rules.into();
    asked["receiver"] = "mx.example.org".into();
    asked["now"] = 1_700_000_000.into();
    pyspf.ask(&asked)
}

/// Same result; of a fail the same explanation, but for the case of its letters.
fn agrees(outcome: &Outcome, theirs: &Value) -> bool {
    let explanation = theirs["explanation"].as_str().map(str::to_ascii_lowercase);
    outcome.result.word() == theirs["result"]
        && (outcome.result != SpfResult::Fail
            || outcome.explanation.as_deref().map(str::to_ascii_lowercase) == explanation)
}

/// The rule that alone makes pyspf say the same.
fn cause(pyspf: &mut Python, asked: &Value, outcome: &Outcome) -> &'static str {
    let alone = RULES.iter().find(|(rule, _)| agrees(outcome, &theirs(pyspf, asked, &[rule])));
    alone.map_or("several together", |(rule, _)| rule)
}

#[test]
fn random_zones_have_the_results_of_pyspf() {
    let Some(mut pyspf) = Python::start("spf") else { return };
    let all: Vec<&str> = RULES.iter().map(|(rule, _)| *rule).collect();
    let (mut results, mut causes) = (BTreeMap::<&str, u32>::new(), BTreeMap::<&str, u32>::new());
    for seed in seeds(500) {
        let _again = Again("spf", seed);
        let case = Case::random(&mut Random::new(seed));
        let (outcome, asked) = (ours(&case), case.to_json());
        let by_the_letter = theirs(&mut pyspf, &asked, &all);
        assert!(agrees(&outcome, &by_the_letter), "ours: {outcome:?}\npyspf: {by_the_letter}\n{asked}");
        *results.entry(outcome.result.word()).or_default() += 1;
        if !agrees(&outcome, &theirs(&mut pyspf, &asked, &[])) {
            *causes.entry(cause(&mut pyspf, &asked, &outcome)).or_default() += 1;
        }
    }
    println!("results: {results:?}\npyspf alone differs by its rules: {causes:?}");
}

/// A rule, the reverse-path, the zone, and our result.
type RuleCase<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str, &'a str)>, &'a str);

/// Where each rule makes a difference. With the name that a long reverse-path comes to.
fn cases_of_rules<'a>(long: &'a str, cut: &'a str) -> Vec<RuleCase<'a>> {
    const REVERSE: &str = "1.2.0.192.in-addr.arpa";
    const TEN_TERMS: &str = "v=spf1 a a a a a a a a a a ip4:192.0.2.1 redirect=x.test";
    vec![
        (
            "void",
            "u@x.test",
            vec![
                ("x.test", "TXT", "v=spf1 mx -all"),
                ("x.test", "MX", "10 g1.test"),
                ("x.test", "MX", "20 g2.test"),
                ("x.test", "MX", "30 g3.test"),
            ],
            "fail",
        ),
        ("ptr", "u@x.test", vec![("x.test", "TXT", "v=spf1 ptr -all"), (REVERSE, "silent", "PTR")], "fail"),
        (
            "mx",
            "u@x.test",
            vec![
                ("x.test", "TXT", "v=spf1 mx -all"),
                ("x.test", "MX", "10 h.test"),
                ("x.test", "MX", "20 silent.test"),
                ("h.test", "A", "192.0.2.1"),
                ("silent.test", "silent", "A"),
            ],
            "pass",
        ),
        ("redirect", "u@x.test", vec![("x.test", "TXT", TEN_TERMS), ("x.test", "A", "198.51.100.1")], "pass"),
        ("include", "u@x.test", vec![("x.test", "TXT", "v=spf1 ip4:192.0.2.1 include:x.test")], "pass"),
        ("modifiers", "u@x.test", vec![("x.test", "TXT", "v=spf1 x=y x=z all")], "pass"),
        ("grammar", "u@x.test", vec![("x.test", "TXT", "v=spf1 exists:%{dx}.test all")], "permerror"),
        (
            "sender",
            "@x.test",
            vec![
                ("x.test", "TXT", "v=spf1 exists:%{S}.test ~all"),
                ("postmaster%40x.test.test", "A", "127.0.0.2"),
            ],
            "pass",
        ),
        (
            "reverse",
            "u@x.test",
            vec![("x.test", "TXT", "v=spf1 exists:%{dR}.r.test ~all"), ("test.x.r.test", "A", "127.0.0.2")],
            "pass",
        ),
        (
            "default",
            "a+b@x.test",
            vec![
                ("x.test", "TXT", "v=spf1 redirect=%{L}.x.test"),
                ("a%2bb.x.test", "TXT", "v=spf1 a ~all"),
                ("a%2bb.x.test", "A", "198.51.100.1"),
            ],
            "softfail",
        ),
        (
            "p",
            "u@x.test",
            vec![
                ("x.test", "TXT", "v=spf1 include:a.test exists:%{p}.none.test -all"),
                ("a.test", "TXT", "v=spf1 exists:%{p}.found.test"),
                (REVERSE, "PTR", "n.x.test"),
                (REVERSE, "PTR", "n.a.test"),
                ("n.x.test", "A", "192.0.2.1"),
                ("n.a.test", "A", "192.0.2.1"),
                ("n.a.test.found.test", "A", "127.0.0.2"),
            ],
            "pass",
        ),
        (
            "length",
            long,
            vec![("x.test", "TXT", "v=spf1 exists:%{l}.x.test -all"), (cut, "A", "127.0.0.2")],
            "pass",
        ),
    ]
}

/// Without this the list above could go on with what pyspf has long put right.
#[test]
fn each_rule_that_differs_makes_a_difference() {
    let Some(mut pyspf) = Python::start("spf") else { return };
    let labels: Vec<String> = "abcdef".chars().map(|letter| letter.to_string().repeat(60)).collect();
    let (long, cut) = (format!("{}@x.test", labels.join(".")), format!("{}.x.test", labels[2..].join(".")));
    let cases = cases_of_rules(&long, &cut);
    assert!(cases.iter().map(|(rule, ..)| rule).eq(RULES.iter().map(|(rule, _)| rule)));
    for (rule, from, lines, expected) in &cases {
        let case = Case::of(from, lines);
        let outcome = ours(&case);
        assert_eq!(outcome.result.word(), *expected, "{rule}: {outcome:?}");
        let asked = case.to_json();
        assert!(!agrees(&outcome, &theirs(&mut pyspf, &asked, &[])), "{rule}");
        let put_right = theirs(&mut pyspf, &asked, &[rule]);
        assert!(agrees(&outcome, &put_right), "{rule}: {put_right}");
    }
}

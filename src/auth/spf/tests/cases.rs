//! What RFC 7208 says of limits, missing answers and macros, case by case.

use super::*;

/// Lines of a zone whose values need not live on.
fn zone_of(lines: &[(String, &str, String)]) -> Zone {
    let lines: Vec<(&str, &str, &str)> =
        lines.iter().map(|(name, kind, value)| (&**name, *kind, &**value)).collect();
    zone(&lines)
}

fn line(name: impl Into<String>, kind: &str, value: impl Into<String>) -> (String, &str, String) {
    (name.into(), kind, value.into())
}

/// The record of x.test, and so many hosts `h0.test`, `h1.test`, … that are not the client.
fn with_hosts(record: &str, count: usize) -> Zone {
    let mut lines = vec![line("x.test", "TXT", record)];
    lines.extend((0..count).map(|number| line(format!("h{number}.test"), "A", "198.51.100.1")));
    zone_of(&lines)
}

fn outcome(zone: &Zone, client: &str, from: &str) -> Outcome {
    run(&sender(client, "mx.x.test", from), zone, |_| 0).0
}

/// What 192.0.2.1 is told for a@x.test.
fn told(zone: &Zone) -> (&'static str, Option<Problem>) {
    let outcome = outcome(zone, "192.0.2.1", "a@x.test");
    (outcome.result.word(), outcome.problem)
}

fn terms(count: usize, mechanism: &str) -> String {
    let terms: Vec<String> = (0..count).map(|number| format!("{mechanism}{number}.test")).collect();
    terms.join(" ")
}

#[test]
fn ten_terms_may_ask_and_the_eleventh_is_an_error() {
    let too_many = ("permerror", Some(Problem::TooManyTerms));
    for (record, expected) in [
        (format!("{} -all", terms(10, "a:h")), ("fail", None)),
        (format!("{} -all", terms(11, "a:h")), too_many.clone()),
        // What a match comes before is not counted.
        (format!("{} ip4:192.0.2.1 {}", terms(10, "a:h"), terms(11, "a:h")), ("pass", None)),
        (format!("ip4:198.51.100.9 ip6:2001:db8::1 {} exp=e.x.test -all", terms(10, "a:h")), ("fail", None)),
        (format!("{} redirect=y.test", terms(9, "a:h")), ("softfail", None)),
        (format!("{} redirect=y.test", terms(10, "a:h")), too_many.clone()),
        (format!("{} redirect=y.test ?all", terms(10, "a:h")), ("neutral", None)),
        // Those of an included record count as well, and so does the include.
        (format!("include:y.test {} -all", terms(9, "a:h")), ("fail", None)),
        (format!("include:y.test {} -all", terms(10, "a:h")), too_many.clone()),
        ("include:x.test -all".to_owned(), too_many),
    ] {
        let mut zone = with_hosts(&format!("v=spf1 {record}"), 11);
        zone.0.extend(Zone::parse(&[serde_json::json!(["y.test", "TXT", "v=spf1 ~all"])]).0);
        assert_eq!(told(&zone), expected, "{record}");
    }
}

#[test]
fn the_third_term_that_finds_nothing_is_an_error() {
    let too_many = ("permerror", Some(Problem::TooManyVoidTerms));
    for (record, expected) in [
        ("a:g1.test a:g2.test -all", ("fail", None)),
        ("a:g1.test a:g2.test a:g3.test -all", too_many.clone()),
        ("a:g1.test mx:g2.test exists:g3.test -all", too_many.clone()),
        ("a:g1.test a:g2.test ptr -all", too_many.clone()),
        // There is the name, but no record of the kind.
        ("a:empty.test a:empty.test mx:empty.test -all", too_many.clone()),
        ("a:g1.test a:g2.test ip4:192.0.2.1 a:g3.test", ("pass", None)),
        ("a:g1.test a:g2.test exp=g3.test -all", ("fail", None)),
        ("a:g1.test a:g2.test a:%{p}.test -all", too_many),
        ("a:g1.test exists:%{p}.test -all", ("fail", None)),
        ("mx:mx.test mx:mx.test mx:mx.test -all", ("fail", None)),
    ] {
        let zone = zone(&[
            ("x.test", "TXT", &format!("v=spf1 {record}")),
            ("empty.test", "TXT", "nothing else"),
            ("mx.test", "MX", "g4.test"),
        ]);
        assert_eq!(told(&zone), expected, "{record}");
    }
}

#[test]
fn more_than_ten_exchangers_are_an_error() {
    for (count, expected) in [(10, "fail"), (11, "permerror")] {
        let mut lines = vec![line("x.test", "TXT", "v=spf1 mx -all")];
        lines.extend((0..count).map(|number| line("x.test", "MX", format!("h{number}.test"))));
        lines.extend((0..count).map(|number| line(format!("h{number}.test"), "A", "198.51.100.1")));
        assert_eq!(told(&zone_of(&lines)).0, expected, "{count}");
    }
}

#[test]
fn exchangers_are_looked_at_in_the_order_of_their_preference() {
    let lines = |preferences: [u16; 2]| {
        let [good, bad] = preferences;
        Zone::parse(&[
            serde_json::json!(["x.test", "TXT", "v=spf1 mx -all"]),
            serde_json::json!(["x.test", "MX", [bad, "silent.test"]]),
            serde_json::json!(["x.test", "MX", [good, "good.test"]]),
            serde_json::json!(["silent.test", "TIMEOUT"]),
            serde_json::json!(["good.test", "A", "192.0.2.1"]),
        ])
    };
    assert_eq!(told(&lines([10, 20])).0, "pass");
    assert_eq!(told(&lines([20, 10])).0, "temperror");
}

#[test]
fn the_first_ten_names_of_a_client_are_looked_at() {
    for (good, expected) in [(9, "pass"), (10, "fail")] {
        let mut lines = vec![line("x.test", "TXT", "v=spf1 ptr -all")];
        lines
            .extend((0..11).map(|number| line("1.2.0.192.in-addr.arpa", "PTR", format!("h{number}.x.test"))));
        lines.push(line(format!("h{good}.x.test"), "A", "192.0.2.1"));
        assert_eq!(told(&zone_of(&lines)).0, expected, "{good}");
    }
}

#[test]
fn what_an_include_or_redirect_leads_to_decides() {
    for (record, expected) in [
        ("include:none.test ~all", "permerror"),
        ("include:gone.test ~all", "permerror"),
        ("include:silent.test ~all", "temperror"),
        ("include:bad.test ~all", "permerror"),
        ("include:pass.test ~all", "pass"),
        ("-include:pass.test ~all", "fail"),
        ("include:fail.test ~all", "softfail"),
        ("include:soft.test ?all", "neutral"),
        ("include:neutral.test ~all", "softfail"),
        // A name that is none has no record.
        ("include:a..test ~all", "permerror"),
        ("redirect=none.test", "permerror"),
        ("redirect=gone.test", "permerror"),
        ("redirect=a..test", "permerror"),
        ("redirect=silent.test", "temperror"),
        ("redirect=bad.test", "permerror"),
        ("redirect=fail.test", "fail"),
        ("redirect=fail.test ~all", "softfail"),
    ] {
        let zone = zone(&[
            ("x.test", "TXT", &format!("v=spf1 {record}")),
            ("none.test", "TXT", "no record"),
            ("silent.test", "TIMEOUT", ""),
            ("bad.test", "TXT", "v=spf1 bogus"),
            ("pass.test", "TXT", "v=spf1 ip4:192.0.2.1"),
            ("fail.test", "TXT", "v=spf1 -all"),
            ("soft.test", "TXT", "v=spf1 ~all"),
            ("neutral.test", "TXT", "v=spf1"),
        ]);
        assert_eq!(told(&zone).0, expected, "{record}");
    }
}

#[test]
fn where_the_dns_does_not_answer_the_result_is_temporary_but_not_for_names_of_the_client() {
    for (record, expected) in [
        ("a:silent.test -all", "temperror"),
        ("mx:silent.test -all", "temperror"),
        ("mx:silent-mx.test -all", "temperror"),
        ("exists:silent.test -all", "temperror"),
        ("ip4:192.0.2.1 a:silent.test", "pass"),
        ("ptr -all", "fail"),
        ("exists:%{p}.x.test -all", "pass"),
        ("exp=silent.test -all", "fail"),
    ] {
        let zone = zone(&[
            ("x.test", "TXT", &format!("v=spf1 {record}")),
            ("silent.test", "TIMEOUT", ""),
            ("silent-mx.test", "MX", "silent.test"),
            ("1.2.0.192.in-addr.arpa", "TIMEOUT", ""),
            ("unknown.x.test", "A", "127.0.0.2"),
        ]);
        assert_eq!(told(&zone).0, expected, "{record}");
    }
    assert_eq!(told(&zone(&[("x.test", "TIMEOUT", "")])).0, "temperror");
}

#[test]
fn exists_asks_for_ipv4_addresses_whatever_the_client_has() {
    let zone =
        |kind, address| zone(&[("x.test", "TXT", "v=spf1 exists:e.test -all"), ("e.test", kind, address)]);
    assert_eq!(result(&zone("A", "127.0.0.2"), "2001:db8::1", "a@x.test"), "pass");
    assert_eq!(result(&zone("AAAA", "2001:db8::1"), "2001:db8::1", "a@x.test"), "fail");
}

#[test]
fn the_name_of_a_client_is_one_that_leads_back_best_one_of_the_domain() {
    let reverse = "1.2.0.192.in-addr.arpa";
    for (names, expected) in [
        (&["other.test", "mail.x.test", "x.test"][..], "x.test"),
        (&["other.test", "mail.x.test"], "mail.x.test"),
        (&["evilx.test", "other.test"], "evilx.test"),
        // It does not lead back.
        (&["false.x.test", "other.test"], "other.test"),
        (&["false.x.test"], "unknown"),
        (&[], "unknown"),
    ] {
        let mut lines = vec![
            line("x.test", "TXT", "v=spf1 exists:%{p}.found.test -all"),
            line(format!("{expected}.found.test"), "A", "127.0.0.2"),
            line("false.x.test", "A", "192.0.2.9"),
        ];
        lines.extend(names.iter().map(|name| line(reverse, "PTR", *name)));
        let true_names = ["other.test", "mail.x.test", "x.test", "evilx.test"];
        lines.extend(true_names.map(|name| line(name, "A", "192.0.2.1")));
        assert_eq!(told(&zone_of(&lines)).0, "pass", "{names:?}");
    }
}

#[test]
fn a_capital_letter_escapes_what_a_url_does_not_take() {
    let zone =
        zone(&[("x.test", "TXT", "v=spf1 exists:%{L}.x.test -all"), ("a%2bb~c%40.x.test", "A", "127.0.0.2")]);
    assert_eq!(result(&zone, "192.0.2.1", "a+b~c@@x.test"), "pass");
}

#[test]
fn a_name_that_is_too_long_is_cut_from_the_left_by_whole_labels() {
    let labels: Vec<String> = "abcdef".chars().map(|letter| letter.to_string().repeat(60)).collect();
    for (from, cut) in [(0, 2), (1, 1), (2, 0)] {
        let local_part = labels[from..].join(".");
        let left = format!("{}.x.test", labels[from + cut..].join("."));
        assert!(left.len() <= 253 && left.len() + 61 > 253);
        let zone = zone(&[("x.test", "TXT", "v=spf1 exists:%{l}.x.test -all"), (&left, "A", "127.0.0.2")]);
        assert_eq!(result(&zone, "192.0.2.1", &format!("{local_part}@x.test")), "pass", "{from}");
    }
}

#[test]
fn of_a_name_that_macros_make_very_long_the_right_end_counts() {
    let record = format!("v=spf1 exists:{}.%{{l}}.x.test -all", "%{l}".repeat(800));
    let zone = zone(&[("x.test", "TXT", &record), (&format!("{}.x.test", "a".repeat(60)), "A", "127.0.0.2")]);
    assert_eq!(result(&zone, "192.0.2.1", &format!("{}@x.test", "a".repeat(60))), "pass");
}

#[test]
fn a_record_has_a_bound_and_so_has_what_is_shown_of_it() {
    let record = |bytes: usize| format!("v=spf1 {} -all", "x".repeat(bytes - 12));
    let (_, problem) = told(&zone(&[("x.test", "TXT", &record(4096))]));
    let Some(Problem::Syntax(term)) = problem else { panic!("{problem:?}") };
    assert!(term.len() < 110 && term.ends_with("..."), "{term}");
    let name = Name::new(b"x.test").expect("a name");
    assert_eq!(told(&zone(&[("x.test", "TXT", &record(4097))])), ("permerror", Some(Problem::TooLong(name))));
}

#[test]
fn the_null_reverse_path_is_that_of_the_postmaster_of_helo() {
    let zone = zone(&[
        ("mx.x.test", "TXT", "v=spf1 exists:%{l}.at.%{o}.is.%{h} -all"),
        ("postmaster.at.mx.x.test.is.mx.x.test", "A", "127.0.0.2"),
    ]);
    let result = |helo| run(&sender("192.0.2.1", helo, ""), &zone, |_| 0).0.result.word();
    assert_eq!(result("mx.x.test"), "pass");
    for helo in ["[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost", "mx..x.test", ".", ""] {
        assert_eq!(result(helo), "none", "{helo}");
    }
}

#[test]
fn the_strings_of_a_text_are_joined_without_a_blank() {
    let texts =
        [serde_json::json!(["v=spf1 ip4:192.0", ".2.1 -a", "ll"]), serde_json::json!(["v=", "spf1 -all"])];
    for (text, expected) in texts.into_iter().zip(["pass", "fail"]) {
        let zone = Zone::parse(&[serde_json::json!(["x.test", "TXT", text])]);
        assert_eq!(told(&zone).0, expected, "{text}");
    }
}

#[test]
fn an_explanation_is_given_for_a_fail_only_and_is_printable() {
    for (all, text, expected) in [
        ("-all", "%{i} is not for %{o}, %{c}%_%%", Some("192.0.2.1 is not for x.test, 192.0.2.1 %")),
        ("~all", "no", None),
        ("?all", "no", None),
        ("all", "no", None),
        ("-all", "\u{e9}", None),
        ("-all", "a\r\nb", None),
        ("-all", "a\u{7f}", None),
        ("-all", "%{x}", None),
        ("-all", "%{d", None),
    ] {
        let record = format!("v=spf1 exp=e.x.test {all}");
        let zone = zone(&[("x.test", "TXT", &record), ("e.x.test", "TXT", text)]);
        let outcome = outcome(&zone, "192.0.2.1", "a@x.test");
        assert_eq!(outcome.explanation.as_deref(), expected, "{all} {text}");
    }
    // A local-part may hold what no reply may: the text is not given at all.
    let zone = zone(&[("x.test", "TXT", "v=spf1 exp=e.x.test -all"), ("e.x.test", "TXT", "%{l}")]);
    assert_eq!(outcome(&zone, "192.0.2.1", "a\r\n250@x.test").explanation, None);
}

#[test]
fn labels_that_are_none_make_no_temporary_error() {
    let long = "a".repeat(64);
    let zone = |record: &str| zone(&[("x.test", "TXT", record), ("x.test", "A", "192.0.2.9")]);
    for domain in
        [format!("{long}.x.test"), "a..x.test".to_owned(), ".x.test".to_owned(), "x.test..".to_owned()]
    {
        assert_eq!(result(&zone("v=spf1 -all"), "192.0.2.1", &format!("a@{domain}")), "none", "{domain}");
    }
    for target in [format!("{long}.x.test"), "a..x.test".to_owned(), "%{l}..x.test".to_owned()] {
        for term in ["a", "mx", "ptr", "exists"] {
            let zone = zone(&format!("v=spf1 {term}:{target} ?all"));
            assert_eq!(result(&zone, "192.0.2.1", "a@x.test"), "neutral", "{term}:{target}");
        }
    }
}

#[test]
fn a_domain_spec_ends_with_a_macro_or_a_top_label() {
    for (spec, is_good) in [
        ("%{d}", true),
        ("a.%{d}", true),
        ("%{d}.test", true),
        ("%{d}.test.", true),
        ("a.test-1", true),
        ("a.1-1", true),
        ("a.x%%", true),
        ("a.x%_", true),
        ("a.x%-", true),
        ("a%%%{d}", true),
        ("%{d}.", false),
        ("%{d}x", false),
        ("%%{d}", false),
        ("a.%%{d}", false),
        ("a.%%d.1", false),
        ("a", false),
        ("a.1", false),
        ("a.-b", false),
        ("a.b-", false),
        ("a.test..", false),
        ("%", false),
        ("a.%x.test", false),
        ("a.%{d.test", false),
        ("a.%{d0}", false),
        ("a.%{c}", false),
        ("a.\u{e9}.test", false),
    ] {
        let zone = zone(&[("x.test", "TXT", &format!("v=spf1 exists:{spec} ?all"))]);
        assert_eq!(told(&zone).0, if is_good { "neutral" } else { "permerror" }, "{spec}");
    }
}

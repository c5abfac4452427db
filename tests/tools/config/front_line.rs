//! The tables of the front line: what of the operator's words may stand in a reply, what would refuse or
//! trust somebody whom nobody meant, which rules cannot mean what they say; and domains that take no mail.

use super::{REST, good, parsed};

#[test]
fn domains_without_mail_win_over_domains_and_are_no_postmasters() {
    let with = |top: &str| format!("hostname = \"mx.a.example\"\n{top}\n{REST}");
    let config = good(&with(
        "domains = [\"a.example\", \"b.example\"]\ndomains_without_mail = [\"a.example\", \"c.example\"]",
    ));
    assert_eq!(config.postmaster, "postmaster@b.example", "the first one that takes mail");
    for (top, warning) in [
        (
            "domains = [\"a.example\"]\npostmaster = \"x@b.a.example\"\ndomains_without_mail = [\"*.a.example\"]",
            ":3: postmaster: mail for the bare <postmaster> is stored for x@b.a.example, whose domain takes no mail: set",
        ),
        (
            "domains = [\"b.example\"]\ndomains_without_mail = [\"c.example\", \"C.example\"]",
            ":3: domains_without_mail: \"c.example\" is listed twice",
        ),
        (
            "domains = [\"a.example\"]\ndomains_without_mail = [\"a.example\"]",
            ":3: domains_without_mail: it holds all of `domains`, so no mail is taken",
        ),
    ] {
        let (_, warnings) = parsed(&with(top)).expect("good");
        assert!(warnings.iter().any(|text| text.contains(warning)), "{warnings:?}");
    }
}

#[test]
fn a_threshold_that_no_client_can_reach_is_told() {
    let lists = "[[dnsbl]]\nzone = \"a.test\"\nweight = 2\nfamilies = \"ipv4\"\n[[dnsbl]]\nzone = \"b.test\"\nweight = 3\n\
                 families = \"ipv6\"\n[[dnsbl]]\nzone = \"good.test\"\nweight = -5\n[[dnsbl]]\nzone = \"c.test\"\n";
    for (score, told) in [
        ("refuse = 4", None),
        (
            "refuse = 5",
            Some(":19: score.refuse: 5 is never reached: a client that is on every list has a score of 4;"),
        ),
        ("drop = 6", Some(":19: score.drop: 6 is never reached")),
    ] {
        assert_told(&format!("{REST}{lists}[score]\n{score}\n"), told);
    }
}

#[test]
fn greylisting_of_suspicious_clients_needs_something_that_makes_them_so() {
    let why = "early.greylist: no [[dnsbl]] has a weight above 0";
    assert_told(&format!("{REST}[early]\ngreylist = \"suspicious\"\n"), Some(why));
    let good = "[[dnsbl]]\nzone = \"good.test\"\nweight = -5\n";
    assert_told(&format!("{REST}{good}[early]\ngreylist = \"suspicious\"\n"), Some(why));
    assert_told(&format!("{REST}{good}[early]\ngreylist = \"unknown\"\n"), None);
    let bad = "[[dnsbl]]\nzone = \"bad.test\"\n";
    assert_told(&format!("{REST}{bad}[early]\ngreylist = \"suspicious\"\n"), None);
}

#[test]
fn an_access_rule_that_never_matches_is_told_with_the_one_that_decides_before_it() {
    const WIDE: &str = "[[access]]\nnetworks = [\"10.0.0.0/8\"]\naction = \"trust\"\n";
    let told = Some(":10: access.action: this rule never matches: [[access]] rule 1, counted from 1,");
    for (first, second, told) in [
        (WIDE, "networks = [\"10.1.0.0/16\", \"10.2.3.4\"]\naction = \"refuse\"", told),
        (WIDE, "networks = [\"10.1.0.0/16\", \"192.0.2.1\"]\naction = \"refuse\"", None),
        (&WIDE.replace("trust", "warn"), "networks = [\"10.1.0.0/16\"]\naction = \"refuse\"", None),
        (
            "[[access]]\nehlo = [\"*.dyn.test\"]\naction = \"refuse\"\n",
            "ehlo = [\"a.dyn.test\"]\nreverse_path = [\"y.test\"]\naction = \"refuse\"",
            Some(":11: access.action: this rule never matches: [[access]] rule 1"),
        ),
        (
            "[[access]]\nehlo = [\"*.dyn.test\"]\naction = \"refuse\"\n",
            "reverse_path = [\"y.test\"]\naction = \"refuse\"",
            None,
        ),
    ] {
        assert_told(&format!("{REST}{first}[[access]]\n{second}\n"), told);
    }
}

/// The one warning of a text, or that there is none.
#[track_caller]
fn assert_told(text: &str, told: Option<&str>) {
    let (_, warnings) = parsed(text).expect("a good configuration");
    assert_eq!(warnings.len(), usize::from(told.is_some()), "{warnings:?}");
    let has = |told: &str| warnings.iter().any(|warning| warning.contains(told));
    assert!(told.is_none_or(has), "{told:?}: {warnings:?}");
}

/// The one problem of these tables, which names its key.
fn problem(tables: &str, key: &str) -> String {
    let problems = parsed(&format!("{REST}{tables}\n")).expect_err("a problem");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains(key), "{problems:?}");
    problems[0].clone()
}

#[test]
fn what_an_operator_says_in_a_reply_is_one_short_printable_line() {
    let rule = |text: &str| {
        format!("[[access]]\nnetworks = [\"192.0.2.0/24\"]\naction = \"refuse\"\ntext = \"{text}\"")
    };
    let list = |name: &str| format!("[[dnsbl]]\nzone = \"bad.test\"\nname = \"{name}\"\n[score]\nrefuse = 1");
    let long = |length| "x".repeat(length);
    for text in [&long(400), "See https://example.org/blocked?a=%41;b~"] {
        assert!(parsed(&format!("{REST}{}\n", rule(text))).is_ok(), "{text}");
    }
    for name in [&long(60), "Spamhaus ZEN"] {
        assert!(parsed(&format!("{REST}{}\n", list(name))).is_ok(), "{name}");
    }
    for text in ["", "two\\r\\n250 lines", "a\\ttab", "\\u001b[2J", "gr\u{fc}n", "\\u0000", &long(401)] {
        assert!(problem(&rule(text), "text").contains("printable ASCII"), "{text}");
        assert!(problem(&list(text), "name").contains("printable ASCII"), "{text}");
    }
    assert!(problem(&list(&long(61)), "name").contains("printable ASCII"));
}

#[test]
fn a_rule_that_says_nothing_trusts_nobody() {
    let rule = "[[access]]\nnetworks = [\"192.0.2.1\"]\naction = \"trust\"\ntext = \"x\"";
    assert!(problem(rule, "text").contains("refuses nobody"));
    assert!(problem("[[access]]\naction = \"trust\"", "action").contains("everybody"));
    problem("[[access]]\nnetworks = [\"192.0.2.0/33\"]\naction = \"trust\"", "networks");
    problem("[[access]]\nnetworks_file = \"/nowhere/at/all\"\naction = \"trust\"", "networks_file");
    problem("[[access]]\nehlo = [\"*.*.example\"]\naction = \"trust\"", "ehlo");
    problem("[[access]]\nreverse_path = [\"a@b.example\"]\naction = \"trust\"", "reverse_path");
    problem("[[access]]\nnetworks = [\"192.0.2.1\"]\naction = \"allow\"", "action");
}

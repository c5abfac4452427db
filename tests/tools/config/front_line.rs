//! The tables of the front line: what of the operator's words may stand in a reply, and what would refuse or
//! trust somebody whom nobody meant.

use super::{REST, parsed};

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
    for action in ["trust", "warn"] {
        let rule = format!("[[access]]\nnetworks = [\"192.0.2.1\"]\naction = \"{action}\"\ntext = \"x\"");
        assert!(problem(&rule, "text").contains("refuses nobody"));
    }
    assert!(problem("[[access]]\naction = \"trust\"", "action").contains("everybody"));
    problem("[[access]]\nnetworks = [\"192.0.2.0/33\"]\naction = \"trust\"", "networks");
    problem("[[access]]\nnetworks_file = \"/nowhere/at/all\"\naction = \"trust\"", "networks_file");
    problem("[[access]]\nehlo = [\"*.*.example\"]\naction = \"trust\"", "ehlo");
    problem("[[access]]\nreverse_path = [\"a@b.example\"]\naction = \"trust\"", "reverse_path");
    problem("[[access]]\nnetworks = [\"192.0.2.1\"]\naction = \"allow\"", "action");
}

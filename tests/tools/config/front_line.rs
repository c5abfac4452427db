//! The front line: which of its rules cannot mean what they say, and domains that take no mail.

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

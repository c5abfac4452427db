//! `[auth]`: who vouches for a message.

use super::document::Fallback;
use super::section::Section;
use crate::auth::rules::{AuthRules, DmarcUse, SpfUse};
use crate::dns::Name;

/// A shorter header section is that of ordinary mail.
const HEADER_BYTES_MIN: usize = 16 << 10;

/// It is in memory once while it is read.
const HEADER_BYTES_MAX: usize = 1 << 20;

const HEADER_BYTES_DEFAULT: usize = 256 << 10;

/// Reads the table; none where it is not there.
pub(super) fn read(root: &mut Section<'_>, hostname: &str) -> Option<AuthRules> {
    let is_given = root.given("auth");
    let mut section = root.table(
        "auth",
        "Who vouches for a message: SPF, DKIM, DMARC, and the Authentication-Results field. Off when this table is absent.",
    );
    section.reloads_but(&[]);
    let authserv_id = section.text(
        "authserv_id",
        "a host name",
        Fallback::Computed { example: "\"mx1.example.org\"", default: "hostname" },
        "Whose results ours are, in Authentication-Results. Fields of others that claim this name are removed.",
        |text| {
            let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
            let is_name = Name::new(text.as_bytes()).is_some() && text.bytes().all(fits);
            if is_name { Ok(text.to_owned()) } else { Err(format!("{text:?} is no host name")) }
        },
    );
    let spf = section.choice_or(
        "spf",
        &[("off", SpfUse::Off), ("mark", SpfUse::Mark), ("refuse", SpfUse::Refuse)],
        Fallback::Value("\"mark\"".to_owned()),
        "SPF (RFC 7208): `mark` notes it, `refuse` answers recipients `550 5.7.23` after fail and `550 5.7.24` after permerror.",
    );
    let dkim = section.choice_or(
        "dkim",
        &[("off", false), ("mark", true)],
        Fallback::Value("\"mark\"".to_owned()),
        "Signatures (RFC 6376).",
    );
    let dmarc = section.choice_or(
        "dmarc",
        &[
            ("off", DmarcUse::Off),
            ("mark", DmarcUse::Mark),
            ("with-reason", DmarcUse::WithReason),
            ("always", DmarcUse::Always),
        ],
        Fallback::Value("\"with-reason\"".to_owned()),
        "DMARC (RFC 9989): where the author's domain wants a message refused, `with-reason` refuses it (`550 5.7.1`) if something else speaks against it, too, and marks it otherwise.",
    );
    let from_refuses = section.choice(
        "from",
        &[("mark", false), ("refuse", true)],
        "Messages whose From: is not one field with mailboxes of one domain: `refuse` answers `550 5.7.1`.",
    );
    let arc_trusted = section.texts(
        "arc_trusted",
        "domains",
        Fallback::Computed { example: "[\"lists.example.net\"]", default: "[], nobody" },
        "Domains of forwarders whose ARC seals (RFC 8617) excuse a message that fails DMARC.",
        |text| Name::new(text.as_bytes()).ok_or_else(|| format!("{text:?} is no domain")),
    );
    let keep_results_from = section.networks(
        "keep_results_from",
        "[\"10.0.0.0/8\"]",
        "Clients whose Authentication-Results fields stay, such as a front of yours.",
    );
    let temporary_failure_refuses = section.choice(
        "temporary_failure",
        &[("accept", false), ("refuse", true)],
        "Where the DNS does not answer: `refuse` answers `451` if the author's domain may want the message refused, or SPF is to refuse.",
    );
    let header_bytes_max = section.size(
        "header_bytes_max",
        HEADER_BYTES_DEFAULT,
        HEADER_BYTES_MIN..=HEADER_BYTES_MAX,
        "Octets of a header section: `552 5.3.4` beyond.",
    );
    section.finish();
    let rules = AuthRules {
        authserv_id: authserv_id.unwrap_or_else(|| hostname.to_owned()).into(),
        spf: spf.unwrap_or(SpfUse::Mark),
        dkim: dkim.unwrap_or(true),
        dmarc: dmarc.unwrap_or(DmarcUse::WithReason),
        from_refuses,
        arc_trusted: arc_trusted.unwrap_or_default().into_iter().map(|(_, name)| name).collect(),
        keep_results_from,
        temporary_failure_refuses,
        header_bytes_max,
    };
    is_given.then_some(rules)
}

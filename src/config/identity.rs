//! The keys at the top of the file: who we are, and whose mail is accepted.

use std::path::PathBuf;

use super::document::Fallback;
use super::recipient_map::Socketmap;
use super::section::Section;
use super::{host, names};
use crate::mail::domain::DomainPattern;
use crate::mail::tag::Delimiters;

/// Who knows which recipients exist.
#[derive(Debug, Clone)]
pub(super) enum RecipientSource {
    File(PathBuf),
    Map(Socketmap),
    /// The next hops of `[[forward]]`.
    NextHops,
}

/// Whose mail is accepted: the keys at the top of the file.
pub(super) struct Identity {
    pub(super) hostname: String,
    /// Whether the host name was found, not given.
    pub(super) hostname_given: bool,
    /// Whether what was given as a host name is not one.
    pub(super) hostname_faulty: bool,
    pub(super) domains: Vec<DomainPattern>,
    pub(super) domains_without_mail: Vec<DomainPattern>,
    /// `domains` is not given, as opposed to given and bad.
    pub(super) any_domain: bool,
    pub(super) recipients: Option<RecipientSource>,
    /// Whether a recipient is taken where no next hop can be asked about it.
    pub(super) takes_unasked: bool,
    pub(super) aliases: Option<PathBuf>,
    pub(super) postmaster: String,
    pub(super) local_part_case_sensitive: bool,
    pub(super) recipient_delimiter: Delimiters,
    pub(super) local_part_deny: String,
    pub(super) local_part_leading_dot: bool,
}

/// Reads these keys.
pub(super) fn read(root: &mut Section<'_>) -> Identity {
    let hostname = root.text(
        "hostname",
        "fully-qualified domain name",
        Fallback::Computed {
            example: "\"mx1.example.org\"",
            default: "the system's host name, or \"localhost\"",
        },
        "The name in the greeting, in EHLO replies and after `by` in Received: (RFC 5321 §2.3.5).",
        names::domain,
    );
    let domains = domains(root);
    let domains_without_mail = domains_without_mail(root, &domains);
    let any_domain = domains.is_empty() && !root.faulty("domains");
    let base_dir = root.base_dir();
    let recipients = root.text(
        "recipients",
        "path, relative to the directory of this file, or \"socketmap:unix:PATH:NAME\" or \"socketmap:inet:HOST:PORT:NAME\", or \"ask\"",
        Fallback::Computed {
            example: "\"recipients.txt\"",
            default: "every local-part of an accepted domain is taken",
        },
        "File of recipients: one address, or @domain for a catch-all, a line; comments have lines of their own, which begin with #. Or the table that `ringmx recipients compile` made of one, or a map that another program serves. `ask` asks the next hop of `[[forward]]` by RCPT.",
        |text| match Socketmap::parse(text, base_dir) {
            Some(map) => map.map(RecipientSource::Map),
            None if text == "ask" => Ok(RecipientSource::NextHops),
            None if text.is_empty() => Err("the path is empty".to_owned()),
            None if text.contains('\0') => Err("the path holds a NUL".to_owned()),
            None => Ok(RecipientSource::File(base_dir.join(text))),
        },
    );
    let takes_unasked = takes_unasked(root, recipients.as_ref());
    let aliases = root.path(
        "aliases",
        Fallback::Computed { example: "\"aliases.txt\"", default: "nobody has an alias" },
        "File of aliases: `from: to, to` a line. RCPT for an alias puts whom it stands for into the envelope.",
    );
    let postmaster = root.text(
        "postmaster",
        "address",
        Fallback::Computed {
            example: "\"postmaster@example.org\"",
            default: "postmaster at the first of `domains` without `*` that takes mail, or at `hostname`",
        },
        "Where mail for the bare <postmaster> goes (RFC 5321 §4.5.1).",
        |text| names::mailbox(text).map(|(local, domain)| format!("{local}@{domain}")),
    );
    let hostname_given = hostname.is_some();
    let hostname = hostname.unwrap_or_else(host::hostname);
    let first = domains.iter().find_map(|domain| match domain {
        DomainPattern::Exact(domain) => Some(domain).filter(|domain| !matches(&domains_without_mail, domain)),
        DomainPattern::Below(_) => None,
    });
    let postmaster = postmaster.unwrap_or_else(|| format!("postmaster@{}", first.unwrap_or(&hostname)));
    Identity {
        postmaster,
        hostname,
        hostname_given,
        hostname_faulty: root.faulty("hostname"),
        domains,
        domains_without_mail,
        any_domain,
        recipients,
        takes_unasked,
        aliases,
        local_part_case_sensitive: root.boolean(
            "local_part_case_sensitive",
            false,
            "Whether local-parts of recipients are compared octet for octet. The sink sees them as sent in any case.",
        ),
        recipient_delimiter: recipient_delimiter(root),
        local_part_deny: local_part_deny(root),
        local_part_leading_dot: root.boolean(
            "local_part_leading_dot",
            false,
            "Whether a recipient's local-part may begin with a dot.",
        ),
    }
}

/// Mail for the bare `<postmaster>` is always taken (RFC 5321 §4.5.1): it should be for a mailbox of
/// ours.
pub(super) fn postmaster_rule(root: &Section<'_>, identity: &Identity) {
    let Some((_, domain)) = identity.postmaster.rsplit_once('@') else { return };
    let stored = format!("mail for the bare <postmaster> is stored for {}", identity.postmaster);
    if matches(&identity.domains_without_mail, domain) {
        let key = if root.given("postmaster") { "postmaster" } else { "domains_without_mail" };
        root.warn(
            key,
            format!("{stored}, whose domain takes no mail: set `postmaster` to a mailbox in one that does"),
        );
        return;
    }
    if identity.domains.is_empty() || matches(&identity.domains, domain) {
        return;
    }
    if root.given("postmaster") {
        let text =
            format!("{stored}, and `domains` does not accept {domain:?}: name a mailbox in one of `domains`");
        root.warn("postmaster", text);
    } else if !root.faulty("domains") {
        let text =
            format!("{stored}, which they do not accept: set `postmaster` to a mailbox in one of them");
        root.warn("domains", text);
    }
}

/// What becomes of recipients while the next hops that are asked about them are down.
fn takes_unasked(root: &mut Section<'_>, recipients: Option<&RecipientSource>) -> bool {
    const KEY: &str = "recipients_down";
    let takes = root.choice(
        KEY,
        &[("defer", false), ("accept", true)],
        "With `recipients = \"ask\"`, while no next hop of a recipient's route can be reached: `defer` has the client come again (451), `accept` takes the recipient, who may not exist.",
    );
    let asks = matches!(recipients, Some(RecipientSource::NextHops));
    if takes && !asks && !root.faulty("recipients") {
        root.problem(KEY, "nobody is asked about recipients: it goes with `recipients = \"ask\"`".to_owned());
    }
    takes
}

fn domains(root: &mut Section<'_>) -> Vec<DomainPattern> {
    let found = root.texts(
        "domains",
        "domains such as \"example.org\", or \"*.example.org\" for every domain below it",
        Fallback::Computed {
            example: "[\"example.org\"]",
            default: "any domain, on loopback listeners only",
        },
        "Recipient domains that are accepted, as A-labels (xn--…) or in Unicode.",
        names::pattern,
    );
    once_each("domains", found, root)
}

/// Domains that are ours and take no mail. A domain of both lists takes none, so that one can be taken out of
/// service below a `*` of `domains`.
fn domains_without_mail(root: &mut Section<'_>, domains: &[DomainPattern]) -> Vec<DomainPattern> {
    const KEY: &str = "domains_without_mail";
    let found = root.texts(
        KEY,
        "domains, as in `domains`",
        Fallback::Computed { example: "[\"old.example.org\", \"*.old.example.org\"]", default: "none" },
        "Domains that take no mail, as their null MX says (RFC 7505): `556 5.1.10` to every recipient, postmaster among them. They win over `domains`, and need not be in it.",
        names::pattern,
    );
    let without = once_each(KEY, found, root);
    if !domains.is_empty() && domains.iter().all(|domain| without.contains(domain)) {
        root.warn(KEY, "it holds all of `domains`, so no mail is taken".to_owned());
    }
    without
}

/// Each pattern once; that one is repeated is said.
fn once_each(
    key: &str,
    found: Option<Vec<(usize, DomainPattern)>>,
    root: &mut Section<'_>,
) -> Vec<DomainPattern> {
    let mut domains = Vec::new();
    for (_, domain) in found.unwrap_or_default() {
        if domains.contains(&domain) {
            root.warn(key, format!("{} is listed twice", names::text(&domain)));
        } else {
            domains.push(domain);
        }
    }
    domains
}

fn matches(patterns: &[DomainPattern], domain: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(domain))
}

fn recipient_delimiter(root: &mut Section<'_>) -> Delimiters {
    let delimiters = root.text(
        "recipient_delimiter",
        "string of ASCII punctuation, may be empty",
        Fallback::Value("\"\"".to_owned()),
        "Each of these octets begins a tag of a local-part: with \"+\" anna+lists is anna where nobody of the whole name is listed.",
        |text| match Delimiters::new(text.as_bytes()) {
            Some(delimiters) => Ok(delimiters),
            None => Err(format!(
                "{text:?} holds something else than punctuation that stands in local-parts without quotes; write \"+\""
            )),
        },
    );
    delimiters.unwrap_or_default()
}

fn local_part_deny(root: &mut Section<'_>) -> String {
    const DEFAULT: &str = "%!@/|";
    let deny = root.text(
        "local_part_deny",
        "string of ASCII punctuation, may be empty",
        Fallback::Value(format!("\"{DEFAULT}\"")),
        "Octets that a recipient's local-part may not hold: something behind ringmx may route them.",
        |text| match text.chars().find(|c| !c.is_ascii_punctuation()) {
            Some(odd) => Err(format!("{odd:?} is not ASCII punctuation")),
            None => Ok(text.to_owned()),
        },
    );
    deny.unwrap_or_else(|| DEFAULT.to_owned())
}

//! Whom to take mail from and for: accept or refuse client, reverse-path, forward-path.
//!
//! [`Recipients`] is the policy that the configuration describes, as plain data: a lookup neither waits nor allocates.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::envelope::Mailbox;
use super::reply::{self, Reply};
use crate::config::DomainPattern;
use crate::config::recipients::RecipientEntry;
use crate::limits::PATH_BYTES_MAX;

/// What a session asks before it accepts.
pub trait Policy: std::fmt::Debug {
    /// At the greeting. A refusal is the greeting `554` (RFC 5321 §3.1).
    fn client(&self, _client: SocketAddr) -> Verdict {
        Verdict::Accept
    }

    /// At MAIL; `None` for the null reverse-path.
    fn reverse_path(&self, _mailbox: Option<Mailbox<'_>>) -> Verdict {
        Verdict::Accept
    }

    /// At RCPT, source route stripped.
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict;

    /// Where mail for the bare `<postmaster>` goes, as local-part and domain (RFC 5321 §4.5.1). It is always accepted.
    fn postmaster(&self) -> (&[u8], &[u8]);

    /// Whether two mailboxes are the same recipient.
    fn are_same(&self, one: Mailbox<'_>, other: Mailbox<'_>) -> bool {
        one.whole == other.whole
    }
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Do not.
    Refuse(Refusal),
}

/// Why a policy refuses. Each has exactly one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The recipient's domain is not ours: `550 5.7.1`.
    NoRelay,
    /// The domain is ours and the local-part is not known: `550 5.1.1`.
    UnknownRecipient,
    /// Something behind us might route this local-part elsewhere: `550 5.1.3`.
    DeniedLocalPart,
    /// Nothing from this sender or client: `550 5.7.1`.
    Sender,
    /// The question could not be answered: `451 4.3.0`, never 550 and never accepted.
    LookupFailed,
}

impl Refusal {
    /// Its reply.
    pub const fn reply(self) -> Reply {
        match self {
            Self::NoRelay => reply::NO_RELAY,
            Self::UnknownRecipient => reply::UNKNOWN_RECIPIENT,
            Self::DeniedLocalPart => reply::DENIED_LOCAL_PART,
            Self::Sender => reply::REVERSE_PATH_REFUSED,
            Self::LookupFailed => reply::TRY_AGAIN,
        }
    }
}

/// What [`Recipients`] is made from: values of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct RecipientRules<'a> {
    /// Accepted domains; empty means any.
    pub domains: &'a [DomainPattern],
    /// The table of recipients; without it every local-part of an accepted domain is taken.
    pub recipients: Option<&'a [RecipientEntry]>,
    /// Where mail for the bare `<postmaster>` goes, as `local-part@domain`.
    pub postmaster: &'a str,
    /// Our name; the domain of a `postmaster` that has none.
    pub hostname: &'a str,
    /// Whether local-parts are compared octet for octet.
    pub local_part_case_sensitive: bool,
    /// Octets that a local-part may not hold.
    pub local_part_deny: &'a str,
    /// Whether a local-part may begin with a dot.
    pub local_part_leading_dot: bool,
}

/// The recipients that are accepted.
#[derive(Debug)]
pub struct Recipients {
    /// None: any domain.
    domains: Option<Domains>,
    /// None: any local-part.
    table: Option<Table>,
    /// Local-part and domain.
    postmaster: (Vec<u8>, Vec<u8>),
    case_sensitive: bool,
    deny: Vec<u8>,
    leading_dot: bool,
}

#[derive(Debug, Default)]
struct Domains {
    exact: HashSet<Box<[u8]>>,
    below: HashSet<Box<[u8]>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whole mailboxes, their local-parts in lower case unless case matters.
    mailboxes: HashSet<Box<[u8]>>,
    /// Domains of which every local-part is a recipient.
    catch_all: HashSet<Box<[u8]>>,
}

impl Recipients {
    /// The policy that these rules describe.
    pub fn new(rules: &RecipientRules<'_>) -> Self {
        let (local_part, domain) =
            rules.postmaster.rsplit_once('@').unwrap_or((rules.postmaster, rules.hostname));
        Self {
            domains: (!rules.domains.is_empty()).then(|| Domains::new(rules.domains)),
            table: rules.recipients.map(|entries| Table::new(entries, rules.local_part_case_sensitive)),
            postmaster: (local_part.into(), domain.into()),
            case_sensitive: rules.local_part_case_sensitive,
            deny: rules.local_part_deny.into(),
            leading_dot: rules.local_part_leading_dot,
        }
    }

    fn is_denied(&self, local_part: &[u8]) -> bool {
        let content = local_part.strip_prefix(b"\"").unwrap_or(local_part);
        let begins_with_dot = content.first() == Some(&b'.');
        (begins_with_dot && !self.leading_dot) || local_part.iter().any(|octet| self.deny.contains(octet))
    }
}

impl Policy for Recipients {
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict {
        if self.domains.as_ref().is_some_and(|domains| !domains.accept(mailbox.domain)) {
            return Verdict::Refuse(Refusal::NoRelay);
        }
        // RFC 5321 §4.5.1: mail to postmaster is always accepted.
        if mailbox.local_part.eq_ignore_ascii_case(b"postmaster") {
            return Verdict::Accept;
        }
        if self.is_denied(mailbox.local_part) {
            return Verdict::Refuse(Refusal::DeniedLocalPart);
        }
        match &self.table {
            Some(table) if !table.holds(mailbox, self.case_sensitive) => {
                Verdict::Refuse(Refusal::UnknownRecipient)
            }
            Some(_) | None => Verdict::Accept,
        }
    }

    fn postmaster(&self) -> (&[u8], &[u8]) {
        (&self.postmaster.0, &self.postmaster.1)
    }

    fn are_same(&self, one: Mailbox<'_>, other: Mailbox<'_>) -> bool {
        // Domains are in lower case already.
        one.whole == other.whole || (!self.case_sensitive && one.whole.eq_ignore_ascii_case(other.whole))
    }
}

impl Domains {
    fn new(patterns: &[DomainPattern]) -> Self {
        let mut domains = Self::default();
        for pattern in patterns {
            match pattern {
                DomainPattern::Exact(name) => domains.exact.insert(lower(name)),
                DomainPattern::Below(name) => domains.below.insert(lower(name)),
            };
        }
        domains
    }

    fn accept(&self, domain: &[u8]) -> bool {
        let mut parents = memchr::memchr_iter(b'.', domain).filter_map(|dot| domain.get(dot + 1..));
        self.exact.contains(domain)
            || (!self.below.is_empty() && parents.any(|parent| self.below.contains(parent)))
    }
}

impl Table {
    fn new(entries: &[RecipientEntry], case_sensitive: bool) -> Self {
        let mut table = Self::default();
        for entry in entries {
            match entry {
                RecipientEntry::Mailbox { local_part, domain } => {
                    let local_part =
                        if case_sensitive { local_part.as_bytes().into() } else { lower(local_part) };
                    table.mailboxes.insert([&local_part, &b"@"[..], &lower(domain)].concat().into())
                }
                RecipientEntry::CatchAll(domain) => table.catch_all.insert(lower(domain)),
            };
        }
        table
    }

    fn holds(&self, mailbox: Mailbox<'_>, case_sensitive: bool) -> bool {
        if self.catch_all.contains(mailbox.domain) {
            return true;
        }
        if case_sensitive {
            return self.mailboxes.contains(mailbox.whole);
        }
        let mut key = [0; PATH_BYTES_MAX];
        // No path is longer, so what is longer is in no table.
        let Some(key) = key.get_mut(..mailbox.whole.len()) else { return false };
        key.copy_from_slice(mailbox.whole);
        key.make_ascii_lowercase();
        self.mailboxes.contains(&*key)
    }
}

fn lower(text: &str) -> Box<[u8]> {
    text.as_bytes().to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::path::{Path, parse};

    fn rules() -> RecipientRules<'static> {
        RecipientRules {
            domains: &[],
            recipients: None,
            postmaster: "boss@example.org",
            hostname: "mx.example.org",
            local_part_case_sensitive: false,
            local_part_deny: "%!@/|",
            local_part_leading_dot: false,
        }
    }

    fn verdict(policy: &Recipients, path: &str) -> Verdict {
        match parse(path.as_bytes()) {
            Ok(Path::Mailbox(text)) => policy.recipient(text.mailbox()),
            other => panic!("{path} is no mailbox: {other:?}"),
        }
    }

    #[test]
    fn domains_match_exactly_or_below() {
        let domains =
            [DomainPattern::Exact("example.org".into()), DomainPattern::Below("example.net".into())];
        let policy = Recipients::new(&RecipientRules { domains: &domains, ..rules() });
        for good in [
            "a@EXAMPLE.org",
            "a@example.org.",
            "a@x.example.net",
            "a@x.y.example.net",
            "PostMaster@example.org",
        ] {
            assert_eq!(verdict(&policy, good), Verdict::Accept, "{good}");
        }
        for bad in
            ["a@example.net", "a@x.example.org", "a@badexample.net", "a@[192.0.2.1]", "postmaster@other.test"]
        {
            assert_eq!(verdict(&policy, bad), Verdict::Refuse(Refusal::NoRelay), "{bad}");
        }
    }

    #[test]
    fn a_table_of_recipients_is_kept_to() {
        let mailbox = |local_part: &str| RecipientEntry::Mailbox {
            local_part: local_part.into(),
            domain: "example.org".into(),
        };
        let entries = [mailbox("Bob"), mailbox("\"b b\""), RecipientEntry::CatchAll("any.test".into())];
        let policy = Recipients::new(&RecipientRules { recipients: Some(&entries), ..rules() });
        for good in [
            "bob@example.org",
            "\"BOB\"@example.org",
            "\"b b\"@example.org",
            "x@any.test",
            "postmaster@x.test",
        ] {
            assert_eq!(verdict(&policy, good), Verdict::Accept, "{good}");
        }
        assert_eq!(verdict(&policy, "bo@example.org"), Verdict::Refuse(Refusal::UnknownRecipient));
        let strict =
            RecipientRules { recipients: Some(&entries), local_part_case_sensitive: true, ..rules() };
        let strict = Recipients::new(&strict);
        assert_eq!(verdict(&strict, "Bob@example.org"), Verdict::Accept);
        assert_eq!(verdict(&strict, "bob@example.org"), Verdict::Refuse(Refusal::UnknownRecipient));
    }

    #[test]
    fn local_parts_that_may_be_routed_onwards_are_denied() {
        let policy = Recipients::new(&rules());
        for denied in [
            "a%b@x.test",
            "a!b@x.test",
            "\"a@b\"@x.test",
            "a/b@x.test",
            "a|b@x.test",
            ".a@x.test",
            "\".a\"@x.test",
        ] {
            assert_eq!(verdict(&policy, denied), Verdict::Refuse(Refusal::DeniedLocalPart), "{denied}");
        }
        assert_eq!(verdict(&policy, "a.b.@x.test"), Verdict::Accept);
    }
}

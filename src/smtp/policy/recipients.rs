//! The table of accepted domains and recipients, made by the operator's rules.

use super::aliases::with_compared;
use super::{Aliases, Judgement, Listed, Policy, Targets, Verdict};
use crate::limits::PATH_BYTES_MAX;
use crate::mail::caseless::comparable;
use crate::mail::domain::{DomainPattern, DomainPatterns};
use crate::mail::envelope::Mailbox;
use crate::mail::tag::Delimiters;

/// What a table of recipients is made by.
#[derive(Debug, Clone, Copy)]
pub struct RecipientRules<'a> {
    /// Accepted domains; empty means any.
    pub domains: &'a [DomainPattern],
    /// Domains that take no mail, whatever else is said of them.
    pub domains_without_mail: &'a [DomainPattern],
    /// Our name.
    pub hostname: &'a str,
    /// Where mail for the bare `<postmaster>` goes, as `local-part@domain`.
    pub postmaster: &'a str,
    /// Whether local-parts are compared octet for octet.
    pub local_part_case_sensitive: bool,
    /// What sets tags of local-parts off.
    pub delimiters: Delimiters,
    /// Octets that a local-part may not hold, all of them ASCII punctuation.
    pub local_part_deny: &'a str,
    /// Whether a local-part may begin with a dot.
    pub local_part_leading_dot: bool,
    /// Whether the store has the last word.
    pub asks_store: bool,
    /// Whether a map that another program serves knows who exists.
    pub asks_map: bool,
}

/// The table of accepted domains and recipients. There is one in the process, whatever listens. Two are equal
/// that say the same of every mailbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipients {
    /// Accepted domains; none means any.
    domains: DomainPatterns,
    /// Domains that take no mail, be they among the accepted ones or not.
    without_mail: DomainPatterns,
    /// `None` when every local-part is taken.
    listed: Option<Listed>,
    aliases: Aliases,
    postmaster: (Box<[u8]>, Box<[u8]>),
    case_sensitive: bool,
    delimiters: Delimiters,
    /// One bit an ASCII octet that may not stand in a local-part.
    denied: u128,
    leading_dot: bool,
    asks_store: bool,
    asks_map: bool,
}

impl Recipients {
    /// The table that follows these rules. `listed`: none when every local-part of an accepted domain is
    /// taken; local-parts are compared in it as in the rules.
    pub fn new(rules: &RecipientRules<'_>, listed: Option<Listed>) -> Self {
        let boxed = |text: &str| text.as_bytes().into();
        let denied =
            rules.local_part_deny.bytes().filter(u8::is_ascii).fold(0, |set, octet| set | 1_u128 << octet);
        let (local_part, domain) =
            rules.postmaster.rsplit_once('@').unwrap_or((rules.postmaster, rules.hostname));
        Self {
            domains: DomainPatterns::new(rules.domains),
            without_mail: DomainPatterns::new(rules.domains_without_mail),
            listed,
            aliases: Aliases::default(),
            postmaster: (boxed(local_part), domain.to_ascii_lowercase().into_bytes().into()),
            case_sensitive: rules.local_part_case_sensitive,
            delimiters: rules.delimiters,
            denied,
            leading_dot: rules.local_part_leading_dot,
            asks_store: rules.asks_store,
            asks_map: rules.asks_map,
        }
    }

    /// The same with these aliases, which are compared as in its rules.
    #[must_use]
    pub fn with_aliases(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }

    /// What it was made of.
    pub fn into_lists(self) -> (Option<Listed>, Aliases) {
        (self.listed, self.aliases)
    }

    /// Its aliases.
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// Whom a file of recipients lists. `None` when every local-part is taken.
    pub fn listed(&self) -> Option<&Listed> {
        self.listed.as_ref()
    }

    /// Mailboxes and domains that a file of recipients lists, each once. `None` when every local-part is
    /// taken.
    pub fn count(&self) -> Option<usize> {
        self.listed.as_ref().map(Listed::count)
    }

    /// Octets that its entries and aliases take, about.
    pub fn bytes(&self) -> usize {
        self.listed.as_ref().map_or(0, Listed::bytes) + self.aliases.bytes()
    }

    fn takes_domain(&self, domain: &[u8]) -> bool {
        self.domains.is_empty() || self.domains.match_any(domain)
    }

    fn denies(&self, local_part: &[u8]) -> bool {
        let denied = |octet: &u8| octet.is_ascii() && self.denied & 1 << octet != 0;
        let content = local_part.strip_prefix(b"\"").unwrap_or(local_part);
        local_part.iter().any(denied) || !self.leading_dot && content.first() == Some(&b'.')
    }

    fn is_listed(&self, mailbox: Mailbox<'_>) -> bool {
        let Some(listed) = &self.listed else { return true };
        listed.holds(mailbox)
            || self.untagged(mailbox, |mailbox| listed.holds(mailbox)) == Some(true)
            || listed.takes_all_of(mailbox.domain)
    }

    /// Whether it is that of a postmaster, or the one that the bare `<postmaster>` is.
    fn is_postmaster(&self, mailbox: Mailbox<'_>) -> bool {
        let (local_part, domain) = self.postmaster();
        let is_local_part = || {
            mailbox.local_part == local_part
                || (!self.case_sensitive && comparable(mailbox.local_part) == comparable(local_part))
        };
        mailbox.is_postmaster() || (mailbox.domain == domain && is_local_part())
    }

    /// Looks at a mailbox without its tag; none where it has no tag.
    fn untagged<T>(&self, mailbox: Mailbox<'_>, look: impl FnOnce(Mailbox<'_>) -> T) -> Option<T> {
        let untagged = self.delimiters.untagged(mailbox.local_part)?;
        let mut whole = [b'@'; PATH_BYTES_MAX];
        let (at, end) = (untagged.len(), untagged.len() + 1 + mailbox.domain.len());
        whole.get_mut(..at)?.copy_from_slice(&untagged);
        whole.get_mut(at + 1..end)?.copy_from_slice(mailbox.domain);
        Some(look(Mailbox { local_part: &untagged, domain: mailbox.domain, whole: whole.get(..end)? }))
    }

    /// Whether a mailbox is known by this very name.
    fn is_known(&self, mailbox: Mailbox<'_>) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.holds(mailbox))
    }
}

impl Policy for Recipients {
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict {
        // Such a domain has no postmaster either (RFC 7505 §4.1).
        if self.without_mail.match_any(mailbox.domain) {
            return Verdict::DomainWithoutMail;
        }
        if !self.takes_domain(mailbox.domain) {
            return Verdict::ForeignDomain;
        }
        // Postmaster of a domain of ours is always reachable (RFC 5321 §4.5.1).
        if mailbox.is_postmaster() {
            return Verdict::Accept;
        }
        // A tag may route as well as any local-part, also postmaster's.
        if self.denies(mailbox.local_part) {
            return Verdict::DeniedLocalPart;
        }
        if self.untagged(mailbox, |mailbox| mailbox.is_postmaster()) == Some(true) {
            return Verdict::Accept;
        }
        if self.is_listed(mailbox) || self.aliased(mailbox).is_some() {
            Verdict::Accept
        } else {
            Verdict::UnknownRecipient
        }
    }

    fn judge(&self, mailbox: Mailbox<'_>) -> Judgement {
        match self.recipient(mailbox) {
            Verdict::Accept if self.asks_map && self.map_keys(mailbox, &mut |_| ()) => Judgement::Asks,
            Verdict::Accept => self.judge_accepted(),
            refused => Judgement::Known(refused),
        }
    }

    fn map_keys(&self, mailbox: Mailbox<'_>, each: &mut dyn FnMut(&[u8])) -> bool {
        let is_postmaster = || {
            self.is_postmaster(mailbox) || self.untagged(mailbox, |bare| bare.is_postmaster()) == Some(true)
        };
        if !self.asks_map || is_postmaster() || self.aliased(mailbox).is_some() {
            return false;
        }
        let mut give = |whole: &[u8]| _ = with_compared(whole, self.case_sensitive, &mut *each);
        give(mailbox.whole);
        self.untagged(mailbox, |bare| give(bare.whole));
        let mut whole = [b'@'; PATH_BYTES_MAX];
        let end = mailbox.domain.len() + 1;
        if let Some(place) = whole.get_mut(1..end) {
            place.copy_from_slice(mailbox.domain);
            each(whole.get(..end).unwrap_or_default());
        }
        true
    }

    fn is_named(&self, mailbox: Mailbox<'_>) -> bool {
        self.is_named_without_map(mailbox)
            // A map has said so, or it would not be asked for. Whether it meant the tag as well is not known.
            || (self.asks_map && self.delimiters.untagged(mailbox.local_part).is_none())
    }

    fn is_named_without_map(&self, mailbox: Mailbox<'_>) -> bool {
        self.is_postmaster(mailbox) || self.is_known(mailbox) || self.aliases.is_target(mailbox.whole)
    }

    fn aliased(&self, mailbox: Mailbox<'_>) -> Option<Targets<'_>> {
        if self.aliases.count() == 0 {
            return None;
        }
        self.aliases.find(mailbox.whole).or_else(|| {
            // Somebody of the whole name is somebody else.
            if self.is_known(mailbox) {
                return None;
            }
            self.untagged(mailbox, |mailbox| self.aliases.find(mailbox.whole)).flatten()
        })
    }

    fn postmaster(&self) -> (&[u8], &[u8]) {
        (&self.postmaster.0, &self.postmaster.1)
    }

    fn asks_store(&self) -> bool {
        self.asks_store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::policy::{ListBuilder, RecipientEntry};

    fn table(change: impl FnOnce(&mut RecipientRules<'_>), entries: Option<&[RecipientEntry]>) -> Recipients {
        let domains = [DomainPattern::Exact("x.test".into()), DomainPattern::Below("y.test".into())];
        let without_mail =
            [DomainPattern::Exact("none.test".into()), DomainPattern::Below("old.y.test".into())];
        let mut rules = RecipientRules {
            domains: &domains,
            domains_without_mail: &without_mail,
            hostname: "mx.test",
            postmaster: "postmaster@mx.test",
            local_part_case_sensitive: false,
            delimiters: Delimiters::default(),
            local_part_deny: "@%!/|",
            local_part_leading_dot: false,
            asks_store: false,
            asks_map: false,
        };
        change(&mut rules);
        let mut builder = ListBuilder::new([7; 16], rules.local_part_case_sensitive, 0);
        let listed = entries.map(|entries| {
            for entry in entries {
                builder.add(entry);
            }
            builder.finish().expect("no collision")
        });
        Recipients::new(&rules, listed)
    }

    fn judge(table: &Recipients, mailbox: &str) -> Verdict {
        let (local_part, domain) = mailbox.rsplit_once('@').expect("a mailbox");
        let whole = mailbox.as_bytes();
        table.recipient(Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes(), whole })
    }

    #[test]
    fn domains_are_exact_or_below() {
        let table = table(|_| {}, None);
        assert_eq!(judge(&table, "a@x.test"), Verdict::Accept);
        assert_eq!(judge(&table, "a@sub.y.test"), Verdict::Accept);
        for foreign in
            ["a@sub.x.test", "a@y.test", "a@evily.test", "a@.y.test", "postmaster@z.test", "a@[192.0.2.1]"]
        {
            assert_eq!(judge(&table, foreign), Verdict::ForeignDomain, "{foreign}");
        }
    }

    #[test]
    fn a_domain_without_mail_takes_none_whatever_else_is_said_of_it() {
        let entry = |local_part: &str, domain: &str| RecipientEntry::Mailbox {
            local_part: local_part.into(),
            domain: domain.into(),
        };
        let entries = [entry("a", "none.test"), entry("a", "z.old.y.test")];
        let table = table(|_| {}, Some(&entries));
        for none in ["a@none.test", "b@none.test", "a%b@none.test", "postmaster@none.test", "a@z.old.y.test"]
        {
            assert_eq!(judge(&table, none), Verdict::DomainWithoutMail, "{none}");
        }
        assert_eq!(judge(&table, "postmaster@old.y.test"), Verdict::Accept);
        assert_eq!(judge(&table, "a@other.test"), Verdict::ForeignDomain);
    }

    #[test]
    fn local_parts_that_route_are_denied_and_postmaster_is_not() {
        let table = table(|_| {}, None);
        for denied in ["a%b@x.test", "a!b@x.test", "a/b@x.test", "a|b@x.test", "\"a@b\"@x.test", ".a@x.test"]
        {
            assert_eq!(judge(&table, denied), Verdict::DeniedLocalPart, "{denied}");
        }
        assert_eq!(judge(&table, "POSTMASTER@x.test"), Verdict::Accept);
    }

    #[test]
    fn a_recipient_is_found_exactly_then_without_its_tag_then_by_a_catch_all() {
        let listed = |local_part: &str, domain: &str| RecipientEntry::Mailbox {
            local_part: local_part.into(),
            domain: domain.into(),
        };
        let entries = [
            listed("anna", "x.test"),
            listed("b+c", "x.test"),
            listed("\"a b\"", "x.test"),
            listed("d", "a.y.test"),
        ];
        let delimiters = Delimiters::new(b"+").expect("good");
        let tagged = table(|rules| rules.delimiters = delimiters, Some(&entries));
        let untagged = table(|_| {}, Some(&entries));
        for (mailbox, with, without) in [
            ("anna@x.test", true, true),
            ("Anna+Lists@x.test", true, false),
            ("anna+a+b@x.test", true, false),
            ("anna+@x.test", true, false),
            ("\"anna+a b\"@x.test", true, false),
            ("\"A b+c\"@x.test", true, false),
            ("b+c@x.test", true, true),
            ("b@x.test", false, false),
            ("b+c+d@x.test", false, false),
            ("+anna@x.test", false, false),
            ("anna-lists@x.test", false, false),
            ("anna+x@a.y.test", false, false),
            ("postmaster@x.test", true, true),
            ("PostMaster+x@x.test", true, false),
        ] {
            let verdict = |found| if found { Verdict::Accept } else { Verdict::UnknownRecipient };
            assert_eq!(judge(&tagged, mailbox), verdict(with), "{mailbox}");
            assert_eq!(judge(&untagged, mailbox), verdict(without), "{mailbox}");
        }
        assert_eq!(judge(&tagged, "postmaster+x@z.test"), Verdict::ForeignDomain);
        for routed in ["anna+a%b", "postmaster+a%z.test", "\"postmaster+a@z.test\"", "postmaster+z.test!a"] {
            assert_eq!(judge(&tagged, &format!("{routed}@x.test")), Verdict::DeniedLocalPart, "{routed}");
        }
    }

    #[test]
    fn the_mailbox_of_postmaster_is_named_in_any_spelling_that_compares_equal() {
        let named = |table: &Recipients, local_part: &str| {
            let (local_part, domain) = (local_part.as_bytes(), &b"x.test"[..]);
            table.is_named(Mailbox { local_part, domain, whole: b"" })
        };
        for (case_sensitive, other_spelling) in [(false, true), (true, false)] {
            let table = table(
                |rules| {
                    rules.postmaster = "Ch\u{e9}f@x.test";
                    rules.local_part_case_sensitive = case_sensitive;
                },
                Some(&[RecipientEntry::CatchAll("x.test".into())]),
            );
            assert!(named(&table, "Ch\u{e9}f") && !named(&table, "chef"));
            assert_eq!(named(&table, "CHE\u{301}F"), other_spelling);
        }
    }

    #[test]
    fn listed_recipients_compare_without_case_unless_told() {
        let listed = |local_part: &str| RecipientEntry::Mailbox {
            local_part: local_part.into(),
            domain: "x.test".into(),
        };
        let entries = [listed("Anna"), RecipientEntry::CatchAll("sub.y.test".into())];
        let lenient = table(|_| {}, Some(&entries));
        assert_eq!(judge(&lenient, "aNNa@x.test"), Verdict::Accept);
        assert_eq!(judge(&lenient, "anything@sub.y.test"), Verdict::Accept);
        assert_eq!(judge(&lenient, "berta@x.test"), Verdict::UnknownRecipient);
        assert_eq!(judge(&lenient, "postmaster@x.test"), Verdict::Accept);
        let accented = [listed("jos\u{e9}")];
        let lenient = table(|_| {}, Some(&accented));
        for spelling in ["jos\u{e9}@x.test", "JOS\u{c9}@x.test", "Jose\u{301}@x.test"] {
            assert_eq!(judge(&lenient, spelling), Verdict::Accept, "{spelling:?}");
        }
        assert_eq!(judge(&lenient, "jose@x.test"), Verdict::UnknownRecipient);
        let strict = table(|rules| rules.local_part_case_sensitive = true, Some(&accented));
        assert_eq!(judge(&strict, "jos\u{e9}@x.test"), Verdict::Accept);
        assert_eq!(judge(&strict, "jose\u{301}@x.test"), Verdict::UnknownRecipient);
        let strict = table(|rules| rules.local_part_case_sensitive = true, Some(&entries));
        assert_eq!(judge(&strict, "Anna@x.test"), Verdict::Accept);
        assert_eq!(judge(&strict, "anna@x.test"), Verdict::UnknownRecipient);
    }
}

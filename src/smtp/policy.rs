//! Whom we take mail for: a trait the session asks, and the table of domains and recipients that implements
//! it.

use std::collections::HashSet;

use super::denial::Denial;
use crate::mail::caseless::{comparable, folded};
use crate::mail::domain::{DomainPattern, DomainPatterns};
use crate::mail::envelope::Mailbox;

/// What a policy says of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours.
    Accept,
    /// Its domain is not ours: `550 5.7.1`.
    ForeignDomain,
    /// Nobody of that name: `550 5.1.1`.
    UnknownRecipient,
    /// A local-part that whoever gets the mail from us may route elsewhere: `550 5.1.3`.
    DeniedLocalPart,
    /// The store cannot name a place for it: `550 5.1.3`.
    Unstorable,
    /// Its mailbox is full: `452 4.2.2`.
    MailboxFull,
    /// It could not be found out: `451`, never accept and never `550`.
    TryAgain,
    /// Whoever serves the session refuses it, whether it exists or not.
    Denied(Denial),
}

/// What a policy says of a recipient at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// This is the last word on it.
    Known(Verdict),
    /// Somebody else has the last word, and may take time:
    /// [`Question::Recipient`](super::question::Question::Recipient) is asked.
    Asks,
}

/// Says what to do with a mailbox. In memory and quick: it is asked on the shard. What takes time is asked of
/// somebody else.
pub trait Policy {
    /// What is known of a recipient by its final mailbox, after a source route was stripped.
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict;

    /// Judges a recipient: whether what is known of it is the last word.
    fn judge(&self, mailbox: Mailbox<'_>) -> Judgement {
        match self.recipient(mailbox) {
            Verdict::Accept => self.judge_accepted(),
            refused => Judgement::Known(refused),
        }
    }

    /// Judges a recipient that by what is known is accepted.
    fn judge_accepted(&self) -> Judgement {
        if self.asks_store() { Judgement::Asks } else { Judgement::Known(Verdict::Accept) }
    }

    /// Where mail for the bare `<postmaster>` goes (RFC 5321 §4.5.1): local-part and domain.
    fn postmaster(&self) -> (&[u8], &[u8]);

    /// Whether a mailbox is known by its name, so that a place in the store may be made for it: a file of
    /// recipients names it, or it is a postmaster, who is always reachable (RFC 5321 §4.5.1). One that only a
    /// catch-all takes is not.
    fn is_named(&self, _mailbox: Mailbox<'_>) -> bool {
        false
    }

    /// Whether the store keeps a copy for each recipient, and has the last word on one that the policy
    /// accepts: it may have no place for it.
    fn asks_store(&self) -> bool {
        false
    }
}

/// One line of the file of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientEntry {
    /// `local-part@domain`: local-part as written with needless quotes removed, domain as lower-case A-label.
    Mailbox {
        /// Case kept.
        local_part: String,
        /// Lower-case A-label.
        domain: String,
    },
    /// `@domain`: every local-part of it.
    CatchAll(String),
}

/// What a table of recipients is made by.
#[derive(Debug, Clone, Copy)]
pub struct RecipientRules<'a> {
    /// Accepted domains; empty means any.
    pub domains: &'a [DomainPattern],
    /// Our name.
    pub hostname: &'a str,
    /// Where mail for the bare `<postmaster>` goes, as `local-part@domain`.
    pub postmaster: &'a str,
    /// Whether local-parts are compared octet for octet.
    pub local_part_case_sensitive: bool,
    /// Octets that a local-part may not hold, all of them ASCII punctuation.
    pub local_part_deny: &'a str,
    /// Whether a local-part may begin with a dot.
    pub local_part_leading_dot: bool,
    /// Whether the store has the last word.
    pub asks_store: bool,
}

/// The table of accepted domains and recipients. There is one in the process, whatever listens: a million
/// recipients take 65 MiB. Two are equal that say the same of every mailbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipients {
    /// Accepted domains; none means any.
    domains: DomainPatterns,
    /// Whole mailboxes in comparable form; `None` when every local-part is taken.
    mailboxes: Option<HashSet<Box<[u8]>>>,
    /// Domains whose every local-part is taken.
    catch_alls: HashSet<Box<[u8]>>,
    postmaster: (Box<[u8]>, Box<[u8]>),
    case_sensitive: bool,
    /// One bit an ASCII octet that may not stand in a local-part.
    denied: u128,
    leading_dot: bool,
    asks_store: bool,
    /// Octets of all entries, about.
    bytes: usize,
}

impl Recipients {
    /// The table that follows these rules. `entries`: none when every local-part of an accepted domain is
    /// taken.
    pub fn new(rules: &RecipientRules<'_>, entries: Option<&[RecipientEntry]>) -> Self {
        let boxed = |text: &str| text.as_bytes().into();
        let denied =
            rules.local_part_deny.bytes().filter(u8::is_ascii).fold(0, |set, octet| set | 1_u128 << octet);
        let (local_part, domain) =
            rules.postmaster.rsplit_once('@').unwrap_or((rules.postmaster, rules.hostname));
        let mut table = Self {
            domains: DomainPatterns::new(rules.domains),
            mailboxes: entries.map(|_| HashSet::new()),
            catch_alls: HashSet::new(),
            postmaster: (boxed(local_part), domain.to_ascii_lowercase().into_bytes().into()),
            case_sensitive: rules.local_part_case_sensitive,
            denied,
            leading_dot: rules.local_part_leading_dot,
            asks_store: rules.asks_store,
            bytes: 0,
        };
        for entry in entries.unwrap_or_default() {
            table.insert(entry);
        }
        table.bytes = table.entry_bytes();
        table
    }

    /// Mailboxes and domains that a file of recipients lists, each once. `None` when every local-part is
    /// taken.
    pub fn count(&self) -> Option<usize> {
        self.mailboxes.as_ref().map(|mailboxes| mailboxes.len() + self.catch_alls.len())
    }

    /// Octets that its entries take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Each entry has its place in the table, and one in memory.
    fn entry_bytes(&self) -> usize {
        const PLACE_BYTES: usize = 40;
        let all = self.mailboxes.iter().flatten().chain(&self.catch_alls);
        all.map(|entry| entry.len().next_multiple_of(16) + PLACE_BYTES).sum()
    }

    fn insert(&mut self, entry: &RecipientEntry) {
        match entry {
            RecipientEntry::CatchAll(domain) => _ = self.catch_alls.insert(domain.as_bytes().into()),
            RecipientEntry::Mailbox { local_part, domain } => {
                let whole = [local_part.as_bytes(), b"@", domain.as_bytes()].concat();
                let whole = if self.case_sensitive { whole.into() } else { comparable(&whole).into() };
                if let Some(mailboxes) = &mut self.mailboxes {
                    mailboxes.insert(whole);
                }
            }
        }
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
        let Some(mailboxes) = &self.mailboxes else { return true };
        self.catch_alls.contains(mailbox.domain) || self.holds(mailboxes, mailbox)
    }

    fn holds(&self, mailboxes: &HashSet<Box<[u8]>>, mailbox: Mailbox<'_>) -> bool {
        /// A path with its brackets fits 256 octets.
        const WHOLE_BYTES_MAX: usize = crate::limits::PATH_BYTES_MAX;
        if self.case_sensitive {
            return mailboxes.contains(mailbox.whole);
        }
        if let Some(folded) = folded(mailbox.whole) {
            return mailboxes.contains(folded.as_bytes());
        }
        let mut lower = [0; WHOLE_BYTES_MAX];
        let Some(lower) = lower.get_mut(..mailbox.whole.len()) else { return false };
        lower.copy_from_slice(mailbox.whole);
        lower.make_ascii_lowercase();
        mailboxes.contains(&*lower)
    }
}

impl Policy for Recipients {
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict {
        if !self.takes_domain(mailbox.domain) {
            return Verdict::ForeignDomain;
        }
        // Postmaster of a domain of ours is always reachable (RFC 5321 §4.5.1).
        if mailbox.is_postmaster() {
            return Verdict::Accept;
        }
        if self.denies(mailbox.local_part) {
            return Verdict::DeniedLocalPart;
        }
        if self.is_listed(mailbox) { Verdict::Accept } else { Verdict::UnknownRecipient }
    }

    fn is_named(&self, mailbox: Mailbox<'_>) -> bool {
        let (local_part, domain) = self.postmaster();
        let is_local_part = || {
            mailbox.local_part == local_part
                || (!self.case_sensitive && comparable(mailbox.local_part) == comparable(local_part))
        };
        mailbox.is_postmaster()
            || (mailbox.domain == domain && is_local_part())
            || self.mailboxes.as_ref().is_some_and(|mailboxes| self.holds(mailboxes, mailbox))
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

    fn table(change: impl FnOnce(&mut RecipientRules<'_>), entries: Option<&[RecipientEntry]>) -> Recipients {
        let domains = [DomainPattern::Exact("x.test".into()), DomainPattern::Below("y.test".into())];
        let mut rules = RecipientRules {
            domains: &domains,
            hostname: "mx.test",
            postmaster: "postmaster@mx.test",
            local_part_case_sensitive: false,
            local_part_deny: "@%!/|",
            local_part_leading_dot: false,
            asks_store: false,
        };
        change(&mut rules);
        Recipients::new(&rules, entries)
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
    fn local_parts_that_route_are_denied_and_postmaster_is_not() {
        let table = table(|_| {}, None);
        for denied in ["a%b@x.test", "a!b@x.test", "a/b@x.test", "a|b@x.test", "\"a@b\"@x.test", ".a@x.test"]
        {
            assert_eq!(judge(&table, denied), Verdict::DeniedLocalPart, "{denied}");
        }
        assert_eq!(judge(&table, "POSTMASTER@x.test"), Verdict::Accept);
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

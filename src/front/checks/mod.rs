//! All checks of a client and its transactions in their order: what they ask, and what they come to.
//!
//! ```text
//!   connect ──► enter: access lists ─────────────────────► trusted, refused, or served after a delay
//!      └──────► score: lists in the DNS ─────────────────► may end the delay, or the connection
//!   RCPT ─────► judge: access lists, score, reverse DNS, sender's domain ──► a ruling for the transaction
//! ```
//!
//! Each is a function that runs from its start over the answers that are there, and gives none as long as one
//! is missing ([`Asking`]). Who is trusted by a rule, or has proved good, is asked about less.

mod explain;
mod lists;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use self::explain::Explained;
pub use self::lists::News;
use self::lists::WatchedList;
use super::access::{AccessRules, Action, Facts, Rule, Ruling as Access};
use super::dnsbl::List;
use super::reverse_dns::{self, ReverseDns};
use super::score::{Meaning, Score, Thresholds};
use super::sender_domain::{self, SenderDomain};
use crate::auth::sender::{Sender, domain_of};
use crate::auth::spf;
use crate::dns::{Asking, Name};

/// What a client's confirmed name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReverseDnsUse {
    /// It is not asked for.
    #[default]
    Off,
    /// It is noted with the message.
    Mark,
    /// The same, and the log says who has none.
    Warn,
    /// Who has none is refused.
    Refuse,
}

/// What is done about the domain of a reverse-path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SenderDomainUse {
    /// It is not asked for.
    #[default]
    Off,
    /// The log says which would be refused.
    Warn,
    /// One that does not exist, or takes no mail, is refused.
    Refuse,
}

/// Who is asked to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Greylisting {
    /// Nobody.
    #[default]
    Off,
    /// Clients that have not proved good and have a score of 1 and more.
    Suspicious,
    /// All clients that have not proved good.
    Unknown,
}

/// By what the checks are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckRules {
    /// Access lists, the first one first.
    pub access: Vec<Rule>,
    /// Lists in the DNS.
    pub lists: Vec<List>,
    /// From which score on what is done.
    pub thresholds: Thresholds,
    /// A score refuses nobody; the log says whom it would.
    pub score_warns: bool,
    /// How long the greeting waits for clients that have not proved good.
    pub greeting_delay: Duration,
    /// What a client's name is for.
    pub reverse_dns: ReverseDnsUse,
    /// What is done about the domain of the reverse-path.
    pub sender_domain: SenderDomainUse,
    /// Who is asked to come back.
    pub greylisting: Greylisting,
    /// Nobody is; the log says who would be.
    pub greylist_warns: bool,
    /// SPF of the reverse-path refuses recipients: fail and permerror.
    pub spf_refuses: bool,
    /// They are to come again where it cannot be found out.
    pub spf_failure_refuses: bool,
}

impl CheckRules {
    /// Whether nothing is checked.
    pub fn are_empty(&self) -> bool {
        self.access.is_empty()
            && !self.asks_dns()
            && self.greeting_delay.is_zero()
            && self.greylisting == Greylisting::Off
    }

    /// Whether anything is asked of the DNS.
    pub fn asks_dns(&self) -> bool {
        !self.lists.is_empty()
            || self.reverse_dns != ReverseDnsUse::Off
            || self.sender_domain != SenderDomainUse::Off
            || self.greylisting != Greylisting::Off
            || self.spf_refuses
    }
}

/// The checks. All shards have the same, and change only what they know of lists.
#[derive(Debug)]
pub struct Checks {
    access: AccessRules,
    lists: Box<[WatchedList]>,
    rules: CheckRules,
    /// What replies say that are not in our words.
    words: Vec<Box<str>>,
    /// For each access rule the place of its text among the words.
    access_words: Box<[Option<usize>]>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// No limits and no checks.
    Trusted,
    /// It is refused.
    Refused(Refusal),
    /// It is served.
    Served,
}

/// Why something is refused, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// By an access rule, with the place of its text among [`Checks::words`].
    Rule(Option<usize>),
    /// By the score, with the place of a text about the list that weighs most.
    Listed(Option<usize>),
    /// The client has no name that leads back to it.
    NoReverseName,
    /// That could not be found out.
    ReverseNameUnknown,
    /// The domain of the reverse-path does not exist.
    NoSenderDomain,
    /// It takes no mail.
    SenderTakesNoMail,
    /// The client may not send for the domain of the reverse-path.
    SpfFail,
    /// What that domain says of it cannot be understood.
    SpfError,
    /// What it says could not be looked up.
    SpfUnknown,
    /// The client is asked to come back.
    Greylisted,
}

/// Whom a transaction is of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The client.
    pub client: IpAddr,
    /// Whom lists are asked about: the client, or one that stands for its network.
    pub asked_as: IpAddr,
    /// It has proved good.
    pub is_proven: bool,
    /// What it calls itself.
    pub ehlo: &'a [u8],
    /// The reverse-path; empty for the null one.
    pub reverse_path: &'a [u8],
}

/// What all recipients of a transaction are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruling {
    /// An access rule that names networks, too, trusts the client in this transaction: what it says of itself
    /// alone frees nobody from being authenticated.
    pub trusts_client: bool,
    /// All are refused.
    pub refusal: Option<Refusal>,
    /// Why they would be, by what only warns.
    pub warnings: Vec<Refusal>,
    /// Each is to be greylisted: at RCPT, or of the null reverse-path at the end of the mail data, for others
    /// verify our addresses with it.
    pub greylist: Option<Origin>,
    /// What lists say of the client, where that was not known before.
    pub score: Option<Score>,
}

/// Where mail comes from, for greylisting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A domain for which SPF passes.
    Domain(Box<[u8]>),
    /// The client's network.
    Client(IpAddr),
}

impl Checks {
    /// By these rules. `made`: what times of lists are counted from.
    pub fn new(mut rules: CheckRules, made: Instant) -> Self {
        let mut words = Vec::new();
        let mut word = |text: Box<str>| {
            words.push(text);
            words.len() - 1
        };
        let access = std::mem::take(&mut rules.access);
        let access_words = access.iter().map(|rule| rule.text.clone().map(&mut word)).collect();
        let lists = std::mem::take(&mut rules.lists);
        let watch = |list: List| {
            let text = format!("The client is listed by {}", list.name);
            WatchedList::new(list, word(text.into()), made)
        };
        let lists = lists.into_iter().map(watch).collect();
        Self { access: AccessRules::new(access), lists, rules, words, access_words }
    }

    /// What replies say that are not in our words.
    pub fn words(&self) -> &[Box<str>] {
        &self.words
    }

    /// Whether nothing is checked.
    pub fn are_empty(&self) -> bool {
        self.access.is_empty() && self.lists.is_empty() && self.rules.are_empty()
    }

    /// What becomes of a connection of this client, by its address.
    pub fn enter(&self, client: IpAddr) -> Entry {
        let facts = Facts { client, ehlo: None, reverse_path: None };
        if let Access::By(number) = self.access.judge(&facts) {
            match self.access.rule(number).map(|rule| rule.action) {
                Some(Action::Trust) => return Entry::Trusted,
                Some(Action::Drop) => return Entry::Refused(self.by_rule(number)),
                Some(Action::Refuse | Action::Warn) | None => {}
            }
        }
        Entry::Served
    }

    /// How long the greeting waits for a client that is served.
    pub fn greeting_delay(&self, is_proven: bool) -> Duration {
        if is_proven { Duration::ZERO } else { self.rules.greeting_delay }
    }

    /// What lists say of a client, once all have answered.
    pub fn score(
        &self,
        client: IpAddr,
        asking: &mut Asking<'_>,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<Score> {
        let (mut score, mut is_complete) = (Score::default(), true);
        for list in &self.lists {
            match list.look(client, asking, now, news) {
                Some(true) => score.add(&list.list().name, list.list().weight),
                Some(false) => {}
                None => is_complete = false,
            }
        }
        is_complete.then_some(score)
    }

    /// Why a client with this score is not greeted, if it is not.
    pub fn drops(&self, score: &Score) -> Option<Refusal> {
        let is_dropped = score.meaning(self.rules.thresholds) == Meaning::Drop && !self.rules.score_warns;
        is_dropped.then(|| self.listed(score))
    }

    /// Whether the client's name is of interest.
    pub fn uses_reverse_names(&self) -> bool {
        self.rules.reverse_dns != ReverseDnsUse::Off
    }

    /// The client's name by its address, once it is known.
    pub fn look_back(&self, client: IpAddr, asking: &mut Asking<'_>) -> Option<ReverseDns> {
        reverse_dns::look(client, asking)
    }

    /// What all recipients of a transaction are told. `score`: that of the client, where it is known already.
    pub fn judge(
        &self,
        subject: &Subject<'_>,
        score: Option<&Score>,
        asking: &mut Asking<'_>,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<Ruling> {
        let mut ruling = Ruling::default();
        if self.judge_access(subject, &mut ruling) {
            return Some(ruling);
        }
        // All is asked at once, and decided in order.
        let score = match score {
            Some(score) => Some(Cow::Borrowed(score)),
            None => self.score(subject.asked_as, asking, now, news).map(Cow::Owned),
        };
        let name = self.uses_reverse_names().then(|| reverse_dns::look(subject.client, asking));
        let domain = self.sender_domain(subject).map(|domain| sender_domain::look(&domain, asking));
        let spf = self.rules.spf_refuses.then(|| sender(subject).spf_of_path(asking));
        let score = score?;
        if score.meaning(self.rules.thresholds) != Meaning::Fine {
            ruling.apply(self.listed(&score), self.rules.score_warns);
        }
        if let (None, Some(name)) = (ruling.refusal, name) {
            let is_marked_only = self.rules.reverse_dns == ReverseDnsUse::Mark;
            let refusal = match name? {
                // The name is waited for, so that it is there when the message is told of.
                ReverseDns::Confirmed(_) | ReverseDns::None | ReverseDns::Failed if is_marked_only => None,
                ReverseDns::Confirmed(_) => None,
                ReverseDns::None => Some(Refusal::NoReverseName),
                ReverseDns::Failed => Some(Refusal::ReverseNameUnknown),
            };
            let warns = self.rules.reverse_dns == ReverseDnsUse::Warn;
            // What could not be found out tells nothing to somebody who tries the rule.
            let refusal = refusal.filter(|refusal| !(warns && *refusal == Refusal::ReverseNameUnknown));
            if let Some(refusal) = refusal {
                ruling.apply(refusal, warns);
            }
        }
        if let (None, Some(domain)) = (ruling.refusal, domain) {
            let refusal = match domain? {
                SenderDomain::Fine | SenderDomain::Failed => None,
                SenderDomain::Unknown => Some(Refusal::NoSenderDomain),
                SenderDomain::TakesNoMail => Some(Refusal::SenderTakesNoMail),
            };
            let warns = self.rules.sender_domain == SenderDomainUse::Warn;
            if let Some(refusal) = refusal {
                ruling.apply(refusal, warns);
            }
        }
        if let (None, Some(outcome)) = (ruling.refusal, spf) {
            ruling.refusal = self.refusal_by_spf(outcome?.result);
        }
        if ruling.refusal.is_none() && self.greylists(subject, &score) {
            ruling.greylist = Some(origin(subject, asking)?);
        }
        if let Cow::Owned(score) = score {
            ruling.score = Some(score);
        }
        Some(ruling)
    }

    /// True when an access rule decides.
    fn judge_access(&self, subject: &Subject<'_>, ruling: &mut Ruling) -> bool {
        if self.access.is_empty() {
            return false;
        }
        let ehlo = lower(subject.ehlo);
        let ehlo = ehlo.strip_suffix(b".").unwrap_or(&ehlo);
        let domain = lower(domain_of(subject.reverse_path));
        let facts = Facts { client: subject.client, ehlo: Some(ehlo), reverse_path: Some(&domain) };
        let access = self.access.judge(&facts);
        ruling.warnings.extend(self.access.warnings(&facts, access).map(|number| self.by_rule(number)));
        let Access::By(number) = access else { return false };
        let Some(rule) = self.access.rule(number) else { return false };
        match rule.action {
            Action::Trust => ruling.trusts_client = rule.networks.is_some(),
            Action::Refuse | Action::Drop => ruling.refusal = Some(self.by_rule(number)),
            Action::Warn => return false,
        }
        true
    }

    fn by_rule(&self, number: usize) -> Refusal {
        Refusal::Rule(self.access_words.get(number).copied().flatten())
    }

    fn listed(&self, score: &Score) -> Refusal {
        let main = score.main_reason();
        let list = self.lists.iter().find(|list| main.is_some_and(|main| main.name == list.list().name));
        Refusal::Listed(list.map(WatchedList::words))
    }

    /// The domain that is asked about. The null reverse-path has none, and an address literal is none.
    fn sender_domain(&self, subject: &Subject<'_>) -> Option<Name> {
        if self.rules.sender_domain == SenderDomainUse::Off {
            return None;
        }
        let domain = domain_of(subject.reverse_path);
        Name::new(domain).filter(|_| !domain.starts_with(b"["))
    }

    fn refusal_by_spf(&self, result: spf::SpfResult) -> Option<Refusal> {
        match result {
            spf::SpfResult::Fail => Some(Refusal::SpfFail),
            spf::SpfResult::PermError => Some(Refusal::SpfError),
            spf::SpfResult::TempError => self.rules.spf_failure_refuses.then_some(Refusal::SpfUnknown),
            spf::SpfResult::None
            | spf::SpfResult::Neutral
            | spf::SpfResult::Pass
            | spf::SpfResult::SoftFail => None,
        }
    }

    fn greylists(&self, subject: &Subject<'_>, score: &Score) -> bool {
        !subject.is_proven
            && match self.rules.greylisting {
                Greylisting::Off => false,
                Greylisting::Suspicious => score.is_suspicious(),
                // Who is on a list of good clients is known to somebody.
                Greylisting::Unknown => score.total() >= 0,
            }
    }

    /// Whether nobody is asked to come back, and the log says who would be.
    pub fn greylist_warns(&self) -> bool {
        self.rules.greylist_warns
    }

    /// Asks the test entries of all lists, and takes in what they answer.
    pub fn examine_lists(&self, asking: &mut Asking<'_>, now: Instant, news: &mut Vec<News>) -> Option<()> {
        let mut is_complete = true;
        for list in &self.lists {
            is_complete &= list.is_usable(asking, now, news).is_some();
        }
        is_complete.then_some(())
    }

    /// The public names of the lists, and whether each is used.
    pub fn lists(&self) -> impl Iterator<Item = (&str, bool)> {
        self.lists.iter().map(|list| (&*list.list().name, !list.is_off()))
    }
}

impl Ruling {
    fn apply(&mut self, refusal: Refusal, warns: bool) {
        if warns {
            self.warnings.push(refusal);
        } else {
            self.refusal = Some(refusal);
        }
    }
}

/// The domain for which SPF passes, or the client. None as long as an answer is missing. That of the null
/// reverse-path is the client's own name (RFC 7208 §2.4).
fn origin(subject: &Subject<'_>, asking: &mut Asking<'_>) -> Option<Origin> {
    let sender = sender(subject);
    Some(match sender.spf_of_path(asking)?.result {
        spf::SpfResult::Pass => Origin::Domain(lower(sender.domain()).into()),
        spf::SpfResult::None
        | spf::SpfResult::Neutral
        | spf::SpfResult::Fail
        | spf::SpfResult::SoftFail
        | spf::SpfResult::TempError
        | spf::SpfResult::PermError => Origin::Client(subject.client),
    })
}

fn sender<'a>(subject: &Subject<'a>) -> Sender<'a> {
    let Subject { client, ehlo, reverse_path, .. } = *subject;
    // Nobody reads an explanation here.
    Sender { client, ehlo, reverse_path, hostname: "", now: 0 }
}

fn lower(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests;

//! The evaluation (RFC 9989 §4.4, §5.3).

use super::record::{Alignment, Policy, Record};
use super::walk::{Stop, record_of, walk};
use super::{Aligned, DmarcResult};
use crate::dns::{Answer, Asking, Kind, Name, Question};

/// What other checks found.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The domain of the mailbox in From:.
    pub author: &'a Name,
    /// The domain of the reverse-path, or of HELO where that is null, if SPF passes or has no answer for it.
    pub spf: Option<(&'a Name, Found)>,
    /// Domains of signatures that pass, or whose key has no answer.
    pub dkim: &'a [(Name, Found)],
}

/// What a check of an identifier found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It passes.
    Pass,
    /// The DNS did not answer.
    TempError,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: DmarcResult,
    /// Whose policy applies.
    pub policy_domain: Option<Name>,
    /// What it asks for, for this message if it fails.
    pub policy: Policy,
    /// The domain only tests its policy: [`Outcome::wanted`] is one less.
    pub is_test: bool,
    /// By what the message is vouched for.
    pub aligned: Vec<Aligned>,
    /// The name for which the DNS did not answer.
    pub unanswered: Option<Name>,
    /// What the record says, for reports.
    pub published: Option<Published>,
}

/// Policies as a record has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// `p=`.
    pub policy: Policy,
    /// `sp=`.
    pub subdomains: Option<Policy>,
    /// `np=`.
    pub missing_subdomains: Option<Policy>,
}

impl Outcome {
    /// What the domain asks to be done with this message.
    pub fn wanted(&self) -> Policy {
        match (self.result, self.is_test) {
            (DmarcResult::Fail, false) => self.policy,
            (DmarcResult::Fail, true) => self.policy.tested(),
            (DmarcResult::None | DmarcResult::Pass | DmarcResult::TempError, _) => Policy::None,
        }
    }

    fn without_policy(result: DmarcResult, unanswered: Option<Name>) -> Self {
        Self {
            result,
            policy_domain: None,
            policy: Policy::None,
            is_test: false,
            aligned: Vec::new(),
            unanswered,
            published: None,
        }
    }
}

/// The policy that applies to a message.
struct Applying {
    record: Record,
    domain: Name,
    policy: Policy,
}

/// Checks a message by what other checks found. None as long as answers are missing.
pub fn check(facts: &Facts<'_>, asking: &mut Asking<'_>) -> Option<Outcome> {
    match evaluate(facts, asking) {
        Ok(outcome) => Some(outcome),
        Err(Stop::Missing) => None,
        Err(Stop::Temporary(name)) => Some(Outcome::without_policy(DmarcResult::TempError, Some(name))),
    }
}

fn evaluate(facts: &Facts<'_>, asking: &mut Asking<'_>) -> Result<Outcome, Stop> {
    let Some(applying) = discover(facts.author, asking)?.filter(|applying| applying.record.is_usable) else {
        return Ok(Outcome::without_policy(DmarcResult::None, None));
    };
    let spf = facts.spf.iter().map(|(name, found)| (*name, *found, Aligned::Spf, applying.record.spf));
    let dkim = facts.dkim.iter().map(|(name, found)| (name, *found, Aligned::Dkim, applying.record.dkim));
    let mut aligned = Vec::new();
    // What stops the search for one that passes, and would have been one.
    let mut open = None;
    let mut is_missing = false;
    let mut author = Organization::of(facts.author);
    for (name, found, by, alignment) in spf.chain(dkim) {
        match (is_aligned(name, &mut author, alignment, asking), found) {
            (Ok(true), Found::Pass) if !aligned.contains(&by) => aligned.push(by),
            (Ok(true), Found::Pass) | (Ok(false), _) => {}
            (Ok(true), Found::TempError) => open = open.or(Some(name.clone())),
            (Err(Stop::Missing), _) => is_missing = true,
            (Err(Stop::Temporary(at)), _) => open = open.or(Some(at)),
        }
    }
    // All that passes is told, so all is waited for.
    if is_missing {
        return Err(Stop::Missing);
    }
    let result = match (aligned.is_empty(), &open) {
        (false, _) => DmarcResult::Pass,
        (true, Some(_)) => DmarcResult::TempError,
        (true, None) => DmarcResult::Fail,
    };
    let Applying { record, domain, policy } = applying;
    let unanswered = open.filter(|_| result == DmarcResult::TempError);
    let published = Some(Published {
        policy: record.policy,
        subdomains: record.subdomains,
        missing_subdomains: record.missing_subdomains,
    });
    let is_test = record.is_test;
    Ok(Outcome { result, policy_domain: Some(domain), policy, is_test, aligned, unanswered, published })
}

/// Which policy applies (§4.10.1): the author domain's own, or its organisation's, or that of the public
/// suffix.
fn discover(author: &Name, asking: &mut Asking<'_>) -> Result<Option<Applying>, Stop> {
    if let Some(record) = record_of(author, asking)? {
        return Ok(Some(Applying { record, domain: author.clone(), policy: record.policy }));
    }
    let found = walk(author, asking)?;
    let of_organization = found.record.map(|record| (found.organization, record));
    let Some((domain, record)) = of_organization.or(found.suffix) else { return Ok(None) };
    let of_subdomains = record.subdomains.unwrap_or(record.policy);
    let policy = match record.missing_subdomains {
        Some(policy) if policy != of_subdomains && !exists(author, asking)? => policy,
        Some(_) | None => of_subdomains,
    };
    Ok(Some(Applying { record, domain, policy }))
}

/// Whether a domain exists: NXDOMAIN alone says that it does not (RFC 8020).
fn exists(domain: &Name, asking: &mut Asking<'_>) -> Result<bool, Stop> {
    let question = Question::new(Kind::A, domain.clone());
    match &*asking.ask(&question).ok_or(Stop::Missing)? {
        Answer::NoName => Ok(false),
        Answer::Failed(_) => Err(Stop::Temporary(question.name)),
        Answer::Records(_) | Answer::NoRecords => Ok(true),
    }
}

/// A domain with its organisation, which is looked for once.
struct Organization<'n> {
    domain: &'n Name,
    found: Option<Result<Name, Stop>>,
}

impl<'n> Organization<'n> {
    fn of(domain: &'n Name) -> Self {
        Self { domain, found: None }
    }

    fn find(&mut self, asking: &mut Asking<'_>) -> Result<Name, Stop> {
        let walked = || walk(self.domain, asking).map(|walk| walk.organization);
        self.found.get_or_insert_with(walked).clone()
    }
}

/// Whether an identifier is the author's. Each has a walk of its own, unless the names tell.
fn is_aligned(
    name: &Name,
    author: &mut Organization<'_>,
    alignment: Alignment,
    asking: &mut Asking<'_>,
) -> Result<bool, Stop> {
    if name == author.domain {
        return Ok(true);
    }
    // Names that do not even share their last label have no common organisation.
    if alignment == Alignment::Strict || name.labels().next_back() != author.domain.labels().next_back() {
        return Ok(false);
    }
    let (one, other) = (walk(name, asking), author.find(asking));
    Ok(one?.organization == other?)
}

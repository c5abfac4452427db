//! What becomes of a message by what was found: it goes on, with or without a mark, or is refused.

use super::arc::ArcResult;
use super::dmarc::{DmarcResult, Policy};
use super::message::Found;
use super::rules::{AuthRules, DmarcUse};
use super::spf::SpfResult;

/// Whether the client's address has a name that leads back to it (RFC 8601 §2.7.3), where that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReverseLookup {
    /// It has.
    Pass,
    /// It has none.
    Fail,
}

/// What is known of the client besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Lists speak against it.
    pub is_listed: bool,
    /// Whether its address has a name that leads back to it; none where that is not known.
    pub reverse_lookup: Option<ReverseLookup>,
    /// It has proved good.
    pub is_proven: bool,
}

/// What is applied to a message (RFC 9989 §5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Applied {
    /// Nothing.
    #[default]
    None,
    /// It is marked as suspicious.
    Quarantine,
    /// It is refused.
    Reject,
}

impl Applied {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Quarantine, Self::Reject];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its From: field is not one with mailboxes of one domain.
    From,
    /// The policy of its author's domain.
    Dmarc,
    /// The DNS did not answer, and that might have refused it.
    Temporary,
}

/// Why not more was done than the domain asked for, or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Nothing but the policy speaks against it (RFC 9989 §7.4).
    NothingElse,
    /// Somebody passed it on whose word counts here, and who says that it was good when it came to him.
    TrustedForwarder,
    /// It came by a mailing list, through a client that has proved good.
    MailingList,
    /// The rules of this site only mark.
    LocalPolicy,
}

impl Because {
    /// Its word, in those of reports (RFC 9990) where they have one.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NothingElse => "no_other_reason",
            Self::TrustedForwarder => "trusted_forwarder",
            Self::MailingList => "mailing_list",
            Self::LocalPolicy => "local_policy",
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What is applied.
    pub applied: Applied,
    /// Why it is refused, if it is.
    pub refusal: Option<Refusal>,
    /// Why something else is applied than the author's domain asks for.
    pub because: Option<Because>,
}

impl Verdict {
    fn refuse(refusal: Refusal) -> Self {
        let applied = match refusal {
            Refusal::From | Refusal::Dmarc => Applied::Reject,
            Refusal::Temporary => Applied::None,
        };
        Self { applied, refusal: Some(refusal), because: None }
    }
}

/// The verdict on a message.
pub fn decide(found: &Found, rules: &AuthRules, circumstances: Circumstances) -> Verdict {
    let author_problem = found.author.as_ref().is_some_and(|author| author.problem.is_some());
    if author_problem && rules.from_refuses {
        return Verdict::refuse(Refusal::From);
    }
    let Some(dmarc) = &found.dmarc else {
        // Nobody can vouch for such a From:, and readers differ in what they make of it.
        let applied = if author_problem { Applied::Quarantine } else { Applied::None };
        return Verdict { applied, ..Verdict::default() };
    };
    if dmarc.result == DmarcResult::TempError
        && dmarc.policy == Policy::Reject
        && rules.temporary_failure_refuses
    {
        return Verdict::refuse(Refusal::Temporary);
    }
    let quarantine = |because| Verdict { applied: Applied::Quarantine, refusal: None, because };
    match (dmarc.wanted(), rules.dmarc) {
        (Policy::None, _) | (_, DmarcUse::Off) => Verdict::default(),
        (Policy::Quarantine, _) => quarantine(None),
        (Policy::Reject, DmarcUse::Mark) => quarantine(Some(Because::LocalPolicy)),
        (Policy::Reject, DmarcUse::WithReason | DmarcUse::Always) if is_sealed(found, rules) => {
            quarantine(Some(Because::TrustedForwarder))
        }
        (Policy::Reject, DmarcUse::Always) => Verdict::refuse(Refusal::Dmarc),
        (Policy::Reject, DmarcUse::WithReason) if circumstances.is_proven && found.has_list_id => {
            quarantine(Some(Because::MailingList))
        }
        (Policy::Reject, DmarcUse::WithReason) if has_reason(found, circumstances) => {
            Verdict::refuse(Refusal::Dmarc)
        }
        (Policy::Reject, DmarcUse::WithReason) => quarantine(Some(Because::NothingElse)),
    }
}

/// Whether the last who passed a message on is trusted, and it is as he had it.
fn is_sealed(found: &Found, rules: &AuthRules) -> bool {
    let Some(arc) = found.arc.as_ref().filter(|arc| arc.result == ArcResult::Pass) else { return false };
    arc.sealers.first().is_some_and(|sealer| rules.arc_trusted.contains(sealer))
}

/// Whether something besides the policy speaks against a message. That its client is not known is nothing.
fn has_reason(found: &Found, circumstances: Circumstances) -> bool {
    let spf = found.spf().map(|outcome| outcome.result);
    circumstances.is_listed
        || circumstances.reverse_lookup == Some(ReverseLookup::Fail)
        || matches!(spf, Some(SpfResult::Fail | SpfResult::PermError))
}

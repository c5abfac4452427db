//! What becomes of a message by what was found: it goes on, with or without a mark, or is refused.

use super::arc::ArcResult;
use super::dmarc::{DmarcResult, Outcome, Policy};
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
    let excuse = excuse_of(found, rules, circumstances);
    if rules.temporary_failure_refuses && excuse.is_none() && might_be_refused(dmarc, rules) {
        return Verdict::refuse(Refusal::Temporary);
    }
    let quarantine = |because| Verdict { applied: Applied::Quarantine, refusal: None, because };
    match (dmarc.wanted(), rules.dmarc) {
        (Policy::None, _) | (_, DmarcUse::Off) => Verdict::default(),
        (Policy::Quarantine, _) => quarantine(None),
        (Policy::Reject, DmarcUse::Mark) => quarantine(Some(Because::LocalPolicy)),
        (Policy::Reject, DmarcUse::WithReason | DmarcUse::Always) if excuse.is_some() => quarantine(excuse),
        (Policy::Reject, DmarcUse::Always) => Verdict::refuse(Refusal::Dmarc),
        (Policy::Reject, DmarcUse::WithReason) if has_reason(found, circumstances) => {
            Verdict::refuse(Refusal::Dmarc)
        }
        (Policy::Reject, DmarcUse::WithReason) => quarantine(Some(Because::NothingElse)),
    }
}

/// Whether a message of which too little is known might be refused if all were.
fn might_be_refused(dmarc: &Outcome, rules: &AuthRules) -> bool {
    let may_refuse = match rules.dmarc {
        DmarcUse::Off | DmarcUse::Mark => false,
        DmarcUse::WithReason | DmarcUse::Always => true,
    };
    // A policy that is only tested asks for less.
    let wants_refusal = dmarc.policy == Policy::Reject && !dmarc.is_test;
    dmarc.result == DmarcResult::TempError && wants_refusal && may_refuse
}

/// Why a message is not refused although its author's domain asks for that.
fn excuse_of(found: &Found, rules: &AuthRules, circumstances: Circumstances) -> Option<Because> {
    if is_sealed(found, rules) {
        return Some(Because::TrustedForwarder);
    }
    let may_be_list = rules.dmarc == DmarcUse::WithReason && circumstances.is_proven && found.has_list_id;
    may_be_list.then_some(Because::MailingList)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::arc;
    use crate::auth::author::{Author, Problem};
    use crate::auth::rules::SpfUse;
    use crate::auth::spf;
    use crate::dns::Name;

    const USES: [DmarcUse; 4] = [DmarcUse::Off, DmarcUse::Mark, DmarcUse::WithReason, DmarcUse::Always];

    fn rules(dmarc: DmarcUse) -> AuthRules {
        AuthRules { spf: SpfUse::Mark, dkim: true, dmarc, ..AuthRules::nothing() }
    }

    /// A message by one author, whose domain asks for this.
    fn found(dmarc: DmarcUse, result: DmarcResult, policy: Policy) -> Found {
        let domain = Name::new(b"x.test").expect("a name");
        let outcome = Outcome {
            result,
            policy_domain: Some(domain.clone()),
            policy,
            is_test: false,
            aligned: Vec::new(),
            unanswered: None,
            published: None,
        };
        Found {
            author: Some(Author { domains: vec![domain], problem: None }),
            dmarc: (dmarc != DmarcUse::Off).then_some(outcome),
            ..Found::default()
        }
    }

    fn with_spf(found: Found, path: Option<SpfResult>, helo: Option<SpfResult>) -> Found {
        let outcome = |result| spf::Outcome { result, ..spf::Outcome::none() };
        Found { spf_path: path.map(outcome), spf_helo: helo.map(outcome), ..found }
    }

    fn becomes(found: &Found, dmarc: DmarcUse, circumstances: Circumstances) -> &'static str {
        let verdict = decide(found, &rules(dmarc), circumstances);
        assert_eq!(verdict.refusal.is_some(), verdict.applied == Applied::Reject, "{verdict:?}");
        verdict.applied.word()
    }

    fn nothing() -> Circumstances {
        Circumstances::default()
    }

    #[test]
    fn policies_become_what_the_rules_make_of_them() {
        let rows = [
            (Policy::None, ["none", "none", "none", "none"]),
            (Policy::Quarantine, ["none", "quarantine", "quarantine", "quarantine"]),
            // RFC 9989 section 7.4: nobody is refused for that alone.
            (Policy::Reject, ["none", "quarantine", "quarantine", "reject"]),
        ];
        let with_reason = [
            (Policy::None, ["none", "none", "none", "none"]),
            (Policy::Quarantine, ["none", "quarantine", "quarantine", "quarantine"]),
            (Policy::Reject, ["none", "quarantine", "reject", "reject"]),
        ];
        let listed = Circumstances { is_listed: true, ..nothing() };
        for (rows, circumstances) in [(rows, nothing()), (with_reason, listed)] {
            for (policy, expected) in rows {
                let told =
                    USES.map(|dmarc| becomes(&found(dmarc, DmarcResult::Fail, policy), dmarc, circumstances));
                assert_eq!(told, expected, "{policy:?} {circumstances:?}");
                for result in [DmarcResult::None, DmarcResult::Pass, DmarcResult::TempError] {
                    let told = USES.map(|dmarc| becomes(&found(dmarc, result, policy), dmarc, circumstances));
                    assert_eq!(told, ["none"; 4], "{result:?} {policy:?}");
                }
            }
        }
    }

    #[test]
    fn a_policy_that_is_tested_is_one_less() {
        for (policy, expected) in [
            (Policy::None, ["none", "none", "none", "none"]),
            (Policy::Quarantine, ["none", "none", "none", "none"]),
            (Policy::Reject, ["none", "quarantine", "quarantine", "quarantine"]),
        ] {
            let told = USES.map(|dmarc| {
                let mut found = found(dmarc, DmarcResult::Fail, policy);
                found.dmarc.iter_mut().for_each(|outcome| outcome.is_test = true);
                becomes(&found, dmarc, Circumstances { is_listed: true, ..nothing() })
            });
            assert_eq!(told, expected, "{policy:?}");
        }
    }

    #[test]
    fn one_more_reason_refuses_and_only_these_are_reasons() {
        let failed = || found(DmarcUse::WithReason, DmarcResult::Fail, Policy::Reject);
        let told = |found: &Found, circumstances| becomes(found, DmarcUse::WithReason, circumstances);
        for (circumstances, expected) in [
            (nothing(), "quarantine"),
            (Circumstances { is_listed: true, ..nothing() }, "reject"),
            (Circumstances { reverse_lookup: Some(ReverseLookup::Fail), ..nothing() }, "reject"),
            (Circumstances { reverse_lookup: Some(ReverseLookup::Pass), ..nothing() }, "quarantine"),
            (Circumstances { is_proven: true, ..nothing() }, "quarantine"),
            (Circumstances { is_proven: true, is_listed: true, ..nothing() }, "reject"),
        ] {
            assert_eq!(told(&failed(), circumstances), expected, "{circumstances:?}");
        }
        for result in SpfResult::ALL {
            let is_reason = matches!(result, SpfResult::Fail | SpfResult::PermError);
            let expected = if is_reason { "reject" } else { "quarantine" };
            assert_eq!(told(&with_spf(failed(), Some(result), None), nothing()), expected, "{result:?}");
            assert_eq!(
                told(&with_spf(failed(), None, Some(result)), nothing()),
                expected,
                "{result:?} of EHLO"
            );
            // Where there is a reverse-path, the client's own name says nothing.
            let of_path = with_spf(failed(), Some(SpfResult::Neutral), Some(result));
            assert_eq!(told(&of_path, nothing()), "quarantine", "{result:?} beside a reverse-path");
        }
    }

    #[test]
    fn a_mailing_list_excuses_a_client_that_has_proved_good() {
        let listed = Circumstances { is_listed: true, ..nothing() };
        for (is_proven, has_list_id, expected) in [
            (true, true, ("quarantine", Some(Because::MailingList))),
            (true, false, ("reject", None)),
            (false, true, ("reject", None)),
        ] {
            let found =
                Found { has_list_id, ..found(DmarcUse::WithReason, DmarcResult::Fail, Policy::Reject) };
            let circumstances = Circumstances { is_proven, ..listed };
            let verdict = decide(&found, &rules(DmarcUse::WithReason), circumstances);
            assert_eq!((verdict.applied.word(), verdict.because), expected);
            // Whoever refuses always hears of no excuse.
            assert_eq!(becomes(&found, DmarcUse::Always, circumstances), "reject");
        }
    }

    #[test]
    fn a_seal_excuses_a_message_where_its_last_sealer_is_trusted() {
        let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
        let sealed = |result, sealers: &[&str]| {
            let sealers = sealers.iter().map(|sealer| name(sealer)).collect();
            let arc = arc::Outcome { result, sealers, problem: None };
            Found { arc: Some(arc), ..found(DmarcUse::Always, DmarcResult::Fail, Policy::Reject) }
        };
        let listed = Circumstances { is_listed: true, ..nothing() };
        for (found, expected) in [
            (
                sealed(ArcResult::Pass, &["list.test", "other.test"]),
                ("quarantine", Some(Because::TrustedForwarder)),
            ),
            (sealed(ArcResult::Pass, &["other.test", "list.test"]), ("reject", None)),
            (sealed(ArcResult::Fail, &["list.test"]), ("reject", None)),
            (sealed(ArcResult::TempError, &["list.test"]), ("reject", None)),
            (sealed(ArcResult::Pass, &[]), ("reject", None)),
        ] {
            for dmarc in [DmarcUse::WithReason, DmarcUse::Always] {
                let rules = AuthRules { arc_trusted: vec![name("list.test")], ..rules(dmarc) };
                let verdict = decide(&found, &rules, listed);
                assert_eq!((verdict.applied.word(), verdict.because), expected, "{:?}", found.arc);
            }
        }
    }

    #[test]
    fn what_is_excused_does_not_wait_for_answers_that_are_missing() {
        let found = Found {
            has_list_id: true,
            ..found(DmarcUse::WithReason, DmarcResult::TempError, Policy::Reject)
        };
        for (is_proven, dmarc, refusal) in [
            (true, DmarcUse::WithReason, None),
            (false, DmarcUse::WithReason, Some(Refusal::Temporary)),
            (true, DmarcUse::Always, Some(Refusal::Temporary)),
        ] {
            let rules = AuthRules { temporary_failure_refuses: true, ..rules(dmarc) };
            let verdict = decide(&found, &rules, Circumstances { is_proven, ..nothing() });
            assert_eq!(verdict.refusal, refusal, "{is_proven} {dmarc:?}");
        }
    }

    #[test]
    fn less_than_the_policy_is_always_explained() {
        let failed = found(DmarcUse::Mark, DmarcResult::Fail, Policy::Reject);
        for (dmarc, because) in [
            (DmarcUse::Mark, Some(Because::LocalPolicy)),
            (DmarcUse::WithReason, Some(Because::NothingElse)),
            (DmarcUse::Always, None),
        ] {
            assert_eq!(decide(&failed, &rules(dmarc), nothing()).because, because);
        }
    }

    #[test]
    fn an_author_whom_nobody_can_vouch_for_is_marked_or_refused() {
        for problem in [Problem::Missing, Problem::Several, Problem::SeveralDomains, Problem::Unreadable] {
            let author = Author { domains: Vec::new(), problem: Some(problem) };
            let found = Found { author: Some(author), ..Found::default() };
            for dmarc in USES {
                assert_eq!(decide(&found, &rules(dmarc), nothing()).applied, Applied::Quarantine);
                let refusing = AuthRules { from_refuses: true, ..rules(dmarc) };
                let verdict = decide(&found, &refusing, nothing());
                assert_eq!((verdict.applied, verdict.refusal), (Applied::Reject, Some(Refusal::From)));
            }
        }
    }

    /// An answer that is missing refuses nothing, unless that is wished for, and it might have.
    #[test]
    fn a_missing_answer_refuses_only_what_might_be_refused() {
        for dmarc in USES {
            for policy in [Policy::None, Policy::Quarantine, Policy::Reject] {
                for is_test in [false, true] {
                    let mut found = found(dmarc, DmarcResult::TempError, policy);
                    found.dmarc.iter_mut().for_each(|outcome| outcome.is_test = is_test);
                    let circumstances = Circumstances { is_listed: true, ..nothing() };
                    let accepting = decide(&found, &rules(dmarc), circumstances);
                    assert_eq!(accepting, Verdict::default(), "{dmarc:?} {policy:?}");
                    let refusing = AuthRules { temporary_failure_refuses: true, ..rules(dmarc) };
                    let might_be = policy == Policy::Reject
                        && !is_test
                        && matches!(dmarc, DmarcUse::WithReason | DmarcUse::Always);
                    let expected = might_be.then_some(Refusal::Temporary);
                    let verdict = decide(&found, &refusing, circumstances);
                    assert_eq!(verdict.refusal, expected, "{dmarc:?} {policy:?} {is_test}");
                    assert_eq!(verdict.applied, Applied::None);
                }
            }
        }
    }
}

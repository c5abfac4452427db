//! What our domains say: where their mail goes (MX), who sends for them (SPF), what becomes of mail that they
//! do not vouch for (DMARC).

use std::net::IpAddr;

use super::super::finding::{Finding, Severity};
use super::findings::{grouped, listed, of_each, unanswered, zone_line};
use super::host::addresses_of;
use super::site::Site;
use crate::auth::dmarc::{self, DmarcResult, Policy};
use crate::auth::spf::{self, SpfResult};
use crate::dns::{Answer, Asking, Kind, Name, Question, Records};

/// Findings about each domain; those that say the same are one.
pub(super) fn of_domains(
    site: &Site,
    mut check: impl FnMut(&Name) -> Option<Vec<Finding>>,
) -> Option<Vec<Finding>> {
    let found = of_each(&site.domains, |domain| {
        let findings = check(domain)?;
        Some(findings.into_iter().map(|finding| (domain.to_string(), finding)).collect::<Vec<_>>())
    })?;
    Some(grouped(found.into_iter().flatten().collect()))
}

/// The MX records of each domain name the host, or it is said whom they name.
pub(super) fn check_exchangers(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    of_domains(site, |domain| {
        let answer = asking.ask(&Question::new(Kind::Mx, domain.clone()))?;
        Some(vec![judge_exchangers(site, domain, &answer)])
    })
}

fn judge_exchangers(site: &Site, domain: &Name, answer: &Answer) -> Finding {
    let host = &site.host;
    let record = || zone_line(&format!("{domain}. IN MX 10 {host}."));
    let exchangers = match answer {
        Answer::Records(Records::Mx(exchangers)) => exchangers,
        Answer::Failed(_) => return unanswered(domain),
        Answer::NoName => {
            let why = "Nobody can send mail to it.";
            return Finding::new(Severity::Limits, "there is no such domain in the DNS", why)
                .cure(format!("# register {domain}, or take it out of `domains`"));
        }
        Answer::NoRecords | Answer::Records(_) => {
            let why = "Senders then try the address of the domain itself, if it has one (RFC 5321 §5.1).";
            return Finding::new(Severity::Hint, "no MX record", why).cure(record());
        }
    };
    let mut exchangers = exchangers.clone();
    exchangers.sort_unstable();
    let names = exchangers.iter().map(|(preference, name)| match name {
        Some(name) => format!("{name} ({preference})"),
        None => format!(". ({preference})"),
    });
    let names = listed(&names.collect::<Vec<_>>());
    if exchangers.iter().any(|(_, name)| name.as_ref() == Some(host)) {
        return Finding::new(
            Severity::Note,
            format!("MX {names}"),
            "Its mail comes here, the lowest number first.",
        );
    }
    if exchangers.iter().any(|(_, name)| name.is_none()) {
        let why = "No sender tries to deliver its mail, here or anywhere (RFC 7505).";
        return Finding::new(Severity::Limits, "its MX says that it takes no mail", why).cure(record());
    }
    let why = "Its mail comes here only if that machine hands it on, or is this one by another name.";
    Finding::new(Severity::Hint, format!("MX {names}, not {host}"), why).cure(record())
}

/// Each domain has one SPF record that can be followed; what it says of this machine.
pub(super) fn check_spf(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    /// Of nobody (RFC 5737): what is wrong with a record shows for any address.
    const ANYBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
    let ours = match &*site.addresses {
        [] => addresses_of(&site.host, asking).map(Result::unwrap_or_default),
        addresses => Some(addresses.to_vec()),
    };
    let host = site.host.to_string();
    of_domains(site, |domain| {
        let sender = |client| spf::Sender {
            client,
            helo: host.as_bytes(),
            local_part: b"",
            domain: domain.octets(),
            receiver: &host,
            explains: false,
            now: site.now,
        };
        let anybody = spf::check(&sender(ANYBODY), asking);
        let outcomes =
            of_each(ours.as_deref()?, |address| Some((*address, spf::check(&sender(*address), asking)?)));
        let (anybody, outcomes) = (anybody?, outcomes?);
        let all = [&anybody].into_iter().chain(outcomes.iter().map(|(_, outcome)| outcome));
        let error = all.clone().find(|outcome| outcome.result == SpfResult::PermError);
        let without_answer = all.clone().find(|outcome| outcome.result == SpfResult::TempError);
        let says_nothing = anybody.result == SpfResult::None;
        let problem = |outcome: Option<&spf::Outcome>| outcome?.problem.as_ref().map(ToString::to_string);
        Some(vec![if let Some(problem) = problem(error) {
            let why = "To receivers that is an error: nothing that is sent in its name passes.";
            Finding::new(Severity::Limits, format!("SPF permerror: {problem}"), why)
                .cure(format!("# {domain}: one TXT record that begins with v=spf1, with these terms mended"))
        } else if let Some(problem) = problem(without_answer) {
            let why =
                "It could not be found out: a name server of that domain, or the one that we ask, fails.";
            Finding::new(Severity::Hint, problem, why)
        } else if says_nothing {
            let why = "Anybody can send in its name, and no receiver can tell.";
            Finding::new(Severity::Hint, "no SPF record", why).cure(zone_line(&format!(
                "{domain}. IN TXT \"v=spf1 -all\", with the terms for those who send its mail before -all"
            )))
        } else {
            let of_us: Vec<String> = outcomes.iter().map(said_of_address).collect();
            let value = if of_us.is_empty() { "a good SPF record".to_owned() } else { listed(&of_us) };
            let why = "It matters if a program of this machine sends in its name; ringmx sends nothing.";
            Finding::new(Severity::Note, value, why)
        }])
    })
}

/// `SPF pass for 192.0.2.1 (ip4:192.0.2.0/24)`
fn said_of_address((address, outcome): &(IpAddr, spf::Outcome)) -> String {
    let by = outcome.mechanism.as_ref().map(|mechanism| format!(" ({mechanism})"));
    format!("SPF {} for {address}{}", outcome.result.word(), by.unwrap_or_default())
}

/// Each domain has a policy that can be followed, its own or that of its organisation.
pub(super) fn check_dmarc(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    of_domains(site, |domain| {
        let facts = dmarc::Facts { author: domain, spf: None, dkim: &[] };
        let found = dmarc::check(&facts, asking);
        let own = Name::new(&[b"_dmarc.", domain.octets()].concat());
        // It was asked already.
        let own = own.and_then(|name| asking.ask(&Question::new(Kind::Txt, name)));
        let records = own
            .map_or(0, |answer| answer.texts().iter().filter(|text| text.starts_with(b"v=DMARC1")).count());
        found.map(|outcome| vec![judge_policy(domain, records, &outcome)])
    })
}

/// `records`: how many the domain itself has, good or bad.
fn judge_policy(domain: &Name, records: usize, outcome: &dmarc::Outcome) -> Finding {
    let cure = |finding: Finding| {
        finding
            .cure(zone_line(&format!("_dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:…\"")))
            .cure("# p=quarantine, then p=reject, once the reports show that all its mail is signed")
    };
    if records > 1 {
        let why = "Receivers take none of them: mail that it does not vouch for is treated as any other.";
        let value = format!("{records} DMARC records");
        return Finding::new(Severity::Limits, value, why)
            .cure(format!("# one TXT record at _dmarc.{domain}"));
    }
    let of_whom = match &outcome.policy_domain {
        Some(other) if other != domain => format!(" (of {other})"),
        Some(_) | None => String::new(),
    };
    match outcome.result {
        DmarcResult::TempError => unanswered(outcome.unanswered.as_ref().unwrap_or(domain)),
        DmarcResult::None if records == 1 => {
            let why = "It has no policy that is one, and names nobody who is told: receivers take no notice.";
            cure(Finding::new(Severity::Limits, "a DMARC record that cannot be followed", why))
        }
        DmarcResult::None => {
            let why = "Mail with its name in From: that it did not send is treated as any other.";
            cure(Finding::new(Severity::Hint, "no DMARC record", why))
        }
        // Nothing vouched for anything here: a policy that applies was not met.
        DmarcResult::Fail | DmarcResult::Pass => {
            let test = if outcome.is_test { ", only tested (t=y)" } else { "" };
            let value = format!("DMARC p={}{of_whom}{test}", outcome.policy.word());
            let why = match outcome.policy {
                Policy::None => {
                    "It is told of mail that it does not vouch for, and asks for nothing to be done."
                }
                Policy::Quarantine | Policy::Reject => {
                    "That is what it asks for mail that it does not vouch for."
                }
            };
            Finding::new(Severity::Note, value, why)
        }
    }
}

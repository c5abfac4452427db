//! What the DNS says of TLS: TLSA records are those of our certificate (RFC 7672), and an MTA-STS policy
//! (RFC 8461) names a host that has one.

use super::super::finding::{Finding, Severity};
use super::domains::of_domains;
use super::findings::{of_each, unanswered, zone_line};
use super::host::addresses_of;
use super::site::{Door, Site};
use crate::dns::{Answer, Asking, Kind, Name, Question, Records, Tlsa};

/// The records of each port that mail comes to are those of what is shown there.
pub(super) fn check_tlsa(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    let found = of_each(&site.doors, |door| {
        let name = Name::new(&[format!("_{}._tcp.", door.port).as_bytes(), site.host.octets()].concat());
        // A host's name that leaves no room for that has no records.
        let Some(name) = name else { return Some(None) };
        let answer = asking.ask(&Question::new(Kind::Tlsa, name.clone()))?;
        Some(match &*answer {
            Answer::Failed(_) => Some(unanswered(&name)),
            Answer::Records(Records::Tlsa(records)) => Some(judge_tlsa(site, *door, &name, records)),
            Answer::Records(_) | Answer::NoRecords | Answer::NoName => without_tlsa(site, *door, &name),
        })
    })?;
    Some(found.into_iter().flatten().collect())
}

fn without_tlsa(site: &Site, door: Door, name: &Name) -> Option<Finding> {
    let may_stay = site.shown.as_ref().is_ok_and(|shown| !shown.is_empty());
    (door.has_tls && may_stay).then(|| {
        let why = "In a signed zone it tells senders to insist on TLS and on this key (DANE, RFC 7672).";
        Finding::new(Severity::Note, format!("no record {name}"), why).cure(command(site, door))
    })
}

/// What prints the record that fits.
fn command(site: &Site, door: Door) -> String {
    let first = site.shown.as_ref().ok().and_then(|shown| shown.first());
    let file = first.map_or_else(|| "FILE".to_owned(), |shown| shown.file.display().to_string());
    let (host, port) = (&site.host, door.port);
    format!("# `ringmx cert tlsa --host {host} --port {port} {file}` prints the record for the zone")
}

fn judge_tlsa(site: &Site, door: Door, name: &Name, records: &[Tlsa]) -> Finding {
    let not_delivered =
        "Senders that go by it (DANE) do not deliver: to them this is somebody else (RFC 7672 §2.2).";
    if !door.has_tls {
        let value = format!("{name} promises TLS, and no listener of port {} offers it", door.port);
        return Finding::new(Severity::Fails, value, not_delivered)
            .cure("# a certificate in [tls], or remove the record from the zone");
    }
    let shown = match &site.shown {
        Ok(shown) => shown,
        Err(error) => return not_compared(&name.to_string(), error),
    };
    let fits = |chain: &crate::tls::tlsa::Chain| {
        let told = records
            .iter()
            .filter_map(|record| chain.fits([record.usage, record.selector, record.matching], &record.data));
        told.reduce(|one, other| one || other)
    };
    let told: Vec<Option<bool>> = shown.iter().map(|shown| fits(&shown.chain)).collect();
    if !told.is_empty() && told.iter().all(|told| *told == Some(true)) {
        let value = format!("{name} fits the certificate");
        return Finding::new(Severity::Note, value, "Senders that go by it (DANE) know whom they speak to.");
    }
    if !told.is_empty() && told.iter().all(Option::is_none) {
        let why = "Senders of mail go by usages 2 and 3 only (RFC 7672 §3.1): they take no notice of it.";
        return Finding::new(Severity::Limits, format!("{name} is of no kind that is used"), why)
            .cure(command(site, door));
    }
    let value = format!("{name} does not fit the certificate");
    let finding = Finding::new(Severity::Fails, value, not_delivered);
    if site.is_self_signed {
        return finding
            .cure("# `self_signed` makes a key at each start: use [[tls.certificate]] with one that stays");
    }
    finding
        .cure(command(site, door))
        .cure("# publish it beside the old one, and remove that when its lifetime is over")
}

/// That nothing can be said of a promise, because a certificate cannot be read.
fn not_compared(promise: &str, error: &str) -> Finding {
    let why =
        "A certificate cannot be read, by this user at least: `ringmx check` says what is wrong with it.";
    Finding::new(Severity::Hint, format!("{promise} could not be compared: {error}"), why)
}

/// Each domain that says it has a policy can be given one that fits.
pub(super) fn check_mta_sts(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    of_domains(site, |domain| {
        let under = |label: &[u8]| Name::new(&[label, b".", domain.octets()].concat());
        let (Some(record), Some(host)) = (under(b"_mta-sts"), under(b"mta-sts")) else {
            return Some(Vec::new());
        };
        let answer = asking.ask(&Question::new(Kind::Txt, record.clone()));
        let addresses = addresses_of(&host, asking);
        let (answer, addresses) = (answer?, addresses?);
        if matches!(*answer, Answer::Failed(_)) {
            return Some(vec![unanswered(&record)]);
        }
        let records: Vec<_> = answer.texts().iter().filter(|text| is_mta_sts(text)).collect();
        Some(vec![match *records {
            [] => {
                let why =
                    "Who stands between a sender and this machine can take STARTTLS away, unseen (RFC 8461).";
                Finding::new(Severity::Note, "no MTA-STS", why)
                    .cure(format!(
                        "# https://{host}/.well-known/mta-sts.txt with a line `mx: {}`, then",
                        site.host
                    ))
                    .cure(zone_line(&format!("{record}. IN TXT \"v=STSv1; id=…\"")))
            }
            [text] => judge_mta_sts(site, &host, text, addresses.as_ref().is_ok_and(Vec::is_empty)),
            [_, _, ..] => {
                let why = "Senders take none of them (RFC 8461 §3.1).";
                Finding::new(Severity::Limits, format!("{} MTA-STS records", records.len()), why)
                    .cure(format!("# one TXT record at {record}"))
            }
        }])
    })
}

fn is_mta_sts(text: &[u8]) -> bool {
    text.strip_prefix(b"v=STSv1").is_some_and(|rest| rest.trim_ascii_start().starts_with(b";"))
}

/// `host`: where the policy is. It is not fetched: what has to be in it is said.
fn judge_mta_sts(site: &Site, host: &Name, text: &[u8], has_no_address: bool) -> Finding {
    let id = text.split(|octet| *octet == b';').find_map(|field| field.trim_ascii().strip_prefix(b"id="));
    let is_good = |id: &[u8]| (1..=32).contains(&id.len()) && id.iter().all(u8::is_ascii_alphanumeric);
    let not_used = "Senders cannot know its policy, and deliver as if there were none.";
    if !id.is_some_and(is_good) {
        let value = "the MTA-STS record has no id of 1 to 32 letters and digits";
        return Finding::new(Severity::Limits, value, not_used)
            .cure("# in the record: id= and the time of the last change, such as 20260101T000000");
    }
    if has_no_address {
        let value = format!("MTA-STS, and {host}, which has the policy, has no address");
        return Finding::new(Severity::Limits, value, not_used)
            .cure(format!("# an address of {host}, and a web server there with a certificate for it"));
    }
    let ours = site.host.to_string();
    let offers_tls = site.doors.is_empty() || site.doors.iter().any(|door| door.has_tls);
    let is_for_us = match &site.shown {
        Err(error) if offers_tls => return not_compared("MTA-STS", error),
        Err(_) => false,
        Ok(shown) => !shown.is_empty() && shown.iter().all(|shown| shown.chain.is_for(&ours)),
    };
    if !offers_tls || !is_for_us {
        let value = format!("MTA-STS, and no certificate that senders can check for {ours}");
        let why = "Senders do not deliver if the policy is enforced: they check name and signature.";
        return Finding::new(Severity::Limits, value, why)
            .cure(format!("# [[tls.certificate]]: one for {ours} that a public authority signed"));
    }
    let wildcard = ours.split_once('.').map(|(_, rest)| format!(" or `mx: *.{rest}`"));
    let value = format!(
        "MTA-STS; the policy is not fetched here, and has to have the line `mx: {ours}`{}",
        wildcard.unwrap_or_default()
    );
    let why = "Where it names others only, senders do not deliver here if the policy is enforced.";
    Finding::new(Severity::Note, value, why).cure(format!("# curl https://{host}/.well-known/mta-sts.txt"))
}

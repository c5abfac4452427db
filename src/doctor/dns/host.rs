//! The host's name and the addresses of this machine: one leads to the other.

use std::net::IpAddr;

use super::super::finding::{Finding, Severity};
use super::findings::{grouped, listed, of_each, unanswered, zone_line};
use super::site::Site;
use crate::dns::{Answer, Asking, Kind, Name, Question, Records};

/// Addresses of a name; the error is that nobody says.
type Addresses = Result<Vec<IpAddr>, ()>;

/// The addresses of a name, of both kinds. None as long as an answer is missing.
pub(super) fn addresses_of(name: &Name, asking: &mut Asking<'_>) -> Option<Addresses> {
    let [v4, v6] = [Kind::A, Kind::Aaaa].map(|kind| asking.ask(&Question::new(kind, name.clone())));
    let (v4, v6) = (v4?, v6?);
    let found: Vec<IpAddr> = v4
        .v4()
        .iter()
        .map(|address| IpAddr::from(*address))
        .chain(v6.v6().iter().map(|address| IpAddr::from(*address)))
        .collect();
    let is_failed = |answer: &Answer| matches!(answer, Answer::Failed(_));
    Some(if found.is_empty() && (is_failed(&v4) || is_failed(&v6)) { Err(()) } else { Ok(found) })
}

/// That the host's name is none that others could find.
pub(super) fn no_name(host: &str) -> Finding {
    Finding::new(
        Severity::Limits,
        format!("{host} is no name of the DNS"),
        "Clients see it in the greeting, `Received:` has it, and it is in no MX record.",
    )
    .cure("# `hostname` in the configuration: the name that MX records have, or will have")
}

/// The host has addresses, and they are those of this machine.
pub(super) fn check_addresses(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    let host = &site.host;
    if !host.octets().contains(&b'.') {
        return Some(vec![no_name(&host.to_string())]);
    }
    let record = |address: &IpAddr| {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        zone_line(&format!("{host}. IN {kind} {address}"))
    };
    let with_records = |finding: Finding| site.addresses.iter().map(record).fold(finding, Finding::cure);
    let finding = match addresses_of(host, asking)? {
        Err(()) => unanswered(host),
        Ok(found) if found.is_empty() => with_records(Finding::new(
            Severity::Limits,
            format!("{host} has no address"),
            "Who follows an MX record to it finds nobody, and mail waits at its senders until it goes back.",
        )),
        Ok(found) if !site.addresses.is_empty() && !found.iter().any(|one| site.addresses.contains(one)) => {
            with_records(Finding::new(
                Severity::Hint,
                format!("{host} is {}; this machine has {}", listed(&found), listed(&site.addresses)),
                "Mail for it goes to another machine. That is right only if that one hands connections on to this.",
            ))
        }
        Ok(_) => return Some(Vec::new()),
    };
    Some(vec![finding])
}

/// Each address leads back to the host.
pub(super) fn check_reverse_names(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<Finding>> {
    let addresses = match &*site.addresses {
        // Nobody knows from inside how it is seen from outside.
        [] => addresses_of(&site.host, asking)?.unwrap_or_default(),
        addresses => addresses.to_vec(),
    };
    let found = of_each(&addresses, |address| {
        let question = Question::new(Kind::Ptr, Name::reverse(*address));
        let answer = asking.ask(&question)?;
        let value = match &*answer {
            Answer::Failed(_) => return Some(Some((address.to_string(), unanswered(&question.name)))),
            Answer::Records(Records::Ptr(names)) if names.contains(&site.host) => return Some(None),
            Answer::Records(Records::Ptr(names)) => {
                format!("leads to {}, not to {}", listed(names), site.host)
            }
            Answer::Records(_) | Answer::NoRecords | Answer::NoName => "has no name".to_owned(),
        };
        let why =
            "ringmx sends nothing. A program beside it that does is refused by many, or taken for a bot.";
        let record = format!("{}. IN PTR {}.", question.name, site.host);
        let finding = Finding::new(Severity::Hint, value, why)
            .cure(format!("# whoever owns the address sets: {record}"));
        Some(Some((address.to_string(), finding)))
    })?;
    Some(grouped(found.into_iter().flatten().collect()))
}

#[cfg(test)]
mod tests {
    use super::super::site;
    use super::*;
    use crate::dns::Failure;
    use crate::dns::asking::tests::Zone;

    fn question(kind: Kind, name: &str) -> Question {
        Question::new(kind, Name::new(name.as_bytes()).expect("a name"))
    }

    type Check = fn(&Site, &mut Asking<'_>) -> Option<Vec<Finding>>;

    fn values(zone: &Zone, check: Check, site: &Site) -> Vec<String> {
        let (found, _) = zone.run(|asking| check(site, asking));
        found.expect("all is answered").into_iter().map(|finding| finding.value).collect()
    }

    #[test]
    fn a_host_whose_name_and_addresses_agree_has_no_finding() {
        let site = site::of_example();
        let zone = Zone::default()
            .with(
                question(Kind::A, "mx.example.org"),
                Answer::Records(Records::A(vec![[192, 0, 2, 1].into()])),
            )
            .with(
                question(Kind::Ptr, "1.2.0.192.in-addr.arpa"),
                Answer::Records(Records::Ptr(vec![site.host.clone()])),
            );
        assert_eq!(values(&zone, check_addresses, &site), [] as [String; 0]);
        assert_eq!(values(&zone, check_reverse_names, &site), [] as [String; 0]);
    }

    #[test]
    fn what_fails_is_no_statement_about_the_host() {
        let site = site::of_example();
        let failed = || Answer::Failed(Failure::Server);
        let zone = Zone::default()
            .with(question(Kind::A, "mx.example.org"), failed())
            .with(question(Kind::Ptr, "1.2.0.192.in-addr.arpa"), failed());
        assert_eq!(values(&zone, check_addresses, &site), ["no answer for mx.example.org"]);
        let reverse = values(&zone, check_reverse_names, &site);
        assert_eq!(reverse, ["192.0.2.1: no answer for 1.2.0.192.in-addr.arpa"]);
    }

    #[test]
    fn a_machine_without_public_addresses_is_looked_at_from_outside() {
        let site = Site { addresses: Vec::new(), ..site::of_example() };
        let address = Answer::Records(Records::A(vec![[192, 0, 2, 9].into()]));
        let zone = Zone::default().with(question(Kind::A, "mx.example.org"), address);
        assert_eq!(values(&zone, check_addresses, &site), [] as [String; 0]);
        assert_eq!(values(&zone, check_reverse_names, &site), ["192.0.2.9: has no name"]);
    }
}

//! What the DNS says of this server and its domains, and whether anybody answers that asks it.
//!
//! A check is a pure function over the site, which is what we are by the configuration, and the answers; it
//! gives none as long as one is missing ([`Asking`]). All checks run at a time, so all that they need is
//! asked at once. Without a server that answers none of them runs, and that is one finding.

mod domains;
mod findings;
mod host;
mod resolver;
mod site;
mod transport;

use std::time::{Duration, Instant};

use self::findings::of_each;
use self::site::Site;
use super::finding::Finding;
use super::tree::Tree;
use crate::config::{Config, Listener};
use crate::dns::by_hand::ByHand;
use crate::dns::{Asking, lookup};

/// Answers that are not there by then count as failed.
const ANSWERS_WITHIN: Duration = Duration::from_secs(6);

/// One look at what the DNS says. None as long as an answer is missing.
type Check = fn(&Site, &mut Asking<'_>) -> Option<Vec<Finding>>;

/// The name of the finding about those who are asked.
const SERVER: &str = "DNS server";

/// Every check with its name in the report.
const CHECKS: &[(&str, Check)] = &[
    ("host name", host::check_addresses),
    ("reverse name", host::check_reverse_names),
    ("MX", domains::check_exchangers),
    ("SPF", domains::check_spf),
    ("DMARC", domains::check_dmarc),
    ("TLSA", transport::check_tlsa),
    ("MTA-STS", transport::check_mta_sts),
];

/// Asks the DNS of this configuration, and says what it thinks of us. It takes some seconds at most. Nothing
/// is asked where no mail comes from other machines; nor are name servers looked at where nothing uses them.
pub fn examine_dns(tree: &Tree, config: &Config) -> Vec<(&'static str, Finding)> {
    let is_reached = config.listeners.iter().any(Listener::is_reached_by_others);
    if !is_reached && !config.asks_dns() {
        return Vec::new();
    }
    let named = |findings: Vec<Finding>| findings.into_iter().map(|finding| (SERVER, finding)).collect();
    let servers = match &config.dns.servers {
        Some(servers) => Ok(servers.clone()),
        None => lookup::name_servers_of_system(),
    };
    let servers = match servers {
        Ok(servers) => servers,
        Err(error) => return named(vec![resolver::nobody(&error, config.asks_dns())]),
    };
    let (heard, is_answered) = resolver::look_at(&servers, config.asks_dns());
    let mut findings: Vec<_> = named(heard);
    if is_answered && is_reached {
        let site = Site::read(tree, config);
        let found = site.zip(ByHand::start(servers).ok()).and_then(|(site, mut dns)| {
            dns.run(Instant::now() + ANSWERS_WITHIN, |asking| examine(&site, asking))
        });
        findings.extend(found.unwrap_or_default());
    }
    findings
}

/// What all checks find.
fn examine(site: &Site, asking: &mut Asking<'_>) -> Option<Vec<(&'static str, Finding)>> {
    let found = of_each(CHECKS, |(name, check)| {
        let findings = check(site, asking)?;
        Some(findings.into_iter().map(|finding| (*name, finding)).collect::<Vec<_>>())
    })?;
    Some(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_asked_before_anything_is_missing() {
        let mut known = |_: &crate::dns::Question| None;
        let mut asking = Asking::new(&mut known);
        let site = site::of_example();
        assert_eq!(examine(&site, &mut asking), None);
        let missing: Vec<String> = asking.missing().iter().map(ToString::to_string).collect();
        for question in [
            "A mx.example.org",
            "AAAA mx.example.org",
            "PTR 1.2.0.192.in-addr.arpa",
            "MX example.org",
            "TXT example.org",
            "TXT _dmarc.example.org",
            "TLSA _25._tcp.mx.example.org",
            "TXT _mta-sts.example.org",
        ] {
            assert!(missing.iter().any(|asked| asked == question), "{question}: {missing:?}");
        }
    }
}

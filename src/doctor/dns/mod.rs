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

use std::io;
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

/// That of findings about the host's name.
const HOST: &str = "host name";

/// Every check with its name in the report.
const CHECKS: &[(&str, Check)] = &[
    (HOST, host::check_addresses),
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
        findings.extend(compare(tree, config, ByHand::start(servers)));
    }
    findings
}

/// What all checks find by answers of the DNS; or that they cannot be run, which is one finding.
fn compare(tree: &Tree, config: &Config, dns: io::Result<ByHand>) -> Vec<(&'static str, Finding)> {
    let mut dns = match dns {
        Ok(dns) => dns,
        Err(error) => return vec![(SERVER, resolver::not_begun(&error))],
    };
    let Some(site) = Site::read(tree, config) else {
        return vec![(HOST, host::no_name(&config.hostname))];
    };
    let found = dns.run(Instant::now() + ANSWERS_WITHIN, |asking| examine(&site, asking));
    // No check gives none when all is answered, and at the deadline all is.
    found.unwrap_or_default()
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
    use super::super::tree::fake;
    use super::*;

    #[test]
    fn checks_that_cannot_be_run_are_one_finding() {
        let (tree, _directory) = fake::tree(&[]);
        let mut config = Config::embedded_default();
        let values = |config: &Config, dns| -> Vec<String> {
            compare(&tree, config, dns)
                .into_iter()
                .map(|(name, finding)| format!("{name}: {}", finding.value))
                .collect()
        };
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let told = values(&config, Err(error));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("DNS server: no lookup thread starts (Too many open files"), "{told:?}");
        config.hostname = "x".repeat(64);
        let told = values(&config, ByHand::that_asks_nobody());
        assert_eq!(told, [format!("host name: {} is no name of the DNS", config.hostname)]);
    }

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

//! What a name server has to say about the senders: a zone in the form of RFC 1035 §5.

use std::fmt::{self, Write as _};

use super::keys::Keys;
use super::kind::SignMix;
use super::policy::Policy;
use super::{domain, shares};

/// Above the domains: the zone, and the name that clients say in EHLO, whose mail server is everybody's.
const TOP: &str = "\
$ORIGIN test.
$TTL 3600
@ SOA ns.loadgen.test. hostmaster.loadgen.test. 1 3600 600 86400 60
@ NS ns.loadgen.test.
ns.loadgen A 127.0.0.1
loadgen A 198.18.0.25
loadgen MX 10 loadgen.test.
loadgen TXT \"v=spf1 ip4:127.0.0.0/8 ip4:198.18.0.0/15 ip6:::1 -all\"
";

/// Octets of one string of a TXT record (RFC 1035 §3.3.14).
const STRING_BYTES_MAX: usize = 255;

/// The zone of so many domains that sign in these ways, and below it, as a comment, what a receiver finds.
pub fn text(mix: &SignMix, domains: usize) -> String {
    let mut zone = format!("; loadgen zone --sign {mix} --sign-domains {domains}\n");
    // Writing to memory cannot fail.
    let _ = write(&mut zone, mix, domains);
    zone.push_str("; Of 100 messages:\n");
    for (check, results) in shares(mix, domains) {
        let parts: Vec<String> =
            results.iter().map(|(result, part)| format!("{result} {:.2}", 100.0 * part)).collect();
        let _ = writeln!(zone, "; {check}: {}", parts.join(", "));
    }
    zone
}

fn write(zone: &mut String, mix: &SignMix, domains: usize) -> fmt::Result {
    let keys = Keys::read();
    // Two ways may have one key.
    let mut selectors: Vec<(&str, String)> = Vec::new();
    for (kind, _) in &mix.0 {
        if let (Some((selector, _)), Some(record)) = (Keys::names(*kind), keys.record(*kind))
            && selectors.iter().all(|(other, _)| *other != selector)
        {
            selectors.push((selector, record));
        }
    }
    zone.push_str(TOP);
    for rank in 0..domains {
        let domain = domain(rank);
        // In the zone names are below its own.
        let name = domain.strip_suffix(".test").unwrap_or(&domain);
        let Policy { spf, dmarc } = Policy::of(rank);
        writeln!(zone, "{name} A 198.18.0.25\n{name} MX 10 loadgen.test.")?;
        if let Some(record) = spf.record() {
            write_txt(zone, name, record)?;
        }
        if let Some(policy) = dmarc {
            write_txt(zone, &format!("_dmarc.{name}"), &format!("v=DMARC1; p={policy}"))?;
        }
        for (selector, record) in &selectors {
            write_txt(zone, &format!("{selector}._domainkey.{name}"), record)?;
        }
    }
    Ok(())
}

/// A TXT record. The text has neither quotes nor backslashes.
fn write_txt(zone: &mut String, name: &str, mut text: &str) -> fmt::Result {
    write!(zone, "{name} TXT")?;
    while !text.is_empty() {
        let (string, rest) = text.split_at(text.len().min(STRING_BYTES_MAX));
        write!(zone, " \"{string}\"")?;
        text = rest;
    }
    writeln!(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_the_records_of_each_domain_in_short_strings() {
        let zone = text(&"rsa-2048,broken,ed25519,none".parse().expect("a mix"), 10);
        let of = |name: &str| -> Vec<&str> {
            let lines = zone.lines().filter(|line| line.split(' ').next() == Some(name));
            lines.map(|line| line.split_once(' ').expect("a record").1).collect()
        };
        assert_eq!(of("d00001")[..2], ["A 198.18.0.25", "MX 10 loadgen.test."]);
        assert!(of("d00001")[2].starts_with("TXT \"v=spf1 ip4:127.0.0.0/8 "));
        assert_eq!(of("d00009").len(), 2, "it has no SPF");
        assert_eq!(of("_dmarc.d00001"), ["TXT \"v=DMARC1; p=reject\""]);
        assert!(of("_dmarc.d00005").is_empty(), "it has no DMARC");
        assert_eq!(of("ed25519._domainkey.d00010").len(), 1);
        // The key of what is broken is that of what is good.
        let [record] = of("rsa-2048._domainkey.d00010")[..] else { panic!("one record") };
        let strings: Vec<&str> = record.split('"').skip(1).step_by(2).collect();
        assert_eq!((strings.len(), strings[0].len()), (2, 255));
        assert_eq!(
            strings.concat(),
            Keys::read().record(crate::senders::kind::Kind::Broken).expect("a record")
        );
        assert!(zone.lines().all(|line| !line.contains("rsa-1024")));
        let (last, begin) = (zone.lines().rev().take(3).collect::<Vec<_>>(), "; dkim: fail ");
        assert!(last[1..].iter().any(|line| line.starts_with(begin)), "{last:?}");
    }
}

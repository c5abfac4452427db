//! What we are by the configuration and the machine: the host's name and addresses, our domains, what we show
//! under TLS.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::tree::Tree;
use crate::config::Config;
use crate::dns::Name;
use crate::mail::domain::DomainPattern;
use crate::smtp::settings::TlsPolicy;
use crate::tls::tlsa::Chain;

/// Domains that are looked at: each has some questions.
const DOMAINS_MAX: usize = 8;

/// Addresses that are looked at.
const ADDRESSES_MAX: usize = 8;

/// Everything that the checks know of us.
#[derive(Debug)]
pub(super) struct Site {
    /// The host's name.
    pub(super) host: Name,
    /// The first of our domains.
    pub(super) domains: Vec<Name>,
    /// Where mail from other machines comes in: ports of listeners.
    pub(super) doors: Vec<Door>,
    /// Addresses of this machine that others can reach.
    pub(super) addresses: Vec<IpAddr>,
    /// What is shown to those who ask for the host. The error says why that is not known: a certificate that
    /// may be the one cannot be read.
    pub(super) shown: Result<Vec<Shown>, String>,
    /// The certificate is another one after each start.
    pub(super) is_self_signed: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// A port that mail comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Door {
    pub(super) port: u16,
    /// TLS is spoken there.
    pub(super) has_tls: bool,
}

/// A certificate and where it was read from.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) file: PathBuf,
    pub(super) chain: Chain,
}

impl Site {
    /// Reads the addresses of the machine, and the certificates. What is wrong with those `check` tells. None
    /// where the host's name is none of the DNS.
    pub(super) fn read(tree: &Tree, config: &Config) -> Option<Self> {
        let host = config.hostname.to_ascii_lowercase();
        let exact = config.domains.iter().filter_map(|domain| match domain {
            DomainPattern::Exact(domain) => Some(domain),
            DomainPattern::Below(_) => None,
        });
        let takes_mail =
            |domain: &&String| !config.domains_without_mail.iter().any(|other| other.matches(domain));
        let domains = exact.filter(takes_mail).filter_map(|domain| Name::new(domain.as_bytes()));
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(Self {
            domains: domains.take(DOMAINS_MAX).collect(),
            doors: doors(config),
            addresses: addresses(tree, config),
            shown: shown(config, &host),
            is_self_signed: config.tls.self_signed,
            now: since_1970.map_or(0, |time| time.as_secs()),
            host: Name::new(host.as_bytes())?,
        })
    }
}

/// Ports, in rising order; one where some listener speaks TLS speaks it.
fn doors(config: &Config) -> Vec<Door> {
    let mut doors: Vec<Door> = Vec::new();
    for listener in config.listeners.iter().filter(|listener| listener.is_reached_by_others()) {
        let has_tls = listener.tls != TlsPolicy::Off && config.tls.is_possible();
        let port = listener.address.port();
        match doors.iter_mut().find(|door| door.port == port) {
            Some(door) => door.has_tls |= has_tls,
            // The kernel chooses a port in place of 0, and nobody can say which.
            None if port != 0 => doors.push(Door { port, has_tls }),
            None => {}
        }
    }
    doors.sort_unstable();
    doors
}

/// Those that listeners name, or else all of the machine that are known everywhere.
fn addresses(tree: &Tree, config: &Config) -> Vec<IpAddr> {
    let named = config.listeners.iter().map(|listener| listener.address.ip().to_canonical());
    let named: Vec<IpAddr> = named.filter(|address| is_public(*address)).collect();
    let mut addresses = if named.is_empty() { of_machine(tree) } else { named };
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// Addresses of the machine, as the kernel tells them.
fn of_machine(tree: &Tree) -> Vec<IpAddr> {
    let v4 = tree.text("proc/net/fib_trie").unwrap_or_default();
    let v6 = tree.text("proc/net/if_inet6").unwrap_or_default();
    v4_of_trie(&v4)
        .into_iter()
        .chain(v6.lines().filter_map(v6_of_line))
        .filter(|one| is_public(*one))
        .collect()
}

/// `|-- 192.0.2.1`, and in the next line `/32 host LOCAL`.
fn v4_of_trie(text: &str) -> Vec<IpAddr> {
    let pairs = text.lines().zip(text.lines().skip(1));
    let local = pairs.filter(|(_, next)| next.trim() == "/32 host LOCAL");
    local.filter_map(|(line, _)| line.trim().strip_prefix("|-- ")?.parse().ok()).collect()
}

/// Address, interface, length of the prefix, scope, flags, name.
fn v6_of_line(line: &str) -> Option<IpAddr> {
    /// Temporary (RFC 8981) and deprecated ones: nobody has a name for them.
    const PASSING: u32 = 0x01 | 0x20;
    let mut columns = line.split_whitespace();
    let address = u128::from_str_radix(columns.next()?, 16).ok()?;
    let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
    (flags & PASSING == 0).then(|| Ipv6Addr::from_bits(address).into())
}

/// Not for this machine or its network alone.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // Networks of providers (RFC 6598).
            let is_shared = first == 100 && (64..128).contains(&second);
            !address.is_loopback()
                && !address.is_private()
                && !address.is_link_local()
                && !address.is_unspecified()
                && !is_shared
        }
        IpAddr::V6(address) => {
            !address.is_loopback()
                && !address.is_unspecified()
                && !address.is_unique_local()
                && !address.is_unicast_link_local()
        }
    }
}

/// Certificates for the host, or the default one: what a client is shown that asks for the host. Where no
/// certificate is known to be for it, one that cannot be read may be.
fn shown(config: &Config, host: &str) -> Result<Vec<Shown>, String> {
    let read = |file: &PathBuf| match Chain::read(file) {
        Ok(chain) => Ok(Shown { chain, file: file.clone() }),
        Err(error) => Err(format!("{}: {error}", file.display())),
    };
    let all: Vec<_> = config.tls.certificates.iter().map(|files| read(&files.chain)).collect();
    let is_for_host = |read: &Result<Shown, String>| read.as_ref().is_ok_and(|one| one.chain.is_for(host));
    if all.iter().any(is_for_host) {
        all.into_iter().filter(is_for_host).collect()
    } else {
        let all: Vec<Shown> = all.into_iter().collect::<Result<_, _>>()?;
        Ok(all.into_iter().take(1).collect())
    }
}

#[cfg(test)]
pub(super) fn of_example() -> Site {
    let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
    Site {
        host: name("mx.example.org"),
        domains: vec![name("example.org")],
        doors: vec![Door { port: 25, has_tls: true }],
        addresses: vec!["192.0.2.1".parse().expect("an address")],
        shown: Ok(Vec::new()),
        is_self_signed: false,
        now: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::fake;
    use super::*;

    #[test]
    fn addresses_that_others_can_reach_are_found() {
        let (tree, _directory) = fake::tree(&[
            (
                "proc/net/fib_trie",
                "Main:\n  +-- 0.0.0.0/0 3 0 5\n        |-- 127.0.0.1\n           /32 host LOCAL\n     |-- 192.0.2.0\n\
                 \x20          /24 link UNICAST\n           |-- 192.0.2.7\n              /32 host LOCAL\n\
                 \x20          |-- 10.0.0.1\n              /32 host LOCAL\n",
            ),
            (
                "proc/net/if_inet6",
                "20010db8000000000000000000000007 04 40 00 80     eth0\n\
                 20010db8000000000000000000000008 04 40 00 01     eth0\n\
                 fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
                 00000000000000000000000000000001 01 80 10 80       lo\n",
            ),
        ]);
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(of_machine(&tree), [of("192.0.2.7"), of("2001:db8::7")]);
        let mut config = Config::embedded_default();
        config.listeners[0].address = "[::]:25".parse().expect("an address");
        assert_eq!(addresses(&tree, &config), [of("192.0.2.7"), of("2001:db8::7")]);
        config.listeners[0].address = "192.0.2.9:25".parse().expect("an address");
        assert_eq!(addresses(&tree, &config), [of("192.0.2.9")]);
        config.tls.self_signed = false;
        assert_eq!(doors(&config), [Door { port: 25, has_tls: false }]);
        config.tls.self_signed = true;
        assert_eq!(doors(&config), [Door { port: 25, has_tls: true }]);
        let (empty, _directory) = fake::tree(&[]);
        assert_eq!(of_machine(&empty), [] as [IpAddr; 0]);
    }
}

//! Who may connect to the administration, and under which name it may be asked.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Admin, AdminAddress};
use crate::mail::network::Network;

/// Who is let in.
#[derive(Debug, Clone)]
pub struct Access {
    allow: Vec<Network>,
    /// Only programs of this machine can connect.
    is_local: bool,
    /// No browser can connect, so no name has to be doubted.
    is_unix: bool,
}

impl Access {
    /// As configured, where this is where it listens.
    pub fn new(config: &Admin) -> Self {
        let (is_local, is_unix) = match &config.address {
            AdminAddress::Tcp(address) => (address.ip().to_canonical().is_loopback(), false),
            AdminAddress::Unix(_) => (true, true),
        };
        Self { allow: config.allow.clone(), is_local, is_unix }
    }

    /// Whether the program at this address may connect; none is one of this machine, over the Unix socket.
    pub fn lets_in(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| {
            address.to_canonical().is_loopback() || self.allow.iter().any(|network| network.contains(address))
        })
    }

    /// Whether a host that was asked for, with or without a port, may be answered.
    ///
    /// A page that a browser of this machine has loaded from a stranger may have the stranger's name resolve
    /// to 127.0.0.1 from then on, and read what is told here as if it were its own (DNS rebinding). The name
    /// betrays it. An address or `localhost` cannot be made to resolve to anything else. Where other machines
    /// may connect, monitoring uses names that are not known here, and any is taken.
    pub fn takes_host(&self, host: &str) -> bool {
        !self.is_local || self.is_unix || is_address(host) || is_localhost(name_of(host))
    }
}

/// Whether a host is an IP address, with or without a port.
fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.parse::<SocketAddr>().is_ok() || bare.unwrap_or(host).parse::<IpAddr>().is_ok()
}

/// A host without its port and the dot at its end.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// `localhost` and what is below it (RFC 6761 §6.3): browsers ask no server for them.
fn is_localhost(name: &str) -> bool {
    let tail = name.len().checked_sub("localhost".len()).and_then(|at| name.split_at_checked(at));
    tail.is_some_and(|(before, tail)| {
        tail.eq_ignore_ascii_case("localhost") && (before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(address: &str, allow: &[&str]) -> Access {
        let address = match address.strip_prefix("unix:") {
            Some(path) => AdminAddress::Unix(path.into()),
            None => AdminAddress::Tcp(address.parse().expect("an address")),
        };
        let allow = allow.iter().map(|text| Network::parse(text).expect("a network")).collect();
        Access::new(&Admin { table: "admin", address, allow })
    }

    #[test]
    fn names_that_a_stranger_can_point_at_loopback_are_refused_there() {
        for address in ["127.0.0.1:9725", "[::1]:9725", "127.1.2.3:1"] {
            let access = access(address, &[]);
            for good in [
                "127.0.0.1",
                "127.0.0.1:9725",
                "localhost",
                "LocalHost:1",
                "localhost.",
                "a.localhost:9725",
                "[::1]",
                "[::1]:9725",
                "192.0.2.1:80",
            ] {
                assert!(access.takes_host(good), "{address} {good}");
            }
            for bad in [
                "",
                "evil.example",
                "evil.example:9725",
                "localhost.evil.example",
                "evillocalhost",
                "127.0.0.1.evil.example:9725",
                "localhost:evil",
                "évil.localhost.x",
                ":9725",
                "user@localhost.example",
            ] {
                assert!(!access.takes_host(bad), "{address} {bad}");
            }
        }
        assert!(access("unix:/a", &[]).takes_host("anything"));
        assert!(access("192.0.2.1:9725", &["192.0.2.0/24"]).takes_host("mx1.example.org:9725"));
    }

    #[test]
    fn who_connects_is_of_this_machine_or_of_a_network_that_is_named() {
        let access = access("[::]:9725", &["10.0.0.0/8", "2001:db8::/32"]);
        for good in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "::ffff:127.0.0.1",
            "2001:db8::5",
        ] {
            assert!(access.lets_in(Some(good.parse().expect("an address"))), "{good}");
        }
        for bad in ["192.0.2.1", "11.0.0.1", "::ffff:192.0.2.1", "2001:db9::1"] {
            assert!(!access.lets_in(Some(bad.parse().expect("an address"))), "{bad}");
        }
        assert!(access.lets_in(None));
    }
}

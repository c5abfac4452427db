//! Networks of IP addresses as an operator writes them: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A network. IPv4 addresses are compared as IPv4 also where they come as `::ffff:0:0/96`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its first address, with no bit set after the prefix.
    first: IpAddr,
    /// `<= 32` for IPv4, `<= 128` for IPv6.
    prefix_bits: u32,
}

impl Network {
    /// Reads a network. The error is for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("{text:?} is not a network, such as \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.1\"")
        })?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits,
            Some(prefix) => {
                let digits = prefix.bytes().all(|octet| octet.is_ascii_digit());
                let parsed = prefix.parse().ok().filter(|prefix| digits && *prefix <= bits);
                parsed.ok_or_else(|| format!("{text:?}: behind the / stands a number from 0 to {bits}"))?
            }
        };
        let (address, prefix_bits) = match address.to_canonical() {
            IpAddr::V4(mapped) if bits == 128 && prefix_bits >= 96 => (IpAddr::V4(mapped), prefix_bits - 96),
            IpAddr::V4(_) | IpAddr::V6(_) => (address, prefix_bits),
        };
        let first = masked(address, prefix_bits);
        if first != address {
            return Err(format!(
                "{text:?} has bits set behind its prefix; the network is {first}/{prefix_bits}"
            ));
        }
        Ok(Self { first, prefix_bits })
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.prefix_bits) == self.first
    }

    /// Its first and its last address.
    pub fn range(&self) -> (IpAddr, IpAddr) {
        let last = match self.first {
            IpAddr::V4(first) => {
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | !mask_v4(self.prefix_bits)))
            }
            IpAddr::V6(first) => {
                IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | !mask_v6(self.prefix_bits)))
            }
        };
        (self.first, last)
    }

    /// Whether an address is in both. Networks are nested or apart.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Whether it is so wide that strangers are in it: no organisation has an IPv4 network wider than /8, and
    /// no IPv6 network wider than /16 but the one for private use, fc00::/7 (RFC 4193).
    pub fn holds_strangers(&self) -> bool {
        match self.first {
            IpAddr::V4(_) => self.prefix_bits < 8,
            IpAddr::V6(first) => {
                let is_private = self.prefix_bits >= 7 && first.segments()[0] & 0xfe00 == 0xfc00;
                self.prefix_bits < 16 && !is_private
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

/// An address in its one spelling: an IPv4 address is one also where it is written as IPv6,
/// `::ffff:192.0.2.1`. So come clients over IPv4 to an IPv6 socket, and so some fronts name them.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// The address without the bits after the prefix.
fn masked(address: IpAddr, prefix_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask_v4(prefix_bits))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(prefix_bits))),
    }
}

fn mask_v4(prefix_bits: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix_bits.min(32)).unwrap_or(0)
}

fn mask_v6(prefix_bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix_bits.min(128)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).expect("a network").contains(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_in_its_network_and_in_no_other() {
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "198.51.100.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1") && !contains("2001:db8::/32", "2001:db9::"));
        assert!(contains("::/0", "2001:db8::1") && contains("::1", "::1"));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(!contains("::/0", "::ffff:10.1.2.3"), "an IPv4 client is not an IPv6 one");
    }

    #[test]
    fn networks_that_share_an_address_overlap() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.1.2.0/24", "10.0.0.0/8", true),
            ("::ffff:10.0.0.0/104", "10.1.0.0/16", true),
            ("2001:db8::/32", "2001:db8:1::/48", true),
            ("::/0", "2001:db8::1", true),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("10.1.0.0/17", "10.1.128.0/17", false),
            ("0.0.0.0/0", "::/0", false),
            ("2001:db8::1", "2001:db8::2", false),
        ] {
            let network = |text| Network::parse(text).expect("a network");
            assert_eq!(network(one).overlaps(&network(other)), expected, "{one} {other}");
            assert_eq!(network(other).overlaps(&network(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn networks_with_strangers_in_them_are_known() {
        for (text, expected) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("::ffff:0.0.0.0/96", true),
            ("128.0.0.0/1", true),
            ("2000::/3", true),
            ("10.0.0.0/8", false),
            ("fc00::/7", false),
            ("fd00::/8", false),
            ("2001:db8::/32", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(Network::parse(text).expect("a network").holds_strangers(), expected, "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_has_one_spelling() {
        let spelled = |text: &str| canonical(text.parse().expect("an address")).to_string();
        assert_eq!(spelled("[::ffff:192.0.2.1]:25"), "192.0.2.1:25");
        assert_eq!(spelled("192.0.2.1:25"), "192.0.2.1:25");
        assert_eq!(spelled("[::ffff:0.0.0.0]:25"), "0.0.0.0:25");
        for ipv6 in ["[::]:25", "[::1]:25", "[2001:db8::1]:0", "[fe80::1%2]:25", "[::192.0.2.1]:25"] {
            assert_eq!(canonical(ipv6.parse().expect("an address")), ipv6.parse().expect("an address"));
        }
    }

    #[test]
    fn bad_networks_are_explained() {
        for (text, why) in [
            ("10.0.0.0/33", "\"10.0.0.0/33\": behind the / stands a number from 0 to 32"),
            ("10.0.0.1/8", "\"10.0.0.1/8\" has bits set behind its prefix; the network is 10.0.0.0/8"),
            ("::1/+8", "\"::1/+8\": behind the / stands a number from 0 to 128"),
        ] {
            assert_eq!(Network::parse(text), Err(why.to_owned()));
        }
        assert!(Network::parse("localhost").is_err() && Network::parse("").is_err());
    }
}

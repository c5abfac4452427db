//! Networks to draw addresses from in turn: those that connections come from, or say they come from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address and no network such as 127.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(net, bits)| (net, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
        Ok(Self { first, prefix: prefix.ok_or_else(wrong)? })
    }
}

impl Network {
    /// The address of this number, modulo those that there are. The first and the last of an IPv4 network are
    /// left out where there are others.
    pub fn address(&self, number: u64) -> IpAddr {
        let bits = if self.first.is_ipv4() { 32 } else { 128 } - self.prefix;
        // More than 2^48 addresses count as 2^48.
        let count = 1_u64 << bits.min(48);
        let number = if count > 2 { 1 + number % (count - 2) } else { number % count };
        match self.first {
            IpAddr::V4(first) => {
                let network = u64::from(u32::from(first)) >> bits << bits;
                let whole = u32::try_from(network + number).unwrap_or(u32::MAX);
                IpAddr::V4(Ipv4Addr::from(whole))
            }
            IpAddr::V6(first) => {
                let network = u128::from(first).checked_shr(bits).unwrap_or(0).checked_shl(bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(network + u128::from(number)))
            }
        }
    }

    /// Whether all of it is this machine.
    pub fn is_loopback(&self) -> bool {
        self.first.is_loopback() && self.prefix >= if self.first.is_ipv4() { 8 } else { 128 }
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn addresses_are_those_of_the_network_in_turn() {
        let slash_30 = network("127.0.0.4/30");
        let addresses: Vec<String> = (0..3).map(|number| slash_30.address(number).to_string()).collect();
        assert_eq!(addresses, ["127.0.0.5", "127.0.0.6", "127.0.0.5"]);
        assert_eq!(network("127.0.0.9").address(5).to_string(), "127.0.0.9");
        assert_eq!(network("2001:db8::/32").address(0).to_string(), "2001:db8::1");
        assert_eq!(network("::/0").address(0).to_string(), "::1");
        assert_eq!(network("127.64.0.0/10").to_string(), "127.64.0.0/10");
        assert!(network("127.0.0.0/8").is_loopback() && !network("127.0.0.0/7").is_loopback());
        for wrong in ["", "x", "127.0.0.1/33", "127.0.0.1/-1", "127.0.0.1/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}

//! Many networks, of which any may hold an address: a hundred thousand of them are looked through in some
//! seventeen steps.

use std::net::IpAddr;

use crate::mail::network::Network;

/// A set of networks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Networks {
    /// All of these.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network.range() {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                    unreachable!("a network is of one family")
                }
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.firsts.is_empty() && self.v6.firsts.is_empty()
    }

    /// Whether one of them holds this address. An IPv4 address is one also where it is written as IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// Whether it holds all addresses of another set. False where only neighbours of it together do.
    pub fn holds_all(&self, others: &Self) -> bool {
        self.v4.holds_all(&others.v4) && self.v6.holds_all(&others.v6)
    }

    /// Octets that it takes.
    pub fn bytes(&self) -> usize {
        2 * (size_of_val(&*self.v4.firsts) + size_of_val(&*self.v6.firsts))
    }
}

/// Ranges in ascending order that do not meet. First and last addresses lie apart, because a search reads
/// only first ones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Ranges<T> {
    firsts: Box<[T]>,
    /// As many as `firsts`.
    lasts: Box<[T]>,
}

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let (mut firsts, mut lasts) = (Vec::new(), Vec::<T>::new());
        for (first, last) in ranges {
            match lasts.last_mut() {
                Some(before) if first <= *before => *before = last.max(*before),
                Some(_) | None => {
                    firsts.push(first);
                    lasts.push(last);
                }
            }
        }
        Self { firsts: firsts.into(), lasts: lasts.into() }
    }

    fn contains(&self, address: T) -> bool {
        let after = self.firsts.partition_point(|first| *first <= address);
        after.checked_sub(1).and_then(|index| self.lasts.get(index)).is_some_and(|last| address <= *last)
    }

    fn holds_all(&self, others: &Self) -> bool {
        let holds = |first: &T, last: &T| {
            let after = self.firsts.partition_point(|before| before <= first);
            after.checked_sub(1).and_then(|index| self.lasts.get(index)).is_some_and(|end| last <= end)
        };
        others.firsts.iter().zip(&others.lasts).all(|(first, last)| holds(first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).expect("a network")
    }

    #[test]
    fn a_set_holds_another_one_whose_networks_are_all_in_its_own() {
        let set = |texts: &[&str]| Networks::new(texts.iter().map(|text| network(text)));
        let wide = set(&["10.0.0.0/8", "2001:db8::/32"]);
        for (others, held) in [
            (&["10.1.0.0/16", "10.0.0.0/8", "2001:db8:1::1"][..], true),
            (&["::ffff:10.0.0.1"], true),
            (&[], true),
            (&["10.255.255.255", "11.0.0.0"], false),
            (&["0.0.0.0/0"], false),
            (&["2001:db8::/31"], false),
        ] {
            assert_eq!(wide.holds_all(&set(others)), held, "{others:?}");
        }
        assert!(!set(&[]).holds_all(&wide));
    }

    #[test]
    fn a_set_holds_what_one_of_its_networks_holds() {
        let all = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.0/25",
            "192.0.2.128/25",
            "198.51.100.7",
            "255.255.255.255",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "::ffff:203.0.113.0/120",
            "fe80::1",
        ]
        .map(network);
        let set = Networks::new(all);
        for address in [
            "9.255.255.255",
            "10.0.0.0",
            "10.1.2.3",
            "10.255.255.255",
            "11.0.0.0",
            "192.0.2.127",
            "192.0.2.255",
            "192.0.3.0",
            "198.51.100.6",
            "198.51.100.7",
            "198.51.100.8",
            "255.255.255.255",
            "0.0.0.0",
            "203.0.113.9",
            "::ffff:10.0.0.1",
            "2001:db7:ffff::",
            "2001:db8::",
            "2001:db8:1::1",
            "2001:db9::",
            "fe80::1",
            "fe80::2",
            "::",
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(set.contains(address), all.iter().any(|one| one.contains(address)), "{address}");
        }
        assert!(Networks::new([]).is_empty() && !set.is_empty());
        assert!(Networks::new([network("0.0.0.0/0")]).contains("203.0.113.1".parse().expect("an address")));
    }
}

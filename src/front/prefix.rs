//! The networks that a client stands for: its own, and two wider ones that share what it may have.
//!
//! Whoever has one IPv6 address has a /64 of them, and many have a /48; providers give /24 networks to one
//! customer. So each client is counted three times, and a wider network may have a few times as much as one
//! client. Postfix counts IPv6 clients by /84 and has no wider network, so that one customer is 2^36 clients.

use std::net::IpAddr;

/// How many times of one client's share each of its networks may have, from the narrowest to the widest.
pub const SHARES: [u32; TIERS] = [1, 3, 9];

/// Networks that a client is counted in.
pub const TIERS: usize = 3;

/// Lengths of the prefixes, from the narrowest network to the widest.
const V4_BITS: [u32; TIERS] = [32, 24, 20];
const V6_BITS: [u32; TIERS] = [64, 56, 48];

/// A network in one number: the family, the length of the prefix and its bits. No two networks have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) bits: u64,
    pub(super) kind: u8,
}

/// The networks of a client, from the narrowest to the widest; none for a loopback address, which is exempt
/// from every count.
pub(super) fn of(address: IpAddr) -> Option<[Prefix; TIERS]> {
    let address = address.to_canonical();
    if address.is_loopback() {
        return None;
    }
    Some(match address {
        IpAddr::V4(address) => V4_BITS.map(|length| {
            let mask = u32::MAX << (32 - length);
            Prefix { bits: u64::from(address.to_bits() & mask), kind: kind(4, length) }
        }),
        IpAddr::V6(address) => V6_BITS.map(|length| {
            let upper = u64::try_from(address.to_bits() >> 64).unwrap_or_default();
            Prefix { bits: upper & (u64::MAX << (64 - length)), kind: kind(6, length) }
        }),
    })
}

/// Family and length in one octet: lengths are at most 64.
fn kind(family: u8, length: u32) -> u8 {
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    if family == 6 { length | 0x80 } else { length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(text: &str) -> Option<[Prefix; TIERS]> {
        of(text.parse().expect("an address"))
    }

    #[test]
    fn neighbours_share_their_wider_networks() {
        let shared = |one: &str, other: &str| {
            let (one, other) = (prefixes(one).expect("counted"), prefixes(other).expect("counted"));
            std::array::from_fn::<bool, TIERS, _>(|tier| one[tier] == other[tier])
        };
        assert_eq!(shared("192.0.2.1", "::ffff:192.0.2.1"), [true; TIERS]);
        assert_eq!(shared("192.0.2.1", "192.0.2.2"), [false, true, true]);
        assert_eq!(shared("192.0.2.1", "192.0.3.1"), [false, false, true]);
        assert_eq!(shared("192.0.2.1", "192.1.2.1"), [false; TIERS]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:2:ffff::"), [true; TIERS]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:3::1"), [false, true, true]);
        assert_eq!(shared("2001:db8:1:2::1", "2001:db8:1:102::1"), [false, false, true]);
        assert_eq!(shared("2001:db8:1::1", "2001:db8:2::1"), [false; TIERS]);
    }

    #[test]
    fn no_two_networks_are_the_same_number() {
        let all = ["0.0.0.0", "::", "10.0.0.0"].map(|text| prefixes(text).expect("counted"));
        let all: Vec<Prefix> = all.into_iter().flatten().collect();
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| one != other), "{one:?}");
        }
    }

    #[test]
    fn loopback_is_exempt() {
        for text in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(prefixes(text), None);
        }
    }
}

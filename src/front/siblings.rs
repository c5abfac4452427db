//! Neighbours in a /64, who are one client: lists are asked about one of them, and what they say holds for
//! the others for a while. Whoever has a /64 cannot make a question of each of its 2^64 addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How long a client stands for its /64.
const STANDS_FOR: Duration = Duration::from_mins(1);

/// Networks that are remembered; when there are more, all are forgotten.
const NETWORKS_MAX: usize = 16 * 1024;

/// Octets that the table takes at most.
pub const BYTES_MAX: usize = 2 * NETWORKS_MAX * (size_of::<(u64, (Ipv6Addr, Instant))>() + 1);

/// One shard's.
#[derive(Debug, Default)]
pub struct Siblings {
    /// By the upper half of the address. `len <= NETWORKS_MAX`
    first: HashMap<u64, (Ipv6Addr, Instant)>,
}

impl Siblings {
    /// Whom to ask lists about for this client: the first of its /64 that came lately.
    pub fn stand_in(&mut self, client: IpAddr, now: Instant) -> IpAddr {
        let IpAddr::V6(address) = client.to_canonical() else { return client };
        let network = u64::try_from(address.to_bits() >> 64).unwrap_or_default();
        match self.first.get(&network) {
            Some((first, since)) if now.saturating_duration_since(*since) < STANDS_FOR => (*first).into(),
            Some(_) | None => {
                if self.first.len() >= NETWORKS_MAX {
                    self.first.clear();
                }
                self.first.insert(network, (address, now));
                client
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_64_stands_for_its_neighbours_for_a_minute() {
        let (mut siblings, now) = (Siblings::default(), Instant::now());
        let mut stand_in = |client: &str, after: u64| {
            let client = client.parse().expect("an address");
            siblings.stand_in(client, now + Duration::from_secs(after)).to_string()
        };
        assert_eq!(stand_in("2001:db8::1", 0), "2001:db8::1");
        assert_eq!(stand_in("2001:db8::2", 59), "2001:db8::1");
        assert_eq!(stand_in("2001:db8:0:1::2", 59), "2001:db8:0:1::2", "another network");
        assert_eq!(stand_in("2001:db8::3", 60), "2001:db8::3");
        assert_eq!(stand_in("192.0.2.1", 60), "192.0.2.1");
        assert_eq!(stand_in("192.0.2.2", 60), "192.0.2.2", "an IPv4 address is a client of its own");
    }

    #[test]
    fn networks_that_are_remembered_are_bounded() {
        let (mut siblings, now) = (Siblings::default(), Instant::now());
        for network in 0..=NETWORKS_MAX as u128 {
            let address = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | network << 64);
            siblings.stand_in(address.into(), now);
            assert!(siblings.first.len() <= NETWORKS_MAX);
        }
    }
}

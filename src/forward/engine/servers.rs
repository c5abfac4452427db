//! What is remembered of the servers of domains that go by their MX, and the connections that go on with the
//! next one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::hand::PLAIN_FOR;
use crate::forward::schedule::{ConnectionId, DestinationId};
use crate::forward::sought::Exchanger;

/// A server that failed comes after all others of its domain for so long (RFC 5321 §4.5.4.1).
const FAILED_FOR: Duration = Duration::from_mins(5);

/// Servers of which the same is remembered.
const REMEMBERED_MAX: usize = 4096;

/// By address.
#[derive(Default)]
pub(super) struct Servers {
    failed_until: HashMap<IpAddr, Instant>,
    /// Their TLS does not work: nothing of it is said to them.
    plain_until: HashMap<IpAddr, Instant>,
    /// Connections that go on once what happens now is over: the slot of the one before may be used again.
    pub(super) next: VecDeque<Next>,
}

/// A connection that goes on with this server.
pub(super) struct Next {
    pub(super) id: ConnectionId,
    /// The destination, and which of its hosts.
    pub(super) place: (DestinationId, usize),
    pub(super) exchanger: Exchanger,
    pub(super) others: VecDeque<Exchanger>,
    pub(super) opened_at: Instant,
    /// Nothing is said of TLS.
    pub(super) is_plain: bool,
}

impl Servers {
    /// Those that did not fail lately, then the others.
    pub(super) fn in_order(&self, all: Vec<Exchanger>, now: Instant) -> VecDeque<Exchanger> {
        let is_well = |one: &Exchanger| !holds(&self.failed_until, one.address, now);
        let (well, failed): (Vec<_>, Vec<_>) = all.into_iter().partition(is_well);
        well.into_iter().chain(failed).collect()
    }

    /// No session began there, or a message had no answer.
    pub(super) fn note_failed(&mut self, address: IpAddr, now: Instant) {
        remember(&mut self.failed_until, address, now + FAILED_FOR, now);
    }

    /// Its TLS does not work.
    pub(super) fn note_plain(&mut self, address: IpAddr, now: Instant) {
        remember(&mut self.plain_until, address, now + PLAIN_FOR, now);
    }

    /// Whether nothing is said of TLS there.
    pub(super) fn is_plain(&self, address: IpAddr, now: Instant) -> bool {
        holds(&self.plain_until, address, now)
    }
}

fn holds(all: &HashMap<IpAddr, Instant>, address: IpAddr, now: Instant) -> bool {
    all.get(&address).is_some_and(|until| now < *until)
}

fn remember(all: &mut HashMap<IpAddr, Instant>, address: IpAddr, until: Instant, now: Instant) {
    if all.len() >= REMEMBERED_MAX {
        all.retain(|_, until| now < *until);
    }
    if all.len() < REMEMBERED_MAX || all.contains_key(&address) {
        all.insert(address, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(number))
    }

    #[test]
    fn who_failed_comes_last_for_a_while() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let all = |numbers: &[u32]| -> Vec<Exchanger> {
            let one = |number: &u32| Exchanger {
                name: "mx.test".into(),
                address: address(*number),
                preference: 10,
            };
            numbers.iter().map(one).collect()
        };
        servers.note_failed(address(1), now);
        servers.note_failed(address(3), now);
        assert_eq!(servers.in_order(all(&[1, 2, 3, 4]), now), all(&[2, 4, 1, 3]));
        assert_eq!(servers.in_order(all(&[3, 1]), now), all(&[3, 1]));
        assert_eq!(servers.in_order(all(&[1, 2, 3, 4]), now + FAILED_FOR), all(&[1, 2, 3, 4]));
        assert!(!servers.is_plain(address(1), now));
        servers.note_plain(address(1), now);
        assert!(servers.is_plain(address(1), now) && !servers.is_plain(address(1), now + PLAIN_FOR));
    }

    #[test]
    fn no_more_is_remembered_than_there_may_be() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        for number in 0..2 * 4096 {
            servers.note_failed(address(number), now);
        }
        assert_eq!(servers.failed_until.len(), REMEMBERED_MAX);
        servers.note_failed(address(9999), now + FAILED_FOR);
        assert_eq!(servers.failed_until.len(), 1);
    }
}

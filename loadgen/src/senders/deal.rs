//! Who sends which message: a few senders stand for each domain, and messages are dealt out among them. The
//! deal is divided and not drawn, so that every run has the same shares.
//!
//! Domains come as often as Zipf's law has it: the second half as often as the first, the third a third as
//! often, and so on.

use super::kind::{Kind, SignMix};

/// Senders of a run, more or less, besides one for each domain. Each is signed for, so they cost time at the
/// start.
const SENDERS: f64 = 256.0;

/// Messages of a deal, at least.
const DEAL_MIN: usize = 4096;

/// One of those who send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The rank of its domain, from 0.
    pub rank: usize,
    /// How it signs.
    pub kind: Kind,
    /// Its number among the senders of its domain.
    pub number: usize,
}

/// The senders, and whose message is whose.
#[derive(Debug)]
pub struct Deal {
    /// Those who send, by domain.
    pub seats: Vec<Seat>,
    /// The sender of each message of a deal, as an index of `seats`. Never empty.
    pub order: Vec<u32>,
}

impl Deal {
    /// Of so many domains, at least one. The seed decides about the order of the messages, and about nothing
    /// else.
    pub fn new(mix: &SignMix, domains: usize, seed: u64) -> Self {
        let sum: f64 = (1..=domains).map(|rank| 1.0 / rank as f64).sum();
        let share = |rank: usize| 1.0 / (rank as f64 + 1.0) / sum;
        let seats = seats(mix, domains, share);
        // The last domain has two messages or more.
        let rarest = (2.0 / share(domains - 1)).ceil();
        let count = at_most_usize(rarest).max(DEAL_MIN).next_power_of_two();
        let mut order = Vec::with_capacity(count);
        let (mut first, mut until) = (0, 0.0);
        for rank in 0..domains {
            until += share(rank) * count as f64;
            let own = seats[first..].iter().take_while(|seat| seat.rank == rank).count();
            let end = if rank + 1 == domains { count } else { at_most_usize(until.round()) };
            let begin = order.len();
            order.extend((begin..end).map(|at| u32::try_from(first + (at - begin) % own).unwrap_or(0)));
            first += own;
        }
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        Self { seats, order }
    }

    /// The sender of a message, as an index of `seats`.
    pub fn seat_of(&self, number: u64) -> usize {
        let at = usize::try_from(number % self.order.len() as u64).unwrap_or(0);
        self.order[at] as usize
    }
}

/// The senders of each domain, more of them for the frequent ones. The kind of each is the one that is most
/// behind its share of the mail so far.
fn seats(mix: &SignMix, domains: usize, share: impl Fn(usize) -> f64) -> Vec<Seat> {
    let mut seats = Vec::new();
    let mut mail = vec![0.0; mix.0.len()];
    for rank in 0..domains {
        let count = at_most_usize((share(rank) * SENDERS).round()).max(1);
        for number in 0..count {
            let behind = |index: &usize| mail[*index] / f64::from(mix.0[*index].1);
            let next = (0..mail.len()).min_by(|one, two| behind(one).total_cmp(&behind(two))).unwrap_or(0);
            mail[next] += share(rank) / count as f64;
            seats.push(Seat { rank, kind: mix.0[next].0, number });
        }
    }
    seats
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number, from 0")]
fn at_most_usize(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const MIX: &str = "rsa-2048:60,ed25519:20,broken:10,none:10";

    fn deal(domains: usize) -> Deal {
        Deal::new(&MIX.parse().expect("a mix"), domains, 1)
    }

    fn part(deal: &Deal, is_counted: impl Fn(&Seat) -> bool) -> f64 {
        let count = deal.order.iter().filter(|index| is_counted(&deal.seats[**index as usize])).count();
        count as f64 / deal.order.len() as f64
    }

    #[test]
    fn kinds_and_domains_have_their_shares() {
        for domains in [1, 2, 10, 1000, 10_000] {
            let deal = deal(domains);
            for (kind, share) in
                [(Kind::Rsa2048, 0.6), (Kind::Ed25519, 0.2), (Kind::Broken, 0.1), (Kind::Unsigned, 0.1)]
            {
                let part = part(&deal, |seat| seat.kind == kind);
                assert!((part - share).abs() < 0.005, "{domains} domains, {kind:?}: {part}");
            }
            let first = part(&deal, |seat| seat.rank == 0);
            for rank in [1, 9, domains - 1].into_iter().filter(|rank| *rank < domains) {
                let ratio = first / part(&deal, |seat| seat.rank == rank);
                let expected = rank as f64 + 1.0;
                // The last ones have two messages of a deal, or three.
                assert!((0.6..1.6).contains(&(ratio / expected)), "{domains} domains, {rank}: {ratio}");
            }
        }
    }

    #[test]
    fn every_sender_has_mail_and_few_of_them_are_signed_for() {
        for (domains, most) in [(1, 256), (10, 262), (10_000, 10_150)] {
            let deal = deal(domains);
            assert!(deal.seats.len() <= most, "{}", deal.seats.len());
            let with_mail: HashSet<u32> = deal.order.iter().copied().collect();
            assert_eq!(with_mail.len(), deal.seats.len(), "{domains} domains");
        }
    }

    #[test]
    fn the_seed_decides_about_the_order_only() {
        let [one, other] = [1, 2].map(|seed| Deal::new(&MIX.parse().expect("a mix"), 100, seed));
        assert_eq!(one.seats, other.seats);
        assert_ne!(one.order, other.order);
        let sorted = |deal: &Deal| {
            let mut order = deal.order.clone();
            order.sort_unstable();
            order
        };
        assert_eq!(sorted(&one), sorted(&other));
    }
}

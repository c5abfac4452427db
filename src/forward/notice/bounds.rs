//! How many notices there may be: a sender whose mail fails again and again, or a next hop that refuses
//! everything, makes no flood of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Notices to one domain in an hour.
pub const OF_DOMAIN_MAX: u32 = 30;

/// Notices to all domains in an hour, which also bounds how many domains are counted.
pub const OF_ALL_MAX: u32 = 1000;

/// Of both this part at most tells of delays and successes: who asks for these keeps nobody from hearing of a
/// failure.
const OTHERS_PART: u32 = 2;

const HOUR: Duration = Duration::from_hours(1);

/// Whether there is room for a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It was counted.
    Yes,
    /// It is the first one of this hour that is withheld: this is to be told.
    FirstWithheld,
    /// It is withheld, and counted.
    No,
}

/// Counts notices by the hour.
#[derive(Debug, Default)]
pub struct Bounds {
    /// When the hour began; none before the first notice.
    since: Option<Instant>,
    all: Count,
    domains: HashMap<Box<[u8]>, Count>,
    withheld: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    notices: u32,
    /// Those of delays and successes alone.
    others: u32,
}

impl Count {
    fn has_room(self, is_failure: bool, max: u32) -> bool {
        self.notices < max && (is_failure || self.others < max / OTHERS_PART)
    }

    fn add(&mut self, is_failure: bool) {
        self.notices += 1;
        self.others += u32::from(!is_failure);
    }
}

impl Bounds {
    /// Whether a notice, of a failure or of what is no failure, may go to this domain now.
    pub fn take(&mut self, domain: &[u8], is_failure: bool, now: Instant) -> Room {
        self.since.get_or_insert(now);
        let domain = domain.to_ascii_lowercase();
        let mut of_domain = self.domains.get(&*domain).copied().unwrap_or_default();
        if self.all.has_room(is_failure, OF_ALL_MAX) && of_domain.has_room(is_failure, OF_DOMAIN_MAX) {
            self.all.add(is_failure);
            of_domain.add(is_failure);
            self.domains.insert(domain.into(), of_domain);
            return Room::Yes;
        }
        self.withheld += 1;
        if self.withheld == 1 { Room::FirstWithheld } else { Room::No }
    }

    /// Begins a new hour when one is over, or is made to end; how many were withheld in it, if any were.
    pub fn turn_hour(&mut self, now: Instant, ends: bool) -> Option<u64> {
        let is_over = self.since.is_some_and(|since| now.saturating_duration_since(since) >= HOUR);
        if !is_over && !ends {
            return None;
        }
        let withheld = std::mem::take(self).withheld;
        Some(withheld).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_thirty_an_hour() {
        let (mut bounds, now) = (Bounds::default(), Instant::now());
        assert!((0..OF_DOMAIN_MAX).all(|_| bounds.take(b"x.test", true, now) == Room::Yes));
        assert_eq!(bounds.take(b"X.TEST", true, now), Room::FirstWithheld);
        assert_eq!(bounds.take(b"x.test", true, now), Room::No);
        assert_eq!(bounds.take(b"y.test", true, now), Room::Yes, "others are not concerned");
        assert_eq!(bounds.turn_hour(now + HOUR / 2, false), None);
        assert_eq!(bounds.turn_hour(now + HOUR, false), Some(2));
        assert_eq!(bounds.take(b"x.test", true, now + HOUR), Room::Yes);
        assert_eq!(bounds.turn_hour(now + HOUR * 2, false), None, "none was withheld");
    }

    #[test]
    fn delays_and_successes_have_half_of_it() {
        let (mut bounds, now) = (Bounds::default(), Instant::now());
        let others = (0..OF_DOMAIN_MAX).filter(|_| bounds.take(b"x.test", false, now) == Room::Yes).count();
        let failures = (0..OF_DOMAIN_MAX).filter(|_| bounds.take(b"x.test", true, now) == Room::Yes).count();
        assert_eq!((others, failures), (15, 15));
        let others = (0..2000)
            .filter(|number| bounds.take(format!("{number}.test").as_bytes(), false, now) == Room::Yes);
        assert_eq!(others.count(), 500 - 15);
    }

    #[test]
    fn all_domains_together_have_a_thousand_an_hour() {
        let (mut bounds, now) = (Bounds::default(), Instant::now());
        let taken = (0..5000)
            .filter(|number| bounds.take(format!("{number}.test").as_bytes(), true, now) == Room::Yes);
        assert_eq!(taken.count(), 1000);
        assert_eq!((bounds.domains.len(), bounds.withheld), (1000, 4000));
    }
}

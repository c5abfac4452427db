//! When the first delivery of each destination expires, held ones aside: a walk over all of them, a slice at
//! a time.

use std::time::{Duration, Instant};

use super::delivery::DestinationId;
use super::index::State;
use super::schedule::Schedule;

/// A walk, and what the last one that came to its end has found.
#[derive(Debug, Default)]
pub struct ExpiryWalk {
    /// The slot that comes next.
    next: u32,
    /// By destination, in seconds of the schedule's time; none where there is no delivery.
    coming: Vec<Option<u32>>,
    found: Vec<Option<Instant>>,
}

impl ExpiryWalk {
    /// When the first delivery of this destination expires, as of the last walk; none where there was none.
    pub fn first(&self, destination: DestinationId) -> Option<Instant> {
        self.found.get(usize::from(destination.0)).copied().flatten()
    }
}

impl Schedule {
    /// Goes on with a walk, by so many slots. What comes or goes meanwhile is seen by this walk or the next.
    pub fn walk_expiry(&self, walk: &mut ExpiryWalk, slots_max: u32) {
        let slots = self.index.slots();
        let end = walk.next.saturating_add(slots_max).min(slots);
        walk.coming.resize(self.destinations.len(), None);
        for slot in walk.next.min(end)..end {
            let entry = &self.index[slot];
            // What waits for an operator may do so for as long as it likes.
            if !matches!(entry.state, State::Free | State::Held | State::MovingHeld)
                && let Some(first) = walk.coming.get_mut(usize::from(entry.destination.0))
            {
                *first = Some(first.map_or(entry.expires, |first| first.min(entry.expires)));
            }
        }
        walk.next = end;
        if end >= slots {
            walk.next = 0;
            let at = |second: u32| self.start + Duration::from_secs(second.into());
            walk.found.clear();
            walk.found.extend(walk.coming.iter_mut().map(|first| first.take().map(at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::delivery::{Deferred, Fresh};
    use super::super::destination::{Balance, DestinationSettings};
    use super::super::schedule::Settings;
    use super::*;

    #[test]
    fn the_first_to_expire_is_found_by_destination_and_what_is_held_is_not() {
        let now = Instant::now();
        let settings = Settings { seed: 1, connections_max: 10, deliveries_max: 10_000 };
        let mut schedule = Schedule::new(settings, now);
        let one = DestinationSettings { hosts: 1, balance: Balance::First, connections_max: 1 };
        let ids: Vec<_> = (0..3).filter_map(|_| schedule.add_destination(one, now)).collect();
        for (number, destination) in (0..5000).zip(ids[..2].iter().copied().cycle()) {
            let expires_in = Duration::from_secs(10_000 - number);
            schedule.admit(Fresh { cursor: number, destination, bytes: 1, expires_in }, now);
        }
        let held = Deferred {
            cursor: 1,
            destination: ids[2],
            due_in: Duration::ZERO,
            expires_in: Duration::ZERO,
            attempts: 1,
            poison: 5,
            is_held: true,
        };
        assert!(schedule.restore(held, now));
        for slots in [64, 100_000] {
            let mut walk = ExpiryWalk::default();
            assert_eq!(walk.first(ids[0]), None, "it has not begun");
            for _ in 0..=schedule.index.slots() / slots {
                schedule.walk_expiry(&mut walk, slots);
            }
            let first = ids.iter().map(|id| walk.first(*id).map(|at| (at - now).as_secs()));
            assert_eq!(first.collect::<Vec<_>>(), [Some(5002), Some(5001), None], "slices of {slots}");
        }
    }
}

//! Deadlines of connections on a timer wheel: setting, moving and removing one costs the same however many
//! there are.
//!
//! One wheel of [`SLOTS`] slots of [`TICK`]; a deadline beyond its horizon waits in the last slot and is put
//! in again from there. Each slot is a doubly linked list through one node a connection, so the wheel never
//! allocates after it has grown.

use std::time::{Duration, Instant};

/// How exact deadlines are.
pub(super) const TICK: Duration = Duration::from_millis(125);

/// Slots of the wheel: its horizon is 512 s, over every deadline of RFC 5321 §4.5.3.2 but one.
const SLOTS: usize = 4096;

const NONE: u32 = u32::MAX;

/// The deadlines of one shard, by number of connection slot.
#[derive(Debug)]
pub(super) struct Timers {
    start: Instant,
    /// Ticks whose slots are done.
    done: usize,
    heads: Vec<u32>,
    /// One bit a slot that is not empty.
    occupied: [u64; SLOTS / 64],
    nodes: Vec<Node>,
    /// Nodes with a deadline.
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    /// The tick of its deadline; 0 = no deadline.
    tick: usize,
    /// The slot it is in: that of its tick, or the last one before the horizon.
    slot: usize,
}

const UNSET: Node = Node { previous: NONE, next: NONE, tick: 0, slot: 0 };

impl Timers {
    /// No deadlines; time begins at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            done: 0,
            heads: vec![NONE; SLOTS],
            occupied: [0; SLOTS / 64],
            nodes: Vec::new(),
            count: 0,
        }
    }

    /// Sets or moves the deadline of a connection. It fires at the deadline or up to a [`TICK`] later.
    pub(super) fn set(&mut self, index: u32, deadline: Instant) {
        let at = index as usize;
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, UNSET);
        }
        let tick = self.tick_after(deadline);
        if self.nodes[at].tick == tick {
            return;
        }
        self.remove(index);
        self.insert(index, tick);
    }

    /// Removes the deadline of a connection, if it has one.
    pub(super) fn remove(&mut self, index: u32) {
        let Some(node) = self.nodes.get(index as usize).copied().filter(|node| node.tick != 0) else {
            return;
        };
        match self.nodes.get_mut(node.previous as usize) {
            Some(previous) => previous.next = node.next,
            None => self.heads[node.slot] = node.next,
        }
        if let Some(next) = self.nodes.get_mut(node.next as usize) {
            next.previous = node.previous;
        }
        if self.heads[node.slot] == NONE {
            self.occupied[node.slot / 64] &= !(1 << (node.slot % 64));
        }
        self.nodes[index as usize] = UNSET;
        self.count -= 1;
    }

    /// Takes the next connection whose deadline has passed. Call it until there is none.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<u32> {
        let today = self.tick_before(now);
        while self.done <= today && self.count > 0 {
            let slot = self.done % SLOTS;
            let first = self.heads[slot];
            if first == NONE {
                self.done += 1;
                continue;
            }
            let tick = self.nodes[first as usize].tick;
            self.remove(first);
            if tick <= self.done {
                return Some(first);
            }
            self.insert(first, tick);
        }
        self.done = self.done.max(today);
        None
    }

    /// How long nothing can expire; none when there is no deadline.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let first = self.done % SLOTS;
        let words = self.occupied.len();
        for step in 0..=words {
            let mut bits = self.occupied[(first / 64 + step) % words];
            if step == 0 {
                bits &= u64::MAX << (first % 64);
            }
            if bits != 0 {
                let slot = (first / 64 + step) % words * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - first) % SLOTS;
                let due = self.start + TICK * u32::try_from(self.done + ahead).unwrap_or(u32::MAX);
                return Some(due.saturating_duration_since(now));
            }
        }
        None
    }

    fn insert(&mut self, index: u32, tick: usize) {
        let horizon = self.done + SLOTS - 1;
        let tick = tick.max(self.done.max(1));
        let slot = tick.min(horizon) % SLOTS;
        let head = self.heads[slot];
        self.nodes[index as usize] = Node { previous: NONE, next: head, tick, slot };
        if let Some(next) = self.nodes.get_mut(head as usize) {
            next.previous = index;
        }
        self.heads[slot] = index;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.count += 1;
    }

    fn tick_before(&self, time: Instant) -> usize {
        let ticks = time.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        usize::try_from(ticks).unwrap_or(usize::MAX)
    }

    fn tick_after(&self, time: Instant) -> usize {
        self.tick_before(time) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expired(timers: &mut Timers, now: Instant) -> Vec<u32> {
        let mut all: Vec<_> = std::iter::from_fn(|| timers.next_expired(now)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn deadlines_fire_in_time_and_once() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set(3, start + Duration::from_secs(2));
        timers.set(5, start + Duration::from_mins(5));
        timers.set(7, start + Duration::from_hours(1));
        assert_eq!(expired(&mut timers, start + Duration::from_secs(1)), [0_u32; 0]);
        assert_eq!(expired(&mut timers, start + Duration::from_secs(3)), [3]);
        timers.remove(5);
        assert_eq!(expired(&mut timers, start + Duration::from_secs(3599)), [0_u32; 0]);
        assert_eq!(expired(&mut timers, start + Duration::from_secs(3601)), [7]);
        assert_eq!(timers.idle_for(start), None);
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Set(u32, u64),
        Remove(u32),
        Pass(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (0..20_u32, 0..2_000_000_u64).prop_map(|(index, ms)| Operation::Set(index, ms)),
            (0..20_u32).prop_map(Operation::Remove),
            (0..700_000_u64).prop_map(Operation::Pass),
        ]
    }

    proptest! {
        /// Against a plain list: never early, at most a tick late, and never slept through.
        #[test]
        fn the_wheel_agrees_with_a_list(operations in prop::collection::vec(operation(), 1..60)) {
            let start = Instant::now();
            let mut now = start;
            let mut timers = Timers::new(start);
            let mut list = std::collections::BTreeMap::new();
            for operation in operations {
                match operation {
                    Operation::Set(index, ms) => {
                        timers.set(index, now + Duration::from_millis(ms));
                        list.insert(index, now + Duration::from_millis(ms));
                    }
                    Operation::Remove(index) => {
                        timers.remove(index);
                        list.remove(&index);
                    }
                    Operation::Pass(ms) => {
                        let until = now + Duration::from_millis(ms);
                        if let (Some(idle), Some(first)) = (timers.idle_for(now), list.values().min()) {
                            prop_assert!(now + idle <= *first + TICK, "slept through a deadline");
                        }
                        now = until;
                        for index in expired(&mut timers, now) {
                            let deadline = list.remove(&index);
                            prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{index} fired early");
                        }
                        prop_assert!(list.values().all(|deadline| *deadline + TICK > now), "one is late");
                    }
                }
            }
        }
    }
}

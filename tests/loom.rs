//! Tries every interleaving of a consumer that parks and producers that ring (`src/handoff/park.rs`, compiled here
//! against loom): no wake-up is lost, and no more bells are rung than needed.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/handoff/park.rs"]
#[allow(dead_code)]
mod park;

use park::ParkFlag;

/// A consumer that would sleep after the last look, and `producers` that send one item each. Whoever is told to ring
/// counts one; the consumer may sleep with items waiting only if a ring is counted.
fn nobody_sleeps_through_an_item(producers: usize) {
    loom::model(move || {
        let flag = Arc::new(ParkFlag::new());
        let items = Arc::new(AtomicUsize::new(0));
        let rings = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let (flag, items, rings) = (Arc::clone(&flag), Arc::clone(&items), Arc::clone(&rings));
                loom::thread::spawn(move || {
                    items.fetch_add(1, Ordering::Relaxed);
                    if flag.must_ring() {
                        rings.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        flag.park();
        let sleeps = items.load(Ordering::Relaxed) == 0;
        for thread in threads {
            thread.join().expect("producer");
        }
        let rings = rings.load(Ordering::Relaxed);
        assert!(!sleeps || rings == 1, "asleep with {producers} items and {rings} rings");
        assert!(rings <= 1);
    });
}

#[test]
fn one_producer_wakes_the_consumer() {
    nobody_sleeps_through_an_item(1);
}

#[test]
fn of_two_producers_one_rings() {
    nobody_sleeps_through_an_item(2);
}

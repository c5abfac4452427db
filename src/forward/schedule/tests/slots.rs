//! Connections: how long they live, how many there are, and that the same seed gives the same run.

use super::world::*;
use crate::forward::schedule::{Order, Schedule, Settings};
use std::time::{Duration, Instant};

#[test]
fn a_connection_is_closed_after_a_minute_without_mail() {
    let mut world = World::new(1);
    let one = world.add(one_host(20), vec![SimulatedHost::new(MS * 5)]);
    world.send_evenly(one, 10, Duration::ZERO, SECOND * 10);
    world.run(SECOND * 69);
    assert_eq!(world.hosts[0][0].connects.len(), 1, "it was used again");
    assert_eq!(world.hosts[0][0].open, 1);
    world.run(SECOND * 71);
    assert_eq!(world.hosts[0][0].open, 0);
    assert_eq!(world.schedule.next_deadline(world.now()), None, "nothing to wake up for");
}

#[test]
fn a_connection_has_a_thousand_messages() {
    let mut world = World::new(1);
    let one = world.add(one_host(1), vec![SimulatedHost::new(MS * 5)]);
    world.send_evenly(one, 100, Duration::ZERO, SECOND * 35);
    world.run(SECOND * 40);
    assert_eq!(world.ended(one, End::Sent), 3500);
    assert_eq!(world.hosts[0][0].connects.len(), 4);
    assert_eq!(world.hosts[0][0].most_open, 1);
}

#[test]
fn the_sum_of_connections_is_bounded_and_all_have_their_turn() {
    let mut world = World::new(1);
    let start = world.now();
    world.schedule =
        Schedule::new(Settings { seed: 1, connections_max: 10, deliveries_max: 1_000_000 }, start);
    let ids: Vec<_> = (0..100).map(|_| world.add(one_host(20), vec![SimulatedHost::new(MS * 5)])).collect();
    for id in &ids {
        world.send_evenly(*id, 5, Duration::ZERO, SECOND * 20);
    }
    world.run(SECOND * 5);
    for _ in 0..1000 {
        let elapsed = world.elapsed;
        world.run(elapsed + MS * 10);
        let open: usize = world.hosts.iter().map(|hosts| hosts[0].open).sum();
        assert!(open <= 10, "{open} connections");
    }
    world.run(SECOND * 60);
    world.settle_accounts();
    for id in &ids {
        assert_eq!(world.ended(*id, End::Sent), 100, "{id:?}");
        assert!(p99(&world.waits(*id, Duration::ZERO, SECOND * 20)) < SECOND * 2);
    }
}

#[test]
fn past_the_bound_of_deliveries_nothing_is_read() {
    let mut world = World::new(1);
    let start = world.now();
    world.schedule = Schedule::new(Settings { seed: 1, connections_max: 10, deliveries_max: 100 }, start);
    let one = world.add(one_host(20), vec![SimulatedHost::new(MS * 5).down(Duration::ZERO, MINUTE)]);
    world.send_evenly(one, 100, Duration::ZERO, SECOND * 5);
    world.run(SECOND * 30);
    assert_eq!(world.schedule.count(), 100);
    assert!(!world.schedule.has_room());
    world.run(MINUTE * 3);
    assert_eq!(world.ended(one, End::Sent), 500);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed);
        for number in 0..5 {
            let mut host = SimulatedHost::new(MS * 7).down(SECOND * (10 + number), SECOND * 50);
            host.defers_every = 13;
            let id = world.add(one_host(20), vec![host]);
            world.send_evenly(id, 50, Duration::ZERO, SECOND * 60);
        }
        world.run(MINUTE * 30);
        (world.orders, world.trace)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// A hundred thousand idle turns of the engine ask for nothing and change nothing.
#[test]
fn an_empty_schedule_sleeps() {
    let start = Instant::now();
    let mut schedule = Schedule::new(settings(1), start);
    for _ in 0..1000 {
        schedule.add_destination(one_host(20), start).expect("an id");
    }
    assert_eq!(schedule.next(start), None::<Order>);
    assert_eq!(schedule.next_deadline(start), None);
}

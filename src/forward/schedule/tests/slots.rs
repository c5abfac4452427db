//! Connections: how long they live, how many there are, and that the same seed gives the same run.

use super::world::*;
use crate::forward::schedule::{Admission, Deferred, Ended, Fate, Fresh, Order, Place, Schedule, Settings};
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

/// Connections that take one message each, at an end that is slow to close them, are never more than there
/// may be.
#[test]
fn a_connection_that_is_used_up_counts_until_it_is_closed() {
    let now = Instant::now();
    let mut schedule = Schedule::new(settings(1), now);
    let destination = schedule.add_destination(one_host(2), now).expect("an id");
    for cursor in 0..5 {
        let fresh = Fresh { cursor, destination, bytes: 1, expires_in: DAY };
        assert_eq!(schedule.admit(fresh, now), Admission::Taken);
    }
    let (mut closing, mut ended) = (Vec::new(), 0);
    while ended < 5 {
        let mut opened = 0;
        while let Some(order) = schedule.next(now) {
            match order {
                Order::Connect { connection, .. } => {
                    opened += 1;
                    schedule.connected(connection, now);
                }
                Order::Deliver { connection, .. } => {
                    schedule.use_up(connection);
                    assert_eq!(schedule.finished(connection, Ended::Done, now), Fate::Over);
                    ended += 1;
                }
                Order::Close { connection } => closing.push(connection),
                other => panic!("{other:?}"),
            }
            assert!(opened <= 2, "{opened} are open");
        }
        assert!(!closing.is_empty() && closing.len() == opened);
        closing.drain(..).for_each(|connection| schedule.closed(connection));
    }
}

#[test]
fn what_is_left_of_a_message_goes_again_at_once_and_was_no_attempt() {
    let now = Instant::now();
    let mut schedule = Schedule::new(settings(1), now);
    let destination = schedule.add_destination(one_host(1), now).expect("an id");
    let expires_in = DAY;
    let log = Fresh { cursor: 1, destination, bytes: 1, expires_in };
    let (cursor, due_in, attempts) = (2, Duration::ZERO, 3);
    let later = Deferred { cursor, destination, due_in, expires_in, attempts, poison: 0, is_held: false };
    for place in [Place::Log(1), Place::Later(2)] {
        if place == Place::Log(1) {
            schedule.admit(log, now);
        } else {
            assert!(schedule.restore(later, now));
        }
        let mut times = 0;
        while let Some(order) = schedule.next(now) {
            match order {
                Order::Connect { connection, .. } => schedule.connected(connection, now),
                Order::Deliver { connection, delivery } => {
                    assert_eq!(delivery.place, place);
                    schedule.use_up(connection);
                    times += 1;
                    let (ended, fate) = match times {
                        4 => (Ended::Done, Fate::Over),
                        _ => (Ended::Part, Fate::Again),
                    };
                    assert_eq!(schedule.finished(connection, ended, now), fate);
                    let attempts = schedule.delivery(delivery, now).map(|view| view.attempts);
                    assert!(attempts.is_none_or(
                        |attempts| attempts == if times < 4 && place != Place::Log(1) { 3 } else { 0 }
                    ));
                }
                Order::Close { connection } => schedule.closed(connection),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(times, 4);
    }
}

//! One dead or slow destination of ten costs the other nine nothing.

use super::world::*;
use crate::forward::schedule::{DestinationId, WINDOW_MESSAGES};
use std::time::Duration;

const RATE: u32 = 300;
const TIME: Duration = Duration::from_mins(1);

/// Ten destinations with as much mail each, of which the first is like this one: what the nine others got in
/// time, the p99 of their waits, and the world.
fn ten(first: SimulatedHost) -> (usize, Duration, World) {
    let mut world = World::new(5);
    world.add(one_host(20), vec![first]);
    let others: Vec<_> = (1..10).map(|_| world.add(one_host(20), vec![SimulatedHost::new(MS * 5)])).collect();
    for number in 0..10 {
        world.send_evenly(DestinationId(number), RATE, Duration::ZERO, TIME);
    }
    world.run(TIME + MS * 50);
    world.settle_accounts();
    let sent = others.iter().map(|id| world.sent_between(*id, Duration::ZERO, TIME)).sum();
    let waits = others.iter().map(|id| p99(&world.waits(*id, Duration::ZERO, SECOND * 59))).max();
    (sent, waits.expect("waits"), world)
}

#[test]
fn a_dead_or_slow_one_of_ten_costs_the_others_nothing() {
    let (all, usual, world) = ten(SimulatedHost::new(MS * 5));
    assert_eq!(world.copied, 0);
    let firsts = [
        ("dead", SimulatedHost::new(MS * 5).down(Duration::ZERO, DAY)),
        ("dies", SimulatedHost::new(MS * 5).down(SECOND * 15, DAY)),
        ("slow", SimulatedHost::new(SECOND)),
        ("hangs", SimulatedHost::new(MINUTE * 10)),
    ];
    for (name, first) in firsts {
        let (sent, waits, world) = ten(first);
        println!("{name}: {sent} of {all} sent, p99 {waits:?} after {usual:?}, {} copied", world.copied);
        assert!(sent * 100 >= all * 95, "{name}: {sent} of {all}");
        assert!(waits <= usual * 2, "{name}: {waits:?} after {usual:?}");
        assert!(world.copied > 5000, "{name}: {}", world.copied);
    }
}

/// The log is full of mail for all; nobody is slow, and nothing is copied.
#[test]
fn a_backlog_for_healthy_destinations_is_not_copied() {
    let mut world = World::new(5);
    for number in 0..10 {
        world.add(one_host(20), vec![SimulatedHost::new(MS * 5)]);
        let rate = if number == 0 { 50_000 } else { 5000 };
        world.send_evenly(DestinationId(number), rate, Duration::ZERO, SECOND);
    }
    world.run(SECOND * 60);
    world.settle_accounts();
    assert_eq!(world.copied, 0);
    assert_eq!(world.ended(DestinationId(0), End::Sent), 50_000);
}

/// Nine dead ones share the window; none of them is over its own share.
#[test]
fn nine_dead_ones_of_ten_do_not_hold_up_the_tenth() {
    let mut world = World::new(5);
    for number in 0..10 {
        let host = SimulatedHost::new(MS * 5);
        let host = if number == 9 { host } else { host.down(Duration::ZERO, DAY) };
        world.add(one_host(20), vec![host]);
        world.send_evenly(DestinationId(number), RATE, Duration::ZERO, TIME);
    }
    world.run(TIME + MS * 50);
    world.settle_accounts();
    let waits = world.waits(DestinationId(9), Duration::ZERO, SECOND * 59);
    assert!(waits.last() < Some(&(SECOND * 2)), "{:?}", waits.last());
    assert!(p99(&waits) <= SECOND, "{:?}", p99(&waits));
}

/// Large mail: octets bound the window, not messages.
#[test]
fn large_mail_of_a_dead_one_gives_way_too() {
    let mut world = World::new(5);
    world.bytes = 4 * 1024 * 1024;
    let dead = world.add(one_host(20), vec![SimulatedHost::new(MS * 5).down(Duration::ZERO, DAY)]);
    let other = world.add(one_host(20), vec![SimulatedHost::new(MS * 50)]);
    world.send_evenly(dead, 5, Duration::ZERO, TIME);
    world.send_evenly(other, 20, Duration::ZERO, TIME);
    world.run(TIME + SECOND);
    world.settle_accounts();
    assert_eq!(world.ended(other, End::Sent), 1200);
    assert!(p99(&world.waits(other, Duration::ZERO, TIME)) < SECOND);
    let (_, view) = world.schedule.destinations().next().expect("a destination");
    assert!(view.fresh <= 16 && view.due > 250, "{view:?}");
    assert!(view.fresh < WINDOW_MESSAGES);
}

//! A host that goes away and comes back: probes, the ramp, no herd, and mail that comes meanwhile.

use super::world::*;
use crate::forward::schedule::{Balance, CONCURRENCY_FIRST, DestinationSettings, HostState, WINDOW_MESSAGES};

use std::time::Duration;

const GONE: Duration = Duration::from_secs(20);
const BACK: Duration = Duration::from_secs(80);

/// No two probes of a host that is down come closer than the interval that holds then allows.
fn assert_probes_are_apart(connects: &[Duration], from: Duration, until: Duration) {
    let probes: Vec<_> = connects.iter().filter(|at| (from..until).contains(*at)).collect();
    assert!(probes.len() >= 4, "{probes:?}");
    for (pair, seconds) in probes.windows(2).zip([2].into_iter().chain(std::iter::repeat(4))) {
        let apart = pair[1].saturating_sub(*pair[0]);
        assert!(apart >= SECOND * seconds * 3 / 4, "{apart:?} instead of {seconds} s: {probes:?}");
        assert!(apart <= SECOND * seconds * 5 / 4 + MS * 2, "{apart:?} instead of {seconds} s: {probes:?}");
    }
}

#[test]
fn a_host_that_is_back_after_a_minute_at_2000_a_second_has_full_speed_within_10_s() {
    for seed in 0..2 {
        let mut world = World::new(seed);
        // 20 connections of 4 ms each: 5,000 a second at most.
        let one = world.add(one_host(20), vec![SimulatedHost::new(MS * 4).down(GONE, BACK)]);
        let other = world.add(one_host(20), vec![SimulatedHost::new(MS * 4)]);
        world.send_evenly(one, 2000, Duration::ZERO, SECOND * 160);
        world.send_evenly(other, 200, Duration::ZERO, SECOND * 160);
        world.run(SECOND * 180);
        world.settle_accounts();
        let host = &world.hosts[0][0];
        assert!(host.most_open <= 20, "{}", host.most_open);
        // The cohort fails at once; its first probe comes after a second.
        assert_probes_are_apart(&host.connects, GONE + MS * 500, BACK);
        let back = host.connects.iter().find(|at| **at >= BACK).copied().expect("a connection");
        assert!(back < BACK + SECOND * 5 + MS * 10, "the last interval was 4 s: {back:?}");
        // The ramp: a round of answers is one connection more.
        for (within, rounds) in [(MS * 20, 5), (MS * 40, 10), (SECOND, 18)] {
            let opened = host.connects.iter().filter(|at| (back..back + within).contains(*at)).count();
            let most = usize::from(CONCURRENCY_FIRST) + rounds;
            assert!(opened <= most, "{opened} connections within {within:?}");
        }
        // Full speed: as many as its connections can, until all is sent. A second of the ten is enough.
        let speed = world.sent_between(one, BACK + SECOND * 6, BACK + SECOND * 10) / 4;
        assert!(speed >= 4500, "{speed} a second");
        // Mail that comes then passes what has piled up.
        let before = p99(&world.waits(one, SECOND * 2, SECOND * 18));
        let after = p99(&world.waits(one, BACK + SECOND * 10, SECOND * 160));
        let others = p99(&world.waits(other, GONE, SECOND * 160));
        println!("p99 {before:?} before, {after:?} after; the other's {others:?}; {back:?}, {speed}/s");
        assert!(after <= before * 2, "{after:?} after {before:?}");
        assert!(others <= before * 2, "{others:?} after {before:?}");
        assert_eq!(world.ended(one, End::Sent), 320_000);
        assert_eq!(world.ended(other, End::Sent), 32_000);
    }
}

#[test]
fn alone_its_mail_stays_in_the_log() {
    let mut world = World::new(1);
    let one = world.add(one_host(20), vec![SimulatedHost::new(MS * 4).down(GONE, BACK)]);
    world.add(one_host(20), vec![SimulatedHost::new(MS * 4)]);
    world.send_evenly(one, 1000, Duration::ZERO, SECOND * 120);
    world.run(BACK);
    assert_eq!(world.copied, 0);
    let (_, view) = world.schedule.destinations().next().expect("a destination");
    assert!(view.fresh == WINDOW_MESSAGES && view.waiting <= 20, "{view:?}");
    world.run(SECOND * 150);
    world.settle_accounts();
    assert_eq!(world.copied, 0);
    assert!(world.ended(one, End::Sent) >= 120_000 - 20, "all but those that were lost with it");
}

#[test]
fn mail_of_others_further_on_in_the_log_makes_it_give_way() {
    let mut world = World::new(1);
    let one = world.add(one_host(20), vec![SimulatedHost::new(MS * 4).down(SECOND, DAY)]);
    let other = world.add(one_host(20), vec![SimulatedHost::new(MS * 4)]);
    world.send_evenly(one, 1000, Duration::ZERO, SECOND * 60);
    world.send(other, SECOND * 70);
    world.run(SECOND * 80);
    assert_eq!(world.ended(other, End::Sent), 0, "nobody knows of it");
    let now = world.now();
    world.schedule.see_waiting(other, now);
    world.run(SECOND * 90);
    assert_eq!(world.ended(other, End::Sent), 1);
    assert!(world.copied > 20_000);
    world.settle_accounts();
}

#[test]
fn the_second_host_has_mail_while_the_first_is_suspended() {
    let mut world = World::new(4);
    let settings = DestinationSettings { hosts: 2, balance: Balance::First, connections_max: 20 };
    let hosts = vec![SimulatedHost::new(MS * 4).down(GONE, BACK), SimulatedHost::new(MS * 4)];
    let one = world.add(settings, hosts);
    world.send_evenly(one, 1000, Duration::ZERO, SECOND * 180);
    world.run(GONE);
    assert!(world.hosts[0][1].connects.is_empty());
    world.run(GONE + SECOND * 40);
    let (_, view) = world.schedule.destinations().next().expect("a destination");
    assert_eq!(view.down_since, None);
    assert_eq!((view.hosts[0].state, view.hosts[0].why), (HostState::Suspended, "connection refused"));
    assert_eq!(view.hosts[1].state, HostState::Healthy);
    assert!(p99(&world.waits(one, GONE + SECOND, GONE + SECOND * 30)) < MS * 20);
    world.run(SECOND * 190);
    world.settle_accounts();
    assert_eq!(world.hosts[0][1].open, 0, "it is left again");
    assert!(world.hosts[0][1].connects.iter().all(|at| *at < BACK + SECOND * 45));
    assert_eq!(world.ended(one, End::Sent), 180_000);
}

#[test]
fn mail_is_spread_over_healthy_hosts_by_what_they_can_do() {
    let mut world = World::new(4);
    let settings = DestinationSettings { hosts: 3, balance: Balance::Spread, connections_max: 20 };
    let hosts = vec![
        SimulatedHost::new(MS * 4),
        SimulatedHost::new(MS * 4),
        SimulatedHost::new(MS * 4).down(Duration::ZERO, DAY),
    ];
    let one = world.add(settings, hosts);
    world.send_evenly(one, 2000, Duration::ZERO, SECOND * 20);
    world.run(SECOND * 30);
    assert_eq!(world.ended(one, End::Sent), 40_000);
    let counts = [0, 1].map(|host: usize| world.hosts[0][host].messages);
    assert!(counts[0].abs_diff(counts[1]) < 4000, "{counts:?}");
}

/// All come back at the same moment, and each has its own ramp.
#[test]
fn a_thousand_destinations_that_come_back_together_are_no_herd() {
    let mut world = World::new(9);
    let ids: Vec<_> = (0..1000)
        .map(|_| world.add(one_host(20), vec![SimulatedHost::new(MS * 50).down(SECOND, MINUTE)]))
        .collect();
    for id in &ids {
        world.send_evenly(*id, 2, Duration::ZERO, SECOND * 90);
    }
    world.run(SECOND * 200);
    world.settle_accounts();
    for (id, hosts) in ids.iter().zip(&world.hosts) {
        assert!(hosts[0].most_open <= 20);
        assert_probes_are_apart(&hosts[0].connects, SECOND * 2, MINUTE);
        let back = hosts[0].connects.iter().find(|at| **at >= MINUTE).copied().expect("a connection");
        let opened = hosts[0].connects.iter().filter(|at| (back..back + SECOND).contains(*at)).count();
        assert!(opened <= 20, "{opened}");
        let opened = hosts[0].connects.iter().filter(|at| (back..back + MS * 50).contains(*at)).count();
        assert!(opened <= 2, "{opened} before the first answer");
        assert_eq!(world.ended(*id, End::Sent), 180);
    }
    // The probes of a thousand hosts are spread: no 100 ms have more than a tenth of those after the first.
    let mut slots = [0_u32; 600];
    for at in world.hosts.iter().flat_map(|hosts| &hosts[0].connects) {
        if (SECOND * 10..MINUTE).contains(at) {
            slots[usize::try_from(at.as_millis() / 100).expect("a slot")] += 1;
        }
    }
    assert!(slots.iter().max() < Some(&100), "{slots:?}");
}

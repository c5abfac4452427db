//! Mail that waits: five days of back-off, expiry, a million of them, and their share of the slots.

use super::world::*;
use crate::forward::schedule::{
    Admission, Deferred, Delivery, DestinationId, Ended, Fate, Fresh, Order, Place, Schedule, Target, Waits,
};
use std::time::{Duration, Instant};

fn deferred(cursor: u64, destination: DestinationId) -> Deferred {
    Deferred {
        cursor,
        destination,
        due_in: MINUTE,
        expires_in: DAY * 5,
        attempts: 0,
        poison: 0,
        is_held: false,
    }
}

#[test]
fn five_days_of_4yz_end_in_expiry() {
    let mut world = World::new(2);
    let mut host = SimulatedHost::new(MS * 5);
    host.defers_every = 1;
    let one = world.add(one_host(20), vec![host]);
    world.send_evenly(one, 100, Duration::ZERO, SECOND * 10);
    world.run(DAY * 5 + MINUTE * 3);
    world.settle_accounts();
    assert_eq!(world.ended(one, End::Expired), 1000);
    for message in &world.messages {
        // 1, 2, 4 … 32 minutes, then each hour.
        assert!((115..=140).contains(&message.attempts), "{} attempts", message.attempts);
        let (_, at) = message.ended.expect("an end");
        let age = at.saturating_sub(message.came);
        assert!(age >= DAY * 5 && age < DAY * 5 + MINUTE * 2, "{age:?}");
    }
    assert!(world.hosts[0][0].most_open <= 20);
}

#[test]
fn five_days_without_an_answer_end_in_expiry() {
    let mut world = World::new(2);
    let dead = SimulatedHost::new(MS * 5).down(Duration::ZERO, DAY * 9);
    let one = world.add(one_host(20), vec![dead]);
    let other = world.add(one_host(20), vec![SimulatedHost::new(MS * 5)]);
    world.send_evenly(one, 500, Duration::ZERO, SECOND * 60);
    world.send_evenly(other, 10, Duration::ZERO, SECOND * 60);
    world.run(DAY * 5 + MINUTE * 3);
    world.settle_accounts();
    assert_eq!(world.ended(one, End::Expired), 30_000);
    assert!(world.messages.iter().all(|message| message.attempts == 0), "they were never tried");
    let connects = world.hosts[0][0].connects.len();
    assert!((5 * 24 * 60 - 300..5 * 24 * 60 * 5 / 4).contains(&connects), "{connects} probes");
}

#[test]
fn each_kth_is_sent_in_the_end() {
    let mut world = World::new(2);
    let mut host = SimulatedHost::new(MS * 5);
    host.defers_every = 7;
    let one = world.add(one_host(20), vec![host]);
    world.send_evenly(one, 500, Duration::ZERO, SECOND * 60);
    world.run(DAY);
    world.settle_accounts();
    assert_eq!(world.ended(one, End::Sent), 30_000);
    assert_eq!(world.schedule.count(), 0);
}

#[test]
fn a_million_take_at_most_40_octets_each_and_are_swept_in_slices() {
    let start = Instant::now();
    let mut schedule = Schedule::new(settings(1), start);
    let ids: Vec<_> =
        (0..1000).map(|_| schedule.add_destination(one_host(20), start).expect("an id")).collect();
    let count = 1_000_000_u64;
    for (cursor, id) in (0..count).zip(ids.iter().cycle()) {
        let due_in = Duration::from_secs(60 + cursor % 3600);
        let one = Deferred { due_in, expires_in: DAY, ..deferred(cursor, *id) };
        assert!(schedule.restore(one, start));
        assert!(cursor % 1000 > 0 || !schedule.restore(one, start), "it is there already");
        if cursor % 50_000 > 40_000 {
            let octets = schedule.bytes() as u64;
            assert!(octets <= (cursor + 1) * 40 + 256 * 1024, "{octets} octets for {cursor}");
        }
    }
    assert!(schedule.bytes() <= 40 * 1000 * 1000, "{}", schedule.bytes());
    assert_eq!(schedule.next(start), None);
    for id in &ids {
        schedule.suspend(*id, None, start);
    }
    // All are over a day later. One call looks at a slice and stops at what it finds; a round takes a minute.
    let mut now = start + DAY;
    let mut expired = 0;
    while schedule.count() > 0 {
        match schedule.next(now) {
            Some(Order::Expire { .. }) => expired += 1,
            Some(order) => panic!("{order:?}"),
            None => now = schedule.next_deadline(now).expect("something waits"),
        }
    }
    assert_eq!(expired, count);
    assert!(now <= start + DAY + MINUTE * 2, "{:?}", now - start);
}

#[test]
fn retries_take_half_of_the_slots_while_fresh_mail_waits() {
    let start = Instant::now();
    let mut schedule = Schedule::new(settings(1), start);
    let id = schedule.add_destination(one_host(10), start).expect("an id");
    for cursor in 0..20_000 {
        assert!(schedule.restore(Deferred { due_in: Duration::ZERO, ..deferred(cursor, id) }, start));
    }
    let mut busy = std::collections::VecDeque::new();
    let (mut retries, mut fresh, mut next) = (0, 0, 0);
    let now = start;
    for round in 0..10_000 {
        // Fresh mail always waits, from the thousandth message on.
        while round > 1000 && schedule.destinations().next().is_some_and(|(_, view)| view.fresh < 5) {
            let one = Fresh { cursor: next, destination: id, bytes: 1, expires_in: DAY };
            assert_eq!(schedule.admit(one, now), Admission::Taken);
            next += 1;
        }
        while let Some(order) = schedule.next(now) {
            match order {
                Order::Connect { connection, .. } => schedule.connected(connection, now),
                Order::Close { connection } => schedule.closed(connection),
                Order::Deliver { connection, delivery } => {
                    let is_retry = matches!(delivery.place, Place::Later(_));
                    if round > 1000 {
                        *(if is_retry { &mut retries } else { &mut fresh }) += 1;
                    }
                    busy.push_back((connection, is_retry));
                }
                Order::MoveToLater { .. } | Order::Expire { .. } => panic!("{order:?}"),
            }
        }
        let busy_retries = busy.iter().filter(|(_, is_retry)| *is_retry).count();
        if round == 1000 {
            assert_eq!((busy_retries, busy.len()), (10, 10), "alone they have all");
        }
        assert!(round <= 1020 || busy_retries <= 5, "{busy_retries} of {}", busy.len());
        let (connection, _) = busy.pop_front().expect("somebody is busy");
        assert_eq!(schedule.finished(connection, Ended::Done, now), Fate::Over);
    }
    assert!(retries * 10 >= fresh * 9 && retries <= fresh + 20, "{retries} retries, {fresh} fresh");
}

#[test]
fn what_lies_elsewhere_has_its_new_name_when_it_is_on_no_connection() {
    use crate::forward::schedule::Answer;
    let start = Instant::now();
    let mut schedule = Schedule::new(settings(1), start);
    let ids = [0, 1].map(|_| schedule.add_destination(one_host(1), start).expect("an id"));
    let name = |cursor, id| Delivery { place: Place::Later(cursor), destination: id };
    for (cursor, id, is_held) in
        [(1, ids[0], false), (1, ids[1], true), (2, ids[0], false), (3, ids[1], true)]
    {
        assert!(schedule.restore(Deferred { is_held, ..deferred(cursor, id) }, start));
    }
    assert_eq!(schedule.deliveries_at(1).collect::<Vec<_>>(), [name(1, ids[0]), name(1, ids[1])]);
    assert!(schedule.relocate(1, 9));
    assert_eq!(schedule.deliveries_at(1).next(), None);
    assert_eq!(schedule.delivery(name(9, ids[1]), start).map(|view| view.waits), Some(Waits::Operator));
    // Two that come to one place are one.
    assert!(schedule.relocate(3, 9));
    assert_eq!(schedule.count(), 3);
    let held = |schedule: &Schedule| schedule.destinations().map(|(_, view)| view.held).sum::<u32>();
    assert_eq!(held(&schedule), 1);
    schedule.retry(Target::One(name(2, ids[0])), start);
    let Some(Order::Connect { connection, .. }) = schedule.next(start) else { panic!("no connection") };
    schedule.connected(connection, start);
    assert!(matches!(schedule.next(start), Some(Order::Deliver { .. })));
    assert!(!schedule.relocate(2, 10), "it is on a connection");
    schedule.finished(connection, Ended::Deferred, start);
    assert!(schedule.relocate(2, 10));
    // It is still in its list, and leaves it by its new name.
    let waits = schedule.delivery(name(10, ids[0]), start).map(|view| view.waits);
    assert!(matches!(waits, Some(Waits::Time(_))), "{waits:?}");
    let waiting = |schedule: &Schedule| schedule.destinations().map(|(_, view)| view.waiting).sum::<u32>();
    assert_eq!(waiting(&schedule), 2);
    assert_eq!(schedule.remove(name(10, ids[0])), Answer::Done);
    assert_eq!(schedule.hold_one(name(9, ids[0])), Answer::Done);
    assert_eq!((waiting(&schedule), schedule.count()), (0, 2));
}

#[test]
fn operators_retry_hold_release_and_remove() {
    use crate::forward::schedule::Answer;
    let start = Instant::now();
    let mut schedule = Schedule::new(settings(1), start);
    let ids = [0, 1].map(|_| schedule.add_destination(one_host(1), start).expect("an id"));
    for cursor in 0..5000 {
        for id in ids {
            assert!(schedule.restore(deferred(cursor, id), start));
        }
    }
    let name = |cursor, id| Delivery { place: Place::Later(cursor), destination: id };
    assert_eq!(schedule.next(start), None);
    assert_eq!(schedule.retry(Target::One(name(7, ids[0])), start), Answer::Done);
    let Some(Order::Connect { connection, .. }) = schedule.next(start) else { panic!("no connection") };
    schedule.connected(connection, start);
    let delivers = Order::Deliver { connection, delivery: name(7, ids[0]) };
    assert_eq!(schedule.next(start), Some(delivers));
    for answer in [
        schedule.hold_one(name(7, ids[0])),
        schedule.remove(name(7, ids[0])),
        schedule.retry(Target::One(name(7, ids[0])), start),
    ] {
        assert_eq!(answer, Answer::Busy);
    }
    assert_eq!(schedule.retry(Target::One(name(9999, ids[0])), start), Answer::Unknown);
    assert_eq!(schedule.release(name(8, ids[0]), start), Answer::Unknown, "it is not held");
    assert_eq!(schedule.hold_one(name(8, ids[0])), Answer::Done);
    assert_eq!(schedule.delivery(name(8, ids[0]), start).map(|view| view.waits), Some(Waits::Operator));
    assert_eq!(schedule.remove(name(9, ids[0])), Answer::Done);
    assert_eq!(schedule.delivery(name(9, ids[0]), start), None);
    schedule.suspend(ids[1], None, start);
    assert_eq!(schedule.retry(Target::Destination(ids[1]), start), Answer::Done);
    while schedule.next_deadline(start) == Some(start) {
        assert_eq!(schedule.next(start), None, "it is suspended");
    }
    let counts: Vec<_> =
        schedule.destinations().map(|(_, view)| (view.due, view.waiting, view.held)).collect();
    assert_eq!(counts, [(0, 4997, 1), (5000, 0, 0)]);
    schedule.resume(ids[1], None, start);
    assert!(matches!(schedule.next(start), Some(Order::Connect { .. })));
    assert_eq!(schedule.retry(Target::All, start), Answer::Done);
    assert_eq!(schedule.release(name(8, ids[0]), start), Answer::Done);
    while schedule.next_deadline(start) == Some(start) {
        schedule.next(start);
    }
    let counts: Vec<_> =
        schedule.destinations().map(|(_, view)| (view.due, view.waiting, view.held)).collect();
    assert_eq!(counts, [(4998, 0, 0), (5000, 0, 0)]);
    let mut seen = 0;
    let mut from = Some(0);
    while let Some(slot) = from {
        let (page, next) = schedule.page(slot, 100, start);
        seen += page.len();
        from = next;
    }
    assert_eq!(seen, 9999);
}

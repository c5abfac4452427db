//! A message that breaks connections: the third time it goes alone, the fifth time it is held.

use super::world::*;
use crate::forward::schedule::{
    Admission, Answer, ConnectionId, Deferred, Delivery, DestinationId, Ended, Fate, Fresh, Order, Place,
    Schedule, Waits,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A schedule with one destination beside which other mail comes and is answered.
struct Beside {
    schedule: Schedule,
    id: DestinationId,
    now: Instant,
    next: u64,
    /// Messages of each connection.
    used: BTreeMap<ConnectionId, usize>,
}

/// The messages that were on a connection before the bad one was, and how that ended.
#[derive(Debug)]
struct Attempt {
    messages_before: usize,
    fate: Fate,
    at: Instant,
}

impl Beside {
    fn new() -> Self {
        let now = Instant::now();
        let mut schedule = Schedule::new(settings(1), now);
        let id = schedule.add_destination(one_host(4), now).expect("an id");
        Self { schedule, id, now, next: 1, used: BTreeMap::new() }
    }

    fn admit(&mut self, cursor: u64) {
        let fresh = Fresh { cursor, destination: self.id, bytes: 1, expires_in: DAY };
        assert_eq!(self.schedule.admit(fresh, self.now), Admission::Taken);
    }

    /// Plays for so long, with a message each 100 ms; the message 0 breaks its connection.
    fn play(&mut self, time: Duration) -> Vec<Attempt> {
        let (until, mut attempts) = (self.now + time, Vec::new());
        while self.now < until {
            self.next += 1;
            self.admit(self.next);
            while let Some(order) = self.schedule.next(self.now) {
                match order {
                    Order::Connect { connection, .. } => {
                        self.used.insert(connection, 0);
                        self.schedule.connected(connection, self.now);
                    }
                    Order::Close { connection } => self.schedule.closed(connection),
                    Order::Deliver { connection, delivery } => {
                        let (Place::Log(cursor) | Place::Later(cursor)) = delivery.place;
                        let ended = if cursor == 0 { Ended::Lost("reset") } else { Ended::Done };
                        let fate = self.schedule.finished(connection, ended, self.now);
                        let messages_before = *self.used.get(&connection).expect("a connection");
                        self.used.insert(connection, messages_before + 1);
                        if cursor == 0 {
                            attempts.push(Attempt { messages_before, fate, at: self.now });
                            if let Place::Log(cursor) = delivery.place {
                                assert!(self.schedule.moved(delivery, cursor, self.now));
                            }
                        } else {
                            assert_eq!(fate, Fate::Over);
                        }
                    }
                    Order::MoveToLater { .. } | Order::Expire { .. } => panic!("{order:?}"),
                }
            }
            self.now += MS * 100;
        }
        attempts
    }
}

#[test]
fn the_third_time_it_goes_alone_and_the_fifth_time_it_is_held() {
    let mut beside = Beside::new();
    beside.play(SECOND * 5);
    beside.admit(0);
    let attempts = beside.play(MINUTE * 60);
    assert_eq!(attempts.len(), 5, "{attempts:?}");
    for (number, attempt) in (1..).zip(&attempts) {
        match attempt.fate {
            Fate::Later { poison, .. } => assert!(poison == number && number < 5, "{attempt:?}"),
            Fate::Held { poison, .. } => assert!(poison == 5 && number == 5, "{attempt:?}"),
            Fate::Over | Fate::Again | Fate::Expired => panic!("{attempt:?}"),
        }
        let is_alone = attempt.messages_before == 0;
        assert!(is_alone || number <= 3, "{attempt:?}");
        assert!(!is_alone || number > 3, "a connection that was in use: {attempt:?}");
    }
    for (pair, minutes) in attempts.windows(2).zip([1, 2, 4, 8]) {
        let wait = pair[1].at - pair[0].at;
        assert!(wait >= MINUTE * minutes * 3 / 4 && wait <= MINUTE * minutes * 5 / 4 + SECOND, "{wait:?}");
    }
    let (_, view) = beside.schedule.destinations().next().expect("a destination");
    assert_eq!((view.held, view.down_since), (1, None), "the host goes on");
    // An operator releases it: alone, twice at most.
    let name = Delivery { place: Place::Later(0), destination: beside.id };
    let now = beside.now;
    assert_eq!(beside.schedule.delivery(name, now).map(|view| view.waits), Some(Waits::Operator));
    assert_eq!(beside.schedule.release(name, now), Answer::Done);
    let attempts = beside.play(MINUTE * 60);
    assert!(attempts.iter().all(|attempt| attempt.messages_before == 0), "{attempts:?}");
    assert!(matches!(attempts.last().map(|last| last.fate), Some(Fate::Held { .. })), "{attempts:?}");
    assert_eq!(attempts.len(), 2);
}

#[test]
fn counts_that_the_journal_kept_go_on() {
    let mut beside = Beside::new();
    let one = Deferred {
        cursor: 0,
        destination: beside.id,
        due_in: Duration::ZERO,
        expires_in: DAY,
        attempts: 4,
        poison: 4,
        is_held: false,
    };
    assert!(beside.schedule.restore(one, beside.now));
    let attempts = beside.play(SECOND);
    let fates: Vec<_> = attempts.iter().map(|attempt| attempt.fate).collect();
    assert_eq!(fates, [Fate::Held { attempts: 5, poison: 5 }]);
}

/// A host that greets and then hangs has two messages at a time, ever more rarely, not all of its mail.
#[test]
fn a_host_that_hangs_does_not_poison_all_of_its_mail() {
    let now = Instant::now();
    let mut schedule = Schedule::new(settings(1), now);
    let id = schedule.add_destination(one_host(20), now).expect("an id");
    for cursor in 0..10_000 {
        let fresh = Fresh { cursor, destination: id, bytes: 1, expires_in: DAY };
        assert_eq!(schedule.admit(fresh, now), Admission::Taken);
    }
    let (mut at, mut lost, mut touched) = (now, 0, BTreeSet::new());
    while at < now + MINUTE * 60 {
        let mut hanging = Vec::new();
        while let Some(order) = schedule.next(at) {
            match order {
                Order::Connect { connection, .. } => schedule.connected(connection, at),
                Order::Close { connection } => schedule.closed(connection),
                Order::Deliver { connection, delivery } => hanging.push((connection, delivery)),
                Order::MoveToLater { .. } | Order::Expire { .. } => panic!("{order:?}"),
            }
        }
        // Time-outs come together, after half a minute.
        at += if hanging.is_empty() { SECOND } else { SECOND * 30 };
        for (connection, delivery) in hanging {
            lost += 1;
            touched.insert(delivery.place);
            if let Fate::Later { .. } = schedule.finished(connection, Ended::Lost("timed out"), at)
                && let Place::Log(cursor) = delivery.place
            {
                assert!(schedule.moved(delivery, cursor, at));
            }
        }
    }
    assert!(lost <= 120, "{lost} attempts of {} messages", touched.len());
    assert_eq!(schedule.count(), 10_000);
}

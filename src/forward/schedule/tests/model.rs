//! Random events, many seeds: nothing is ever forgotten, nothing goes out twice, and the counts agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::world::*;
use crate::forward::schedule::index::State;
use crate::forward::schedule::{
    Admission, Answer, Balance, ConnectionId, Deferred, Delivery, DestinationId, DestinationSettings, Ended,
    Fate, Fresh, Order, Place, Schedule, Settings, Target,
};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

/// What the caller knows: the independent account.
struct Model {
    schedule: Schedule,
    random: Random,
    now: Instant,
    /// With the connections that each of its hosts may have.
    destinations: Vec<(DestinationId, u16)>,
    /// Those that went in and did not come out.
    inside: BTreeSet<Delivery>,
    moving: Vec<Delivery>,
    connecting: Vec<ConnectionId>,
    closing: Vec<ConnectionId>,
    idle: Vec<ConnectionId>,
    busy: BTreeMap<ConnectionId, Delivery>,
    next_cursor: u64,
    ended: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed * 2 + 1);
        let now = Instant::now();
        let bounds = Settings { seed, connections_max: 3 + random.below(20), deliveries_max: 300 };
        let mut schedule = Schedule::new(bounds, now);
        let destinations = (0..=random.below(5)).map(|_| {
            let settings = DestinationSettings {
                hosts: 1 + random.below(3),
                balance: if random.below(2) == 0 { Balance::First } else { Balance::Spread },
                connections_max: u16::try_from(1 + random.below(6)).expect("small"),
            };
            let connections_max = settings.connections_max;
            (schedule.add_destination(settings, now).expect("an id"), connections_max)
        });
        let destinations = destinations.collect();
        Self {
            schedule,
            random,
            now,
            destinations,
            inside: BTreeSet::new(),
            moving: Vec::new(),
            connecting: Vec::new(),
            closing: Vec::new(),
            idle: Vec::new(),
            busy: BTreeMap::new(),
            next_cursor: 0,
            ended: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..4 => self.admit(),
            4 => self.restore(),
            5 | 6 => self.open(),
            7..11 => self.finish(),
            11 => self.copy(),
            12 => self.close(),
            13 => self.operate(),
            _ => self.pass_time(),
        }
        self.take_orders();
        assert!(
            self.schedule.next_deadline(self.now).is_none_or(|at| at > self.now),
            "it would be woken for nothing"
        );
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.random.below(from.len())])
    }

    fn id(&mut self) -> DestinationId {
        self.pick(&self.destinations.clone()).expect("a destination").0
    }

    fn any(&mut self) -> Option<Delivery> {
        let all: Vec<_> = self.inside.iter().copied().collect();
        self.pick(&all)
    }

    fn seconds(&mut self, bound: usize) -> Duration {
        Duration::from_millis(self.random.below(bound * 1000) as u64)
    }

    fn admit(&mut self) {
        self.next_cursor += 1;
        let (cursor, destination) = (self.next_cursor, self.id());
        let bytes = self.random.below(40_000_000) as u64;
        let expires_in = self.seconds(30_000);
        let delivery = Delivery { place: Place::Log(cursor), destination };
        match self.schedule.admit(Fresh { cursor, destination, bytes, expires_in }, self.now) {
            Admission::Taken => assert!(self.inside.insert(delivery)),
            Admission::Full => assert_eq!(self.schedule.delivery(delivery, self.now), None),
            Admission::Known => panic!("{delivery:?} is new"),
        }
    }

    fn restore(&mut self) {
        self.next_cursor += 1;
        let deferred = Deferred {
            cursor: self.next_cursor,
            destination: self.id(),
            due_in: self.seconds(5000),
            expires_in: self.seconds(50_000),
            attempts: u8::try_from(self.random.below(9)).expect("small"),
            poison: u8::try_from(self.random.below(5)).expect("small"),
            is_held: self.random.below(9) == 0,
        };
        assert!(self.schedule.restore(deferred, self.now));
        let place = Place::Later(self.next_cursor);
        assert!(self.inside.insert(Delivery { place, destination: deferred.destination }));
    }

    fn open(&mut self) {
        if self.connecting.is_empty() {
            return;
        }
        let at = self.random.below(self.connecting.len());
        let connection = self.connecting.swap_remove(at);
        if self.random.below(3) == 0 {
            self.schedule.connect_failed(connection, "refused", self.now);
        } else {
            self.schedule.connected(connection, self.now);
            self.idle.push(connection);
        }
    }

    fn finish(&mut self) {
        let all: Vec<_> = self.busy.keys().copied().collect();
        let Some(connection) = self.pick(&all) else { return };
        let delivery = self.busy.remove(&connection).expect("busy");
        if self.random.below(4) == 0 {
            self.schedule.use_up(connection);
        }
        let ended = match self.random.below(11) {
            0..5 => Ended::Done,
            5 | 6 => Ended::Deferred,
            10 => Ended::Part,
            7 => Ended::Untouched("reset"),
            _ => Ended::Lost("reset"),
        };
        let fate = self.schedule.finished(connection, ended, self.now);
        if matches!(ended, Ended::Done | Ended::Deferred | Ended::Part) {
            self.idle.push(connection);
        }
        match fate {
            Fate::Over | Fate::Expired => {
                assert!(self.inside.remove(&delivery));
                self.ended += 1;
            }
            Fate::Again => {}
            Fate::Later { .. } | Fate::Held { .. } => {
                if matches!(delivery.place, Place::Log(_)) {
                    self.moving.push(delivery);
                }
            }
        }
    }

    fn copy(&mut self) {
        for delivery in std::mem::take(&mut self.moving) {
            if self.random.below(5) == 0 {
                assert!(self.schedule.not_moved(delivery, self.now));
                continue;
            }
            self.next_cursor += 1;
            assert!(self.schedule.moved(delivery, self.next_cursor, self.now));
            assert!(!self.schedule.moved(delivery, self.next_cursor + 1, self.now), "it is moved");
            assert!(self.inside.remove(&delivery));
            assert!(self.inside.insert(Delivery { place: Place::Later(self.next_cursor), ..delivery }));
        }
    }

    fn close(&mut self) {
        for connection in std::mem::take(&mut self.closing) {
            self.schedule.closed(connection);
        }
        if self.random.below(4) == 0
            && let Some(connection) = self.pick(&self.idle.clone())
        {
            self.idle.retain(|one| *one != connection);
            self.schedule.closed(connection);
        }
    }

    fn operate(&mut self) {
        let destination = self.id();
        let host = if self.random.below(2) == 0 { None } else { Some(0) };
        let choice = self.random.below(9);
        match (choice, self.any()) {
            (0, _) => self.schedule.suspend(destination, host, self.now),
            (1 | 2, _) => self.schedule.resume(destination, host, self.now),
            (3, _) => _ = self.schedule.retry(Target::All, self.now),
            (4, _) => _ = self.schedule.retry(Target::Destination(destination), self.now),
            (5, Some(one)) => _ = self.schedule.retry(Target::One(one), self.now),
            (6, Some(one)) if self.schedule.hold_one(one) == Answer::Moving => self.moving.push(one),
            (7, Some(one)) => _ = self.schedule.release(one, self.now),
            (8, Some(one)) if self.schedule.remove(one) == Answer::Done => {
                assert!(self.inside.remove(&one));
                self.ended += 1;
            }
            _ => {}
        }
    }

    fn pass_time(&mut self) {
        let bound = [1, 10, 100, 5000][self.random.below(4)];
        let time = self.seconds(bound);
        self.now += time;
    }

    fn take_orders(&mut self) {
        // Slices of walks may take several calls.
        while self.schedule.next_deadline(self.now) == Some(self.now) {
            while let Some(order) = self.schedule.next(self.now) {
                self.take(order);
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Connect { connection, .. } => {
                assert!(!self.connecting.contains(&connection) && !self.busy.contains_key(&connection));
                assert!(!self.idle.contains(&connection) && !self.closing.contains(&connection));
                self.connecting.push(connection);
            }
            Order::Deliver { connection, delivery } => {
                assert!(self.inside.contains(&delivery), "{delivery:?} is over");
                assert!(self.busy.values().all(|one| *one != delivery), "{delivery:?} goes out twice");
                assert!(!self.moving.contains(&delivery), "{delivery:?} is being moved");
                assert!(self.idle.contains(&connection), "{connection:?} is not idle");
                self.idle.retain(|one| *one != connection);
                assert_eq!(self.busy.insert(connection, delivery), None);
            }
            Order::Close { connection } => {
                assert!(self.idle.contains(&connection), "{connection:?} is not idle");
                self.idle.retain(|one| *one != connection);
                self.closing.push(connection);
            }
            Order::MoveToLater { deliveries } => {
                for delivery in deliveries {
                    assert!(self.inside.contains(&delivery) && !self.moving.contains(&delivery));
                    self.moving.push(delivery);
                }
            }
            Order::Expire { delivery } => {
                assert!(self.inside.remove(&delivery), "{delivery:?} is over");
                self.ended += 1;
            }
        }
    }

    fn compare(&self) {
        let (page, end) = self.schedule.page(0, u32::MAX, self.now);
        assert_eq!(end, None);
        let inside: BTreeSet<_> = page.iter().map(|view| view.delivery).collect();
        assert_eq!(inside, self.inside);
        assert_eq!(page.len(), self.inside.len());
        let mut sums = [0; 6];
        for (id, view) in self.schedule.destinations() {
            for (sum, count) in
                sums.iter_mut().zip([view.fresh, view.due, view.waiting, view.busy, view.moving, view.held])
            {
                *sum += count as usize;
            }
            let states = (0..self.schedule.index.slots()).map(|slot| self.schedule.index[slot]);
            let of = states.filter(|entry| entry.destination == id && entry.state != State::Free);
            let in_log: Vec<_> = of.filter(|entry| entry.is_in_log).collect();
            let share = self.schedule.destinations[usize::from(id.0)].share;
            assert_eq!(share.messages as usize, in_log.len());
            assert_eq!(share.pages, in_log.iter().map(|entry| u32::from(entry.pages)).sum::<u32>());
            let (_, most) = self.destinations[usize::from(id.0)];
            assert!(view.hosts.iter().all(|host| host.open <= most));
        }
        assert_eq!(sums.iter().sum::<usize>(), self.inside.len(), "each is in one place: {sums:?}");
        assert_eq!(sums[3], self.busy.len());
        assert_eq!(sums[4], self.moving.len());
        let open = self.connecting.len() + self.closing.len() + self.idle.len() + self.busy.len();
        let hosts = self.schedule.destinations().flat_map(|(_, view)| view.hosts);
        assert_eq!(hosts.map(|host| usize::from(host.open)).sum::<usize>(), open);
        assert!(open <= self.schedule.settings.connections_max);
    }

    /// All hosts answer, all that is held is released: all of it goes out.
    fn drain(&mut self) {
        for (id, _) in self.destinations.clone() {
            self.schedule.resume(id, None, self.now);
        }
        for _ in 0..5000 {
            if self.inside.is_empty() {
                return;
            }
            for one in self.inside.iter().copied().collect::<Vec<_>>() {
                self.schedule.release(one, self.now);
            }
            self.schedule.retry(Target::All, self.now);
            self.take_orders();
            for connection in std::mem::take(&mut self.connecting) {
                self.schedule.connected(connection, self.now);
                self.idle.push(connection);
            }
            for (connection, delivery) in std::mem::take(&mut self.busy) {
                assert!(matches!(
                    self.schedule.finished(connection, Ended::Done, self.now),
                    Fate::Over | Fate::Expired
                ));
                assert!(self.inside.remove(&delivery));
                self.idle.push(connection);
            }
            for connection in std::mem::take(&mut self.closing) {
                self.schedule.closed(connection);
            }
            self.copy();
            self.now += MS * 100;
        }
        panic!("{} never go out: {:#?}", self.inside.len(), self.schedule.destinations().collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_forgotten_whatever_happens() {
    let seeds = std::env::var("SEED").map_or(0..200, |seed| {
        let seed = seed.parse().expect("a number");
        seed..seed + 1
    });
    let mut ended = 0;
    for seed in seeds {
        println!("seed {seed} (set SEED to repeat it)");
        let mut model = Model::new(seed);
        for step in 0..1500 {
            model.step();
            if step % 50 == 0 {
                model.compare();
            }
        }
        model.compare();
        model.drain();
        model.compare();
        ended += model.ended;
    }
    assert!(ended > 0, "something happened");
}

//! A world on virtual time: a log in which mail comes, hosts that are up, down or slow, a keeper that copies.
//! The engine's part is played here, and each delivery is followed to its end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::forward::schedule::{
    Admission, Balance, ConnectionId, Delivery, DestinationId, DestinationSettings, Ended, Fate, Fresh,
    Order, Place, Schedule, Settings,
};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

/// What a message is about, in a schedule of its own.
pub(super) fn settings(seed: u64) -> Settings {
    Settings { seed, connections_max: 100_000, deliveries_max: 10_000_000 }
}

pub(super) fn one_host(connections_max: u16) -> DestinationSettings {
    DestinationSettings { hosts: 1, balance: Balance::First, connections_max }
}

/// How a host behaves, and what it saw.
#[derive(Debug, Clone)]
pub(super) struct SimulatedHost {
    /// From when to when nobody answers.
    pub(super) down: Vec<(Duration, Duration)>,
    pub(super) connect_in: Duration,
    pub(super) answer_in: Duration,
    /// Each message with such a number gets 4yz; 0 for none.
    pub(super) defers_every: u64,
    pub(super) messages: u64,
    pub(super) open: usize,
    pub(super) most_open: usize,
    /// When connections to it were begun.
    pub(super) connects: Vec<Duration>,
}

impl SimulatedHost {
    pub(super) fn new(answer_in: Duration) -> Self {
        Self {
            down: Vec::new(),
            connect_in: MS,
            answer_in,
            defers_every: 0,
            messages: 0,
            open: 0,
            most_open: 0,
            connects: Vec::new(),
        }
    }

    pub(super) fn down(mut self, from: Duration, until: Duration) -> Self {
        self.down.push((from, until));
        self
    }

    fn is_down(&self, at: Duration) -> bool {
        self.down.iter().any(|(from, until)| (*from..*until).contains(&at))
    }
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Sent,
    Expired,
    Held,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) destination: DestinationId,
    pub(super) came: Duration,
    pub(super) ended: Option<(End, Duration)>,
    /// It was sent from the log, at the first attempt.
    pub(super) was_fresh: bool,
    pub(super) attempts: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Opened(ConnectionId),
    Answered(ConnectionId, Delivery),
    Copied(Vec<Delivery>),
    Arrives(usize),
}

pub(super) struct World {
    pub(super) schedule: Schedule,
    start: Instant,
    pub(super) elapsed: Duration,
    /// By destination, then by host.
    pub(super) hosts: Vec<Vec<SimulatedHost>>,
    pub(super) messages: Vec<Message>,
    pub(super) bytes: u64,
    pub(super) expires_in: Duration,
    pub(super) copied: usize,
    copy_in: Duration,
    log: VecDeque<usize>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    /// Which host each connection goes to.
    connections: Vec<Option<(DestinationId, usize)>>,
    on_the_way: BTreeSet<Delivery>,
    /// All orders, for runs that are compared.
    pub(super) orders: u64,
    pub(super) trace: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            schedule: Schedule::new(settings(seed), start),
            start,
            elapsed: Duration::ZERO,
            hosts: Vec::new(),
            messages: Vec::new(),
            bytes: 4096,
            expires_in: DAY * 5,
            copied: 0,
            copy_in: MS * 20,
            log: VecDeque::new(),
            events: BinaryHeap::new(),
            count: 0,
            connections: Vec::new(),
            on_the_way: BTreeSet::new(),
            orders: 0,
            trace: 0,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    pub(super) fn add(&mut self, settings: DestinationSettings, hosts: Vec<SimulatedHost>) -> DestinationId {
        assert_eq!(settings.hosts, hosts.len());
        self.hosts.push(hosts);
        let now = self.now();
        self.schedule.add_destination(settings, now).expect("room for a destination")
    }

    /// A message comes at this time.
    pub(super) fn send(&mut self, destination: DestinationId, at: Duration) {
        let message = Message { destination, came: at, ended: None, was_fresh: false, attempts: 0 };
        self.messages.push(message);
        self.happen(at, Event::Arrives(self.messages.len() - 1));
    }

    /// So many messages a second come from this time to that one.
    pub(super) fn send_evenly(
        &mut self,
        destination: DestinationId,
        rate: u32,
        from: Duration,
        until: Duration,
    ) {
        let mut at = from;
        while at < until {
            self.send(destination, at);
            at += SECOND / rate;
        }
    }

    /// Plays until this time.
    pub(super) fn run(&mut self, until: Duration) {
        loop {
            self.read();
            while let Some(order) = self.schedule.next(self.now()) {
                self.carry_out(order);
                self.read();
            }
            let deadline = self.schedule.next_deadline(self.now()).map(|at| at - self.start);
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let next = [deadline, event].into_iter().flatten().min().unwrap_or(until);
            if next >= until {
                self.elapsed = until;
                return;
            }
            self.elapsed = self.elapsed.max(next);
            while let Some(Reverse((at, ..))) = self.events.peek()
                && *at <= self.elapsed
            {
                let Some(Reverse((_, _, event))) = self.events.pop() else { break };
                self.handle(event);
            }
        }
    }

    /// Messages of a destination that ended like this.
    pub(super) fn ended(&self, destination: DestinationId, end: End) -> usize {
        self.of(destination).filter(|message| message.ended.is_some_and(|(how, _)| how == end)).count()
    }

    /// How long the sent ones of a destination waited that came in this time, sorted.
    pub(super) fn waits(&self, destination: DestinationId, from: Duration, until: Duration) -> Vec<Duration> {
        let all = self.of(destination).filter(|message| (from..until).contains(&message.came));
        let ended = all.map(|message| match message.ended {
            Some((End::Sent, at)) => at.saturating_sub(message.came),
            Some(_) | None => Duration::MAX,
        });
        let mut waits: Vec<_> = ended.collect();
        waits.sort_unstable();
        waits
    }

    /// Messages of a destination that were sent in this time.
    pub(super) fn sent_between(&self, destination: DestinationId, from: Duration, until: Duration) -> usize {
        let sent = |message: &&Message| {
            message.ended.is_some_and(|(end, at)| end == End::Sent && (from..until).contains(&at))
        };
        self.of(destination).filter(sent).count()
    }

    /// Nothing is forgotten: what came has ended, waits in the log, or the schedule has it.
    pub(super) fn settle_accounts(&self) {
        let came = self.messages.iter().filter(|message| message.came < self.elapsed);
        let open = came.filter(|message| message.ended.is_none_or(|(end, _)| end == End::Held)).count();
        assert_eq!(open, self.log.len() + self.schedule.count() as usize, "a delivery is gone");
    }

    fn of(&self, destination: DestinationId) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.destination == destination)
    }

    fn happen(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn read(&mut self) {
        while let Some(number) = self.log.front().copied() {
            let message = self.messages[number];
            let fresh = Fresh {
                cursor: number as u64,
                destination: message.destination,
                bytes: self.bytes,
                expires_in: self.expires_in,
            };
            match self.schedule.admit(fresh, self.now()) {
                Admission::Taken => _ = self.log.pop_front(),
                Admission::Full => return,
                Admission::Known => panic!("{number} was read twice"),
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        self.orders += 1;
        let text = format!("{:?} {order:?}", self.elapsed);
        let hash = |sum: u64, octet: u8| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(octet);
        self.trace = text.bytes().fold(self.trace, hash);
        match order {
            Order::Connect { connection, destination, host } => {
                let at = connection.0 as usize;
                self.connections.resize(self.connections.len().max(at + 1), None);
                assert_eq!(self.connections[at].replace((destination, host)), None);
                let host = &mut self.hosts[usize::from(destination.0)][host];
                host.open += 1;
                host.most_open = host.most_open.max(host.open);
                host.connects.push(self.elapsed);
                self.happen(self.elapsed + self.host_of(connection).connect_in, Event::Opened(connection));
            }
            Order::Deliver { connection, delivery } => {
                assert!(self.on_the_way.insert(delivery), "{delivery:?} is on its way twice");
                let host = self.host_of(connection);
                let wait = if host.is_down(self.elapsed) { MS } else { host.answer_in };
                self.happen(self.elapsed + wait, Event::Answered(connection, delivery));
            }
            Order::Close { connection } => {
                self.hang_up(connection);
                self.schedule.closed(connection);
            }
            Order::MoveToLater { deliveries } => {
                self.copied += deliveries.len();
                self.happen(self.elapsed + self.copy_in, Event::Copied(deliveries));
            }
            Order::Expire { delivery } => self.end(delivery, End::Expired),
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Arrives(number) => self.log.push_back(number),
            Event::Copied(deliveries) => {
                for delivery in deliveries {
                    let Place::Log(cursor) = delivery.place else { panic!("{delivery:?} is in later/") };
                    assert!(self.schedule.moved(delivery, cursor, now), "{delivery:?} was not moving");
                }
            }
            Event::Opened(connection) => {
                if self.host_of(connection).is_down(self.elapsed) {
                    self.hang_up(connection);
                    self.schedule.connect_failed(connection, "connection refused", now);
                } else {
                    self.schedule.connected(connection, now);
                }
            }
            Event::Answered(connection, delivery) => self.answer(connection, delivery),
        }
    }

    fn answer(&mut self, connection: ConnectionId, delivery: Delivery) {
        let at = self.elapsed;
        let (destination, number) = self.connections[connection.0 as usize].expect("a connection");
        let host = &mut self.hosts[usize::from(destination.0)][number];
        host.messages += 1;
        let ended = if host.is_down(at.saturating_sub(host.answer_in)) {
            Ended::Untouched("connection reset")
        } else if host.is_down(at) {
            Ended::Lost("connection reset after MAIL")
        } else if host.defers_every > 0 && host.messages.is_multiple_of(host.defers_every) {
            Ended::Deferred
        } else {
            Ended::Done
        };
        if matches!(ended, Ended::Untouched(_) | Ended::Lost(_)) {
            self.hang_up(connection);
        }
        assert!(self.on_the_way.remove(&delivery));
        let fate = self.schedule.finished(connection, ended, self.now());
        match fate {
            Fate::Over => self.end(delivery, End::Sent),
            Fate::Expired => self.end(delivery, End::Expired),
            Fate::Held { .. } => self.end(delivery, End::Held),
            Fate::Later { attempts, .. } => self.messages[number_of(delivery)].attempts = attempts,
            Fate::Again => {}
        }
        let is_moving = matches!(fate, Fate::Later { .. } | Fate::Held { .. });
        if is_moving && matches!(delivery.place, Place::Log(_)) {
            self.happen(self.elapsed + self.copy_in, Event::Copied(vec![delivery]));
        }
    }

    fn end(&mut self, delivery: Delivery, end: End) {
        let message = &mut self.messages[number_of(delivery)];
        assert_eq!(message.ended, None, "{delivery:?} has ended before");
        message.ended = Some((end, self.elapsed));
        message.was_fresh = matches!(delivery.place, Place::Log(_));
    }

    fn hang_up(&mut self, connection: ConnectionId) {
        let (destination, host) = self.connections[connection.0 as usize].take().expect("a connection");
        self.hosts[usize::from(destination.0)][host].open -= 1;
    }

    fn host_of(&self, connection: ConnectionId) -> &SimulatedHost {
        let (destination, host) = self.connections[connection.0 as usize].expect("a connection");
        &self.hosts[usize::from(destination.0)][host]
    }
}

fn number_of(delivery: Delivery) -> usize {
    let (Place::Log(cursor) | Place::Later(cursor)) = delivery.place;
    usize::try_from(cursor).expect("a number")
}

/// The 99th of a hundred.
pub(super) fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

//! The front of the room: what the engine has to do next, and until when it may sleep.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::connections::{CONNECTION_IDLE_MAX, Connections, Purpose, Use};
use super::delivery::{ConnectionId, DestinationId, Order, POISON_ALONE};
use super::destination::{AloneConnection, Destination, DestinationSettings, Way};
use super::index::{Index, State};
use super::jitter::Jitter;
use super::sweep::{Sweep, Walks};
use super::wheel::Wheel;
use super::window::{self, MOVE_AFTER, MOVE_MESSAGES_MAX, OTHERS_SEEN, Window};

/// Deliveries that become due in one step, so that none takes long.
const DUE_PER_STEP: usize = 256;

/// What holds for all destinations.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of what is random.
    pub seed: u64,
    /// Connections at a time, to all hosts.
    pub connections_max: usize,
    /// Deliveries at a time, deferred ones too; past it nothing is read from the log.
    pub deliveries_max: u32,
}

/// All that is to be delivered, and who to.
///
/// After each event, and at each deadline, the engine takes orders with [`next`](Self::next) until there is
/// none, and then sleeps until [`next_deadline`](Self::next_deadline).
#[derive(Debug)]
pub struct Schedule {
    pub(super) start: Instant,
    pub(super) settings: Settings,
    pub(super) destinations: Vec<Destination>,
    pub(super) index: Index,
    pub(super) wheel: Wheel,
    pub(super) window: Window,
    pub(super) connections: Connections,
    pub(super) jitter: Jitter,
    pub(super) walks: Walks,
    /// Destinations for which something may be done, in turn.
    ring: VecDeque<DestinationId>,
    /// Destinations that need a connection when there are as many as may be.
    starved: VecDeque<DestinationId>,
    /// Connections that the engine is to close.
    closing: VecDeque<ConnectionId>,
    /// Connections that are to be closed, or the engine was told to close.
    pub(super) ending: usize,
    /// When to look at which host again.
    timers: BinaryHeap<Reverse<(Instant, DestinationId, usize)>>,
    /// While the window is blocked: when to look next whose mail may give way.
    give_way_at: Option<Instant>,
    /// No second look before this.
    no_look_before: Instant,
    sweep: Sweep,
}

impl Schedule {
    /// No destinations and no mail yet.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            start: now,
            settings,
            destinations: Vec::new(),
            index: Index::new(),
            wheel: Wheel::new(),
            window: Window::default(),
            connections: Connections::default(),
            jitter: Jitter::new(settings.seed),
            walks: Walks::default(),
            ring: VecDeque::new(),
            starved: VecDeque::new(),
            closing: VecDeque::new(),
            ending: 0,
            timers: BinaryHeap::new(),
            give_way_at: None,
            no_look_before: now,
            sweep: Sweep::new(now),
        }
    }

    /// One destination more. None when there are 65,536.
    pub fn add_destination(&mut self, settings: DestinationSettings, now: Instant) -> Option<DestinationId> {
        let id = DestinationId(u16::try_from(self.destinations.len()).ok()?);
        self.destinations.push(Destination::new(settings, now));
        Some(id)
    }

    /// What the engine has to do now; none until the next event or deadline. Each call does a bounded piece
    /// of the work that is not asked for by anybody, so call it until there is none.
    pub fn next(&mut self, now: Instant) -> Option<Order> {
        self.fire_timers(now);
        self.turn_wheel(now);
        self.walk();
        if let Some(order) = self.sweep(now) {
            return Some(order);
        }
        if self.give_way_at.is_some_and(|at| at <= now) {
            self.look_who_gives_way(now);
        }
        if let Some(connection) = self.closing.pop_front() {
            return Some(Order::Close { connection });
        }
        loop {
            while let Some(id) = self.ring.pop_front() {
                if let Some(order) = self.pick(id, now) {
                    self.ring.push_back(id);
                    return Some(order);
                }
                self.destination(id).is_in_ring = false;
            }
            if !self.feed_starved() {
                break;
            }
        }
        self.closing.pop_front().map(|connection| Order::Close { connection })
    }

    /// When to call [`next`](Self::next) again, if nothing happens before; none when nothing would come of
    /// it.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if !self.ring.is_empty() || !self.closing.is_empty() || self.walks.is_walking() {
            return Some(now);
        }
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let due = self.wheel.first_second().map(|second| self.start + Duration::from_secs(second.into()));
        let sweep = (self.index.count() > 0).then(|| self.sweep.next_at(now));
        let deadlines = [timer, due, sweep, self.give_way_at];
        deadlines.into_iter().flatten().min().map(|at| at.max(now))
    }

    /// The second of the schedule's own time.
    pub(super) fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }

    /// The engine speaks of destinations that it was told of; anything else is its fault.
    pub(super) fn destination(&mut self, id: DestinationId) -> &mut Destination {
        &mut self.destinations[usize::from(id.0)]
    }

    /// Something may be done for this destination.
    pub(super) fn activate(&mut self, id: DestinationId) {
        let destination = self.destination(id);
        if !destination.is_in_ring {
            destination.is_in_ring = true;
            self.ring.push_back(id);
        }
    }

    /// Whether more destinations wait for a connection than connections are being closed.
    pub(super) fn is_starved(&self) -> bool {
        self.ending < self.starved.len()
    }

    /// Whoever waits for a connection has its turn, if there may be one more.
    fn feed_starved(&mut self) -> bool {
        let has_room = self.connections.count() < self.settings.connections_max;
        let Some(id) = has_room.then(|| self.starved.pop_front()).flatten() else { return false };
        self.activate(id);
        true
    }

    /// Has a host looked at, at this time or before.
    pub(super) fn arm(&mut self, id: DestinationId, host: usize, at: Instant) {
        let armed = &mut self.destination(id).hosts[host].armed;
        if armed.is_none_or(|armed| at < armed) {
            *armed = Some(at);
            self.timers.push(Reverse((at, id, host)));
        }
    }

    /// The next order for one destination.
    fn pick(&mut self, id: DestinationId, now: Instant) -> Option<Order> {
        self.close_unhealthy(id);
        let destination = self.destination(id);
        let has_alone = !destination.alone.is_empty();
        if let AloneConnection::Ready(connection) = destination.alone_connection
            && let Some(order) = self.deliver_alone(id, connection, now)
        {
            return Some(order);
        }
        let destination = self.destination(id);
        if destination.ready() == 0 && !has_alone {
            return None;
        }
        if let Some(host) = destination.host_to_probe(now)
            && let Some(order) = self.connect(id, host, Purpose::Probe)
        {
            return Some(order);
        }
        if has_alone && let Some(order) = self.connect_alone(id) {
            return Some(order);
        }
        let order = match self.destination(id).way() {
            Some(Way::Idle(host)) => self.deliver(id, host),
            Some(Way::Connect(host)) => self.connect(id, host, Purpose::Mail),
            None => None,
        };
        order.or_else(|| self.move_to_later(id, now))
    }

    fn connect(&mut self, id: DestinationId, host: usize, purpose: Purpose) -> Option<Order> {
        if self.connections.count() >= self.settings.connections_max {
            self.starve(id);
            return None;
        }
        let chosen = &mut self.destination(id).hosts[host];
        chosen.open += 1;
        chosen.connecting += 1;
        if purpose == Purpose::Probe {
            chosen.probe();
        }
        let connection = self.connections.open(id, host, purpose);
        Some(Order::Connect { connection, destination: id, host })
    }

    /// A connection for the message that goes alone. If only idle ones are in the way, one of them goes.
    fn connect_alone(&mut self, id: DestinationId) -> Option<Order> {
        let destination = self.destination(id);
        if destination.alone_connection != AloneConnection::None {
            return None;
        }
        if let Some(host) = destination.host_for_alone() {
            let order = self.connect(id, host, Purpose::Alone)?;
            self.destination(id).alone_connection = AloneConnection::Taken;
            return Some(order);
        }
        if let Some(host) =
            destination.hosts.iter().position(|host| host.can_deliver() && !host.can_connect())
        {
            self.close_idle(id, host);
        }
        None
    }

    fn deliver(&mut self, id: DestinationId, host: usize) -> Option<Order> {
        let destination = &mut self.destinations[usize::from(id.0)];
        let is_retry = destination.takes_retry();
        let list = if is_retry { &mut destination.due } else { &mut destination.fresh };
        let slot = list.first()?;
        let (_, connection) = destination.hosts[host].idle.pop()?;
        list.remove(&mut self.index, slot);
        if !is_retry {
            destination.drain.take();
        }
        Some(self.set_out(slot, connection, is_retry))
    }

    /// The message that goes alone, on its connection; or that connection serves all, if the message is gone.
    fn deliver_alone(&mut self, id: DestinationId, connection: ConnectionId, now: Instant) -> Option<Order> {
        let host = self.connections.find(connection).host;
        let destination = &mut self.destinations[usize::from(id.0)];
        // An operator may have stopped the host while it was connected to.
        if !destination.hosts[host].is_stopped()
            && let Some(slot) = destination.alone.first()
        {
            destination.alone.remove(&mut self.index, slot);
            destination.alone_connection = AloneConnection::Taken;
            return Some(self.set_out(slot, connection, true));
        }
        destination.alone_connection = AloneConnection::None;
        self.connections.find(connection).purpose = Purpose::Mail;
        self.rest(connection, now);
        None
    }

    fn set_out(&mut self, slot: u32, id: ConnectionId, is_retry: bool) -> Order {
        let entry = &mut self.index[slot];
        entry.state = State::Busy;
        let delivery = entry.delivery();
        let connection = self.connections.find(id);
        connection.used_for = Use::Busy { slot, is_retry };
        let host = connection.host;
        let destination = self.destination(delivery.destination);
        destination.busy += 1;
        destination.busy_retries += u32::from(is_retry);
        destination.hosts[host].busy += 1;
        Order::Deliver { connection: id, delivery }
    }

    /// A connection is idle from now on.
    pub(super) fn rest(&mut self, id: ConnectionId, now: Instant) {
        let connection = self.connections.find(id);
        connection.used_for = Use::Idle;
        let (destination, host) = (connection.destination, connection.host);
        self.destination(destination).hosts[host].idle.push((now, id));
        self.arm(destination, host, now + CONNECTION_IDLE_MAX);
    }

    /// The engine is to close a connection that is in no list.
    pub(super) fn end(&mut self, id: ConnectionId) {
        self.connections.find(id).used_for = Use::Closing;
        self.closing.push_back(id);
        self.ending += 1;
    }

    /// Closes the connection of a host that is idle for the longest time.
    fn close_idle(&mut self, id: DestinationId, host: usize) {
        let idle = &mut self.destination(id).hosts[host].idle;
        if !idle.is_empty() {
            let (_, connection) = idle.remove(0);
            self.end(connection);
        }
    }

    /// What was idle when its host was suspended or stopped is of no use.
    fn close_unhealthy(&mut self, id: DestinationId) {
        for host in 0..self.destination(id).hosts.len() {
            while !self.destination(id).hosts[host].is_healthy()
                && !self.destination(id).hosts[host].idle.is_empty()
            {
                self.close_idle(id, host);
            }
        }
    }

    /// This destination waits for a connection. The one that is idle for the longest time makes room, of
    /// destinations that have no mail for it.
    fn starve(&mut self, id: DestinationId) {
        if !self.starved.contains(&id) {
            self.starved.push_back(id);
        }
        if !self.is_starved() {
            return;
        }
        let without_mail = self.destinations.iter().zip(0..).filter(|(one, _)| one.ready() == 0);
        let hosts = without_mail.flat_map(|(destination, number)| {
            let hosts = destination.hosts.iter().enumerate();
            hosts.filter_map(move |(host, state)| Some((state.idle.first()?.0, DestinationId(number), host)))
        });
        if let Some((_, id, host)) = hosts.min() {
            self.close_idle(id, host);
        }
    }

    /// What has to make room for the mail of others: all of a destination that is down, the newest half of a
    /// slow one's.
    fn move_to_later(&mut self, id: DestinationId, now: Instant) -> Option<Order> {
        let is_blocked = self.window.is_blocked;
        let destination = &mut self.destinations[usize::from(id.0)];
        let is_full = window::is_full(destination.fresh.count(), destination.share);
        let is_slow = destination.drain.is_slow(is_full, destination.fresh.count(), now);
        let down_since = destination.down_since();
        let since = match down_since {
            Some(since) if is_full || is_blocked => since,
            None if is_slow => now,
            Some(_) | None => return None,
        };
        if destination.fresh.is_empty()
            || destination.moving > 0
            || destination.move_pause.is_some_and(|until| now < until)
            || (down_since.is_some() && now < since + MOVE_AFTER)
        {
            return None;
        }
        let seen_since = since.checked_sub(OTHERS_SEEN).unwrap_or(self.start);
        let mut others = self.window.others_since(id, seen_since.max(self.start));
        if !others.any(|other| self.destinations[usize::from(other.0)].down_since().is_none()) {
            return None;
        }
        let destination = &mut self.destinations[usize::from(id.0)];
        let mut deliveries = Vec::new();
        while deliveries.len() < MOVE_MESSAGES_MAX {
            let end = if is_slow { destination.fresh.last() } else { destination.fresh.first() };
            let Some(slot) = end else { break };
            destination.fresh.remove(&mut self.index, slot);
            destination.moving += 1;
            let second = u32::try_from(now.saturating_duration_since(self.start).as_secs());
            let entry = &mut self.index[slot];
            (entry.state, entry.due) = (State::Moving, second.unwrap_or(u32::MAX));
            deliveries.push(entry.delivery());
        }
        Some(Order::MoveToLater { deliveries })
    }

    /// Something did not fit into the window.
    pub(super) fn block(&mut self, now: Instant) {
        self.window.is_blocked = true;
        self.give_way_at.get_or_insert(self.no_look_before.max(now));
    }

    /// The window is blocked: whoever has untried mail in it is looked at, now and each second.
    fn look_who_gives_way(&mut self, now: Instant) {
        self.no_look_before = now + MOVE_AFTER;
        self.give_way_at = self.window.is_blocked.then_some(self.no_look_before);
        if self.window.is_blocked {
            let with_fresh = self.destinations.iter().zip(0..).filter(|(one, _)| !one.fresh.is_empty());
            let ids: Vec<_> = with_fresh.map(|(_, number)| DestinationId(number)).collect();
            for id in ids {
                self.activate(id);
            }
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(Reverse((at, id, host))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            // An earlier look replaced it.
            if self.destination(id).hosts[host].armed == Some(at) {
                self.destination(id).hosts[host].armed = None;
                self.look_at(id, host, now);
            }
        }
    }

    fn look_at(&mut self, id: DestinationId, host: usize, now: Instant) {
        while let Some((since, _)) = self.destination(id).hosts[host].idle.first().copied() {
            if since + CONNECTION_IDLE_MAX > now {
                self.arm(id, host, since + CONNECTION_IDLE_MAX);
                break;
            }
            self.close_idle(id, host);
        }
        match self.destination(id).hosts[host].probe_at() {
            Some(at) if at > now => self.arm(id, host, at),
            Some(_) => self.activate(id),
            None => {}
        }
    }

    fn turn_wheel(&mut self, now: Instant) {
        let second = self.second(now);
        for _ in 0..DUE_PER_STEP {
            let Some(slot) = self.wheel.next_due(&mut self.index, second) else { break };
            let id = self.index[slot].destination;
            self.destination(id).waiting -= 1;
            self.make_due(slot);
        }
    }

    /// The time of one that is in no list has come.
    pub(super) fn make_due(&mut self, slot: u32) {
        let (id, poison) = (self.index[slot].destination, self.index[slot].poison);
        let destination = &mut self.destinations[usize::from(id.0)];
        let (state, list) = if poison >= POISON_ALONE {
            (State::Alone, &mut destination.alone)
        } else {
            (State::Due, &mut destination.due)
        };
        list.push_back(&mut self.index, slot);
        self.index[slot].state = state;
        self.activate(id);
    }

    /// A slice of the sweep for what has expired, wherever it waits; it stops at each that has.
    fn sweep(&mut self, now: Instant) -> Option<Order> {
        if self.index.count() == 0 {
            return None;
        }
        let second = self.second(now);
        while let Some(slot) = self.sweep.next_slot(self.index.slots(), now) {
            let entry = self.index[slot];
            if entry.state.is_listed() && entry.expires <= second {
                self.unlist(slot);
                self.forget(slot);
                return Some(Order::Expire { delivery: entry.delivery() });
            }
        }
        None
    }
}

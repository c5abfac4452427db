//! One shard per CPU core: a thread, its ring, its listeners, its buffers, its connections. Shards share
//! nothing on the path of a message.
//!
//! A shard runs in turns: wait for events, take the orders that came, go on with handshakes that waited,
//! handle the events, take the letters, look at the deadlines, then settle each connection that something
//! happened to (one send a connection, receives armed or cancelled). All that a turn queued leaves with the
//! one `io_uring_enter` of the next.

pub mod affinity;
pub mod answers;
mod checks_budget;
pub mod clients;
mod connection;
mod connections;
pub mod context;
pub mod delivery;
mod draft;
mod events;
pub mod front_line;
mod fronts;
mod governor;
mod handshakes;
mod held;
pub mod inbox;
mod inflow;
mod line_rate;
pub mod lines;
pub mod listener;
mod liveness;
mod lookups;
pub mod mailboxes;
pub mod order;
pub mod parts;
mod phase;
mod provision;
pub mod recipient_map;
mod refusal_lines;
mod relief;
mod repeated_lines;
mod serving;
mod session_lines;
mod shares;
mod silence;
pub mod stations;
mod stopwatch;
mod table;
mod timers;
mod transport;
mod unread;
mod verdict_lines;
mod wire;
mod work;

use std::io;
use std::time::{Duration, Instant};

use self::connection::Connection;
use self::connections::Connections;
use self::context::Context;
use self::governor::Governor;
use self::listener::Listener;
use self::order::{NewSocket, Order, Service};
use self::provision::Provision;
use self::relief::{Relief, relieve_held, relieve_spilling};
use self::serving::Serving;
use self::table::Key;
use crate::limits::{HANDOFF_MESSAGES_MAX, SHUTDOWN_WAIT_MAX};
use crate::metrics::micros;
use crate::ring::{Event, Ring};

/// After the server was told to stop, handshakes that were under way are given this long to get into the
/// accept queue and be answered.
const ACCEPT_QUEUE_WAIT: Duration = Duration::from_millis(100);

/// One shard.
pub struct Shard<R> {
    context: Context<R>,
    listeners: Vec<Listener>,
    connections: Connections,
    relief: Relief,
    provision: Provision,
    events: Vec<Event>,
    /// The stop was ordered. It begins when the events of the turn have been handled.
    must_stop: bool,
    stopping: Option<Stopping>,
}

/// How far the shutdown is.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    /// Until then at least what was in the accept queues is taken and answered.
    not_before: Instant,
    /// Until then transactions under way may end.
    deadline: Instant,
    cut_off: bool,
}

impl Stopping {
    /// When to look again, if nothing happens.
    fn next(self, now: Instant) -> Instant {
        if self.not_before > now { self.not_before } else { self.deadline }
    }
}

impl<R: Ring> Shard<R> {
    /// A shard that serves with this from its first turn on.
    pub fn new(mut context: Context<R>, service: &Service, sockets: Vec<NewSocket>) -> Self {
        context.ring.watch(context.inbox.bell());
        let now = context.turn.now;
        let mut shard = Self {
            context,
            listeners: Vec::new(),
            connections: Connections::new(service.connections_max, now),
            relief: Relief::new(now),
            provision: Provision::new(),
            events: Vec::new(),
            must_stop: false,
            stopping: None,
        };
        shard.take_over(service, sockets);
        shard
    }

    /// Runs turns until the server was stopped and everything under way has ended.
    pub fn run(mut self) -> io::Result<()> {
        while !self.is_finished() {
            self.turn()?;
        }
        let Context { log, lines, turn, .. } = &mut self.context;
        lines.tell(true, log, turn.now, turn.wall_clock);
        self.context.log.flush();
        Ok(())
    }

    /// One turn.
    pub fn turn(&mut self) -> io::Result<()> {
        self.prepare();
        self.wait()?;
        self.context.turn.begin();
        self.context.turn.governor = self.governor();
        self.take_orders();
        self.handle_events();
        self.take_letters();
        self.connections.expire(&mut self.context);
        self.go_on_stopping();
        self.relief.relieve_silent(&mut self.connections, &mut self.context);
        self.connections.settle(&mut self.context);
        self.resume_work();
        self.end_if_done();
        relieve_held(&mut self.connections, &mut self.context);
        self.tell();
        self.close_abandoned();
        self.update_gauges();
        Ok(())
    }

    /// Has the ring accept, and gives it buffers to receive into.
    fn prepare(&mut self) {
        let Context { ring, pool, turn, .. } = &mut self.context;
        for listener in &mut self.listeners {
            listener.settle(ring, turn.now);
        }
        self.listeners.retain(|listener| !listener.is_gone());
        let takes_in_no_more = turn.work.is_behind() || turn.shares.are_turns_short();
        self.provision.provide(ring, pool, takes_in_no_more, turn.shares.events_waiting());
        // As many receives as buffers are published now.
        let published = ring.provided();
        self.connections.resume_stalled(published, &mut self.context);
        self.connections.resume_streams(published, &mut self.context);
    }

    /// Submits what the last turn queued and sleeps until something happens.
    fn wait(&mut self) -> io::Result<()> {
        // The clock was read when the events of the turn came, and is read now for the deadlines: to know how
        // long the turn took costs no reading more.
        let now = self.context.ring.now();
        let took = now.saturating_duration_since(self.context.turn.now);
        self.context.metrics.turn_us_max.raise(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.context.metrics.turn_duration.add_duration(took);
        let wait = self.may_sleep_for(now);
        let holds_back = self.holds_clients_back();
        let Context { ring, inbox, turn, metrics, clients, answers, .. } = &mut self.context;
        let may_sleep = inbox.park()
            && !turn.handshakes.is_behind()
            && !turn.work.is_behind()
            && turn.shares.events_waiting() == 0
            // Without a buffer none of them could begin.
            && (!turn.shares.has_streams() || ring.provided() == 0)
            && !answers.has_woken()
            // Whoever had to give way after the last settling has a reply to be sent.
            && self.connections.are_settled();
        let turned = ring.turn(if may_sleep { wait } else { Some(Duration::ZERO) }, &mut self.events);
        inbox.unpark();
        let began = std::mem::replace(&mut turn.now, ring.now());
        turn.wall_clock = ring.wall_clock();
        turn.moment = clients.moment(turn.now, turn.wall_clock);
        metrics.turns.add(1);
        metrics.ring_overflows.set(ring.overflows());
        if holds_back {
            metrics.back_pressure_us.add(micros(turn.now.saturating_duration_since(began)));
        }
        turned
    }

    /// Whom to serve with what is used now.
    fn governor(&self) -> Governor {
        let Context { delivery, pool, .. } = &self.context;
        let at_sink = delivery.under_way() * 100 / HANDOFF_MESSAGES_MAX;
        Governor::at(self.connections.used_percent(), [pool.pressure().used_percent(), at_sink])
    }

    /// Whether some client has to wait because memory, receive buffers or the sink have no room.
    fn holds_clients_back(&self) -> bool {
        let Context { delivery, pool, .. } = &self.context;
        self.connections.has_stalled() || delivery.has_waiting() || pool.pressure().refuses_new()
    }

    /// How long nothing is due; none when nothing will be.
    fn may_sleep_for(&self, now: Instant) -> Option<Duration> {
        let context = &self.context;
        let until = |at: Instant| at.saturating_duration_since(now);
        let lines = context.lines.due_in(now);
        let waiting = context.delivery.has_waiting().then_some(Duration::from_secs(1));
        let stopping = self.stopping.map(|stopping| until(stopping.next(now)));
        let due = [
            self.connections.idle_for(now),
            context.answers.due_in(now),
            context.log.due_in(now),
            lines,
            waiting,
            self.relief.due_in(),
            stopping,
        ];
        let listeners = self.listeners.iter().filter_map(Listener::wakes_at).map(until);
        due.into_iter().flatten().chain(listeners).min()
    }

    /// Carries out what the control thread ordered.
    fn take_orders(&mut self) {
        while let Some(order) = self.context.inbox.orders.next() {
            match order {
                Order::Serve(service, sockets) => self.take_over(&service, sockets),
                Order::Stop => self.must_stop = true,
            }
        }
    }

    /// From now on the shard serves with this. Nothing large is dropped: whoever ordered it keeps a count of
    /// what was before.
    fn take_over(&mut self, service: &Service, sockets: Vec<NewSocket>) {
        let now = self.context.turn.now;
        for listener in &mut self.listeners {
            match service.listeners.iter().find(|told| told.number == listener.number()) {
                Some(told) => listener.tell(told.clone()),
                None => listener.drain(now),
            }
        }
        for NewSocket { number, socket, is_lent } in sockets {
            if let Some(told) = service.listeners.iter().find(|told| told.number == number) {
                let mut listener = Listener::new(socket, told.clone()).lent(is_lent);
                if self.stopping.is_some() {
                    listener.stop(&mut self.context.ring);
                }
                self.listeners.push(listener);
            }
        }
        self.connections.limit(service.connections_max);
        self.examine_lists(service);
        let Context { lines, log, turn, .. } = &mut self.context;
        lines.go_by(&service.logged, log, turn.now, turn.wall_clock);
        service.take();
    }

    /// What other threads have done for connections goes on to them.
    fn take_letters(&mut self) {
        self.take_written();
        self.take_found();
        self.take_mapped();
        self.take_answers();
        self.take_back();
        self.take_receipts();
    }

    /// Messages that were at stations.
    fn take_back(&mut self) {
        let Self { context, connections, .. } = self;
        while let Some(back) = context.inbox.back.next() {
            context.stations.handle_back();
            let key = Key::from_word(back.message.origin.connection);
            if Connection::handle_back(connections.find(key), back, context) {
                connections.mark(key);
            }
        }
    }

    /// Parts of messages that the spiller is done with.
    fn take_written(&mut self) {
        let Self { context, connections, .. } = self;
        let mut is_scarce = false;
        while let Some(mut written) = context.inbox.written.next() {
            context.parts.handle_home();
            is_scarce |= written.is_scarce;
            let key = Key::from_word(written.part.origin.connection);
            if connections.find(key).is_some() {
                connections.touch(key, |connection| {
                    connection.serve(context, |serving, context| serving.handle_written(written, context));
                    connection.advance(context);
                });
            } else {
                written.part.data.release(&mut context.pool);
            }
        }
        if is_scarce {
            relieve_spilling(connections, context);
        }
    }

    /// What the store says of recipients.
    fn take_found(&mut self) {
        let Self { context, connections, .. } = self;
        while let Some(found) = context.inbox.found.next() {
            let (key, number, verdict) = context.mailboxes.handle_found(found, context.turn.now);
            connections.touch(key, |connection| {
                connection.serve(context, |serving, context| serving.handle_found(number, verdict, context));
                connection.advance(context);
            });
        }
    }

    /// What the map of recipients says. The store may be asked after it.
    fn take_mapped(&mut self) {
        let Self { context, connections, .. } = self;
        while let Some(answer) = context.inbox.mapped.next() {
            let (key, number, mapped) = context.recipient_map.handle_answer(answer, context.turn.now);
            connections.touch(key, |connection| {
                connection.serve(context, |serving, context| serving.handle_mapped(number, mapped, context));
                connection.advance(context);
            });
        }
    }

    /// What became of messages: the sink's receipts, then those of messages that the sink had no room for in
    /// time.
    fn take_receipts(&mut self) {
        let Self { context, connections, .. } = self;
        loop {
            let receipt = match context.inbox.receipts.next() {
                Some(receipt) => {
                    context.delivery.handle_receipt();
                    receipt
                }
                None => match context.delivery.next_overdue(context.turn.now) {
                    Some(receipt) => receipt,
                    None => break,
                },
            };
            let key = Key::from_word(receipt.message.origin.connection);
            if Connection::handle_receipt(connections.find(key), receipt, context) {
                connections.mark(key);
            }
        }
        let must_ring = context.delivery.hand_over_waiting(context.turn.now);
        context.ring_if(must_ring);
    }

    /// Goes on with connections that have used up their slice, while the turn has work left, and with one at
    /// least. Replies to the others leave before.
    fn resume_work(&mut self) {
        let Self { context, connections, .. } = self;
        if !context.turn.work.begin_queue() {
            return;
        }
        context.ring.submit();
        while let Some(key) = context.turn.work.next() {
            connections.touch(key, |connection| connection.resume_work(context));
        }
        connections.settle(context);
    }

    /// Says what is due in the log.
    fn tell(&mut self) {
        let Context { log, lines, turn, .. } = &mut self.context;
        lines.tell(false, log, turn.now, turn.wall_clock);
        let must_ring = log.flush_if_due(turn.now);
        self.context.ring_if(must_ring);
    }

    /// Has spill files closed that nobody needs any more.
    fn close_abandoned(&mut self) {
        let must_ring = self.context.parts.close_abandoned(&mut self.context.pool);
        self.context.ring_if(must_ring);
    }

    /// The server stops.
    fn begin_to_stop(&mut self) {
        let now = self.context.turn.now;
        self.stopping = Some(Stopping {
            not_before: now + ACCEPT_QUEUE_WAIT,
            deadline: now + SHUTDOWN_WAIT_MAX,
            cut_off: false,
        });
        self.listeners.iter_mut().for_each(|listener| listener.stop(&mut self.context.ring));
        self.connections.serve_each(Serving::shut_down, &mut self.context);
    }

    /// Begins the stop that was ordered; later transactions under way have had their time.
    fn go_on_stopping(&mut self) {
        match &mut self.stopping {
            None if self.must_stop => self.begin_to_stop(),
            Some(stopping) if !stopping.cut_off && stopping.deadline <= self.context.turn.now => {
                stopping.deadline += SHUTDOWN_WAIT_MAX;
                stopping.cut_off = true;
                self.connections.serve_each(Serving::cut_off, &mut self.context);
            }
            Some(_) | None => {}
        }
    }

    /// Stops accepting once nobody waits for anything. After the connections were settled: when the last one
    /// went with this turn, nothing else might bring another one before the deadline.
    fn end_if_done(&mut self) {
        if self.is_done() {
            // Whoever starts next on this address must find it free, so the sockets are closed before this
            // process ends.
            self.listeners.iter_mut().for_each(|listener| listener.end(&mut self.context.ring));
        }
    }

    /// Stopped, and nothing is left that a client or the sink still waits for; or the last deadline has
    /// passed.
    fn is_finished(&self) -> bool {
        let over = self
            .stopping
            .is_some_and(|stopping| stopping.cut_off && stopping.deadline <= self.context.turn.now);
        over || self.is_done() && !self.listeners.iter().any(Listener::is_armed)
    }

    /// Stopped, and nobody waits for anything.
    fn is_done(&self) -> bool {
        let Context { delivery, stations, turn, .. } = &self.context;
        let idle = self.connections.is_empty() && delivery.is_idle() && stations.away() == 0;
        let idle = idle && turn.shares.events_waiting() == 0;
        idle && self.stopping.is_some_and(|stopping| stopping.not_before <= self.context.turn.now)
    }

    fn update_gauges(&self) {
        let metrics = &self.context.metrics;
        self.context.answers.update_gauges();
        metrics.connections_open.set(self.connections.len() as u64);
        metrics.messages_at_sink.set(self.context.delivery.under_way() as u64);
        metrics.buffers.set(self.context.pool.buffers() as u64);
        metrics.buffers_pinned.set(self.context.pool.pinned() as u64);
        metrics.block_bytes_used.set(self.context.pool.block_bytes_used() as u64);
    }
}

//! One shard per CPU core: a thread, its ring, its listeners, its buffers, its connections. Shards share nothing on the
//! path of a message.
//!
//! A shard runs in turns: wait for events, handle them all, take the receipts that came, look at the deadlines, then
//! settle each connection that something happened to (one send a connection, receives armed or cancelled). All that a
//! turn queued leaves with the one `io_uring_enter` of the next.

pub mod affinity;
pub mod clients;
mod connection;
mod context;
pub mod delivery;
mod fronts;
mod held;
pub mod listener;
pub mod mailboxes;
mod pressure;
mod provision;
mod session_lines;
pub mod spill;
mod table;
mod timers;
mod transport;
mod work;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::clients::{Clients, TooMany};
use self::connection::{Connection, Fate};
use self::context::Context;
use self::delivery::Delivery;
use self::fronts::FrontNotes;
use self::listener::Listener;
use self::mailboxes::Mailboxes;
use self::provision::Provision;
use self::session_lines::SessionLines;
use self::spill::Spill;
use self::table::{Key, Table};
use self::timers::Timers;
use self::work::Work;
use crate::buffer::Pool;
use crate::limits::{
    HANDSHAKES_PER_TURN_MAX, LOG_SESSION_LINES_DEFAULT, REFUSED_CONNECTIONS_MAX, SHUTDOWN_WAIT_MAX,
};
use crate::log::Log;
use crate::metrics::ShardMetrics;
use crate::ring::{Event, Received, Ring, Socket};
use crate::smtp::session::Session;
use crate::smtp::supplies::Supplies;

/// After the server was told to stop, handshakes that were under way are given this long to get into the accept queue and
/// be answered.
const ACCEPT_QUEUE_WAIT: Duration = Duration::from_millis(100);

/// What a shard is made of, apart from its listeners.
pub struct Parts<R> {
    /// Its ring, made on its thread, receiving into the pool's arena.
    pub ring: R,
    /// Its buffers.
    pub pool: Pool,
    /// Its way to the sink.
    pub delivery: Delivery,
    /// Its way to move mail data out of memory; what comes home rings the bell of the receipts.
    pub spill: Spill,
    /// Its way to ask the store about recipients; answers ring the bell of the receipts.
    pub mailboxes: Mailboxes,
    /// Its way to log.
    pub log: Log,
    /// One log line a session.
    pub log_sessions: bool,
    /// One log line a message.
    pub log_messages: bool,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// Our name, for trace information.
    pub hostname: String,
    /// Connections at a time.
    pub connections_max: usize,
    /// The connections of each client over all shards.
    pub clients: Arc<Clients>,
    /// Set when the server stops; the receipts' bell is rung after that.
    pub stop: Arc<AtomicBool>,
}

/// One shard.
pub struct Shard<R> {
    context: Context<R>,
    listeners: Vec<Listener>,
    connections: Table<Connection>,
    connections_max: usize,
    timers: Timers,
    provision: Provision,
    events: Vec<Event>,
    /// Connections that something happened to in this turn.
    dirty: Vec<Key>,
    /// Connections whose receive found no buffer, the longest waiting first.
    stalled: VecDeque<Key>,
    /// When connections were last looked at for who has to give way.
    pressure_looked_at: Instant,
    /// Whether somebody had to give way then, so that it is looked at again though nothing happens.
    pressure_is_felt: bool,
    stop: Arc<AtomicBool>,
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
    /// A shard that begins to accept with its first turn.
    pub fn new(parts: Parts<R>, listeners: Vec<Listener>) -> Self {
        let Parts {
            mut ring,
            pool,
            delivery,
            spill,
            mailboxes,
            log,
            log_sessions,
            log_messages,
            metrics,
            hostname,
            connections_max,
            clients,
            stop,
        } = parts;
        ring.watch(delivery.receipts().bell().as_fd());
        let (now, wall_clock) = (ring.now(), ring.wall_clock());
        let spare_replies = Vec::new();
        let supplies = Supplies::within(delivery.envelope_budget());
        Self {
            context: Context {
                ring,
                pool,
                delivery,
                spill,
                mailboxes,
                log,
                log_sessions,
                log_messages,
                metrics,
                spare_replies,
                handshake_steps: 0,
                handshakes_waiting: VecDeque::new(),
                work: Work::default(),
                held: 0,
                supplies,
                hostname,
                clients,
                front_notes: FrontNotes::default(),
                session_lines: SessionLines::new(LOG_SESSION_LINES_DEFAULT),
                now,
                wall_clock,
            },
            listeners,
            connections: Table::new(connections_max + REFUSED_CONNECTIONS_MAX),
            connections_max,
            timers: Timers::new(now),
            provision: Provision::new(),
            events: Vec::new(),
            dirty: Vec::new(),
            stalled: VecDeque::new(),
            pressure_looked_at: now,
            pressure_is_felt: false,
            stop,
            stopping: None,
        }
    }

    /// From now on sessions without an accepted message have so many lines a second in the log.
    #[must_use]
    pub fn with_session_lines(mut self, lines_max: u32) -> Self {
        self.context.session_lines = SessionLines::new(lines_max);
        self
    }

    /// Runs turns until the server was stopped and everything under way has ended.
    pub fn run(mut self) -> io::Result<()> {
        while !self.is_finished() {
            self.turn()?;
        }
        let Context { log, session_lines, now, wall_clock, .. } = &mut self.context;
        session_lines.tell(log, *now, *wall_clock);
        self.context.log.flush();
        Ok(())
    }

    /// One turn.
    pub fn turn(&mut self) -> io::Result<()> {
        for listener in &mut self.listeners {
            listener.settle(&mut self.context.ring, self.context.now);
        }
        let is_behind = self.context.work.is_behind();
        self.provision.provide(&mut self.context.ring, &mut self.context.pool, is_behind);
        self.resume_stalled();
        self.wait()?;
        self.context.work.begin_turn();
        self.resume_handshakes();
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.handle(event);
        }
        self.events = events;
        self.handle_written();
        self.handle_found();
        self.handle_receipts();
        self.expire();
        self.handle_stop();
        self.relieve_pressure();
        self.settle();
        self.resume_work();
        self.end_if_done();
        self.relieve();
        let Context { log, session_lines, now, wall_clock, .. } = &mut self.context;
        session_lines.tell_if_due(log, *now, *wall_clock);
        let must_ring = log.flush_if_due(*now);
        self.context.ring_if(must_ring);
        let must_ring = self.context.spill.close_abandoned(&mut self.context.pool);
        self.context.ring_if(must_ring);
        self.update_gauges();
        Ok(())
    }

    /// Submits what the last turn queued and sleeps until something happens.
    fn wait(&mut self) -> io::Result<()> {
        let pressure = self.pressure_is_felt.then_some(pressure::LOOK_EVERY);
        let context = &mut self.context;
        let now = context.ring.now();
        // The clock was read when the events of the turn came, and is read now for the deadlines: the turn costs no reading more.
        let turn = now.saturating_duration_since(context.now);
        context.metrics.turn_us_max.raise(u64::try_from(turn.as_micros()).unwrap_or(u64::MAX));
        let pauses = self.listeners.iter().filter_map(Listener::paused_until);
        let waiting = context.delivery.has_waiting().then_some(Duration::from_secs(1));
        let timers = [self.timers.idle_for(now), context.log.due_in(now), context.session_lines.due_in(now)];
        let wait = timers
            .into_iter()
            .chain([waiting, pressure])
            .flatten()
            .chain(pauses.map(|until| until.saturating_duration_since(now)))
            .chain(self.stopping.map(|stopping| stopping.next(now).saturating_duration_since(now)))
            .min();
        let may_sleep = context.delivery.receipts().park()
            && !context.spill.is_home()
            && !context.mailboxes.is_home()
            && context.handshakes_waiting.is_empty()
            && !context.work.is_behind()
            // Whoever had to give way after the last settling has a reply to be sent.
            && self.dirty.is_empty();
        let turned = context.ring.turn(if may_sleep { wait } else { Some(Duration::ZERO) }, &mut self.events);
        context.delivery.receipts().unpark();
        context.now = context.ring.now();
        context.wall_clock = context.ring.wall_clock();
        turned
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { token, result, more } => {
                let number = usize::try_from(token.value()).unwrap_or(usize::MAX);
                self.handle_accepted(number, result, more);
            }
            Event::Received { token, received, more } => {
                let key = Key::from_word(token.value());
                if let Some(connection) = self.connections.find(key) {
                    let stalled = connection.handle_received(received, more, &mut self.context);
                    self.mark(key);
                    if stalled {
                        self.provision.handle_stall();
                        self.stalled.push_back(key);
                    }
                } else if let Received::Octets { buffer, .. } = received {
                    // Nobody reads these octets any more, but the buffer is ours.
                    self.context.pool.received(buffer);
                    self.context.pool.unpin(buffer);
                }
            }
            Event::Sent { token, head, result } => {
                let key = Key::from_word(token.value());
                let complete = result.is_ok_and(|count| count == head.len());
                self.context.keep_spare(head);
                if let Some(connection) = self.connections.find(key) {
                    connection.handle_sent(complete, &mut self.context);
                    self.mark(key);
                }
            }
            Event::Peeked { token, waiting } => {
                let key = Key::from_word(token.value());
                if let Some(connection) = self.connections.find(key) {
                    connection.handle_peeked(waiting, &mut self.context);
                    self.mark(key);
                }
            }
            Event::Connected { .. } | Event::Woken => {}
        }
    }

    fn handle_accepted(&mut self, number: usize, result: Result<Socket, Errno>, more: bool) {
        let Some(listener) = self.listeners.get_mut(number) else { return };
        listener.handle_accept(result.err(), more, self.context.now);
        let socket = match result {
            Ok(socket) => socket,
            Err(error) => return self.log_accept_failure(error),
        };
        // It fails when the client is gone already.
        let Ok(client) = self.context.ring.peer_address(socket) else {
            return self.context.ring.close(socket);
        };
        let full = self.connections.len() >= self.connections_max || self.stopping.is_some();
        let context = &mut self.context;
        let (settings, tls) = (listener.settings(), listener.tls());
        // A front that connects for many clients is not counted: those it speaks for are.
        let seat = if full || settings.gate.is_front(client.ip()) {
            Ok(None)
        } else {
            context.clients.enter(client.ip())
        };
        let turned_away = full || seat.is_err();
        let inserted = self.connections.insert(|key| {
            let session = Session::new(Arc::clone(settings), client, context.now);
            let mut connection = Connection::new(key, socket, session, tls, context.wall_clock);
            match seat {
                Ok(seat) if !full => connection.greet(seat, context.now),
                Ok(_) => connection.cut_off_at_once(context.now),
                Err(TooMany) => connection.turn_away(context.now),
            }
            connection
        });
        context.metrics.connections.add(1);
        if turned_away {
            context.metrics.connections_refused.add(1);
        }
        match inserted {
            Some(key) => self.mark(key),
            // Even those who are turned away have filled their places: there is no memory to be polite with.
            None => context.ring.close(socket),
        }
    }

    /// Accepting pauses then, so this is a few lines a second at most.
    fn log_accept_failure(&mut self, error: Errno) {
        if self.stopping.is_none() && error != Errno::CONNABORTED {
            self.context.metrics.accept_failures.add(1);
            let record = self.context.log.record("error", self.context.wall_clock);
            record.text("tried", b"accept").text("error", error.to_string().as_bytes()).end();
        }
    }

    /// Parts of messages that the spill thread is done with go on to their connections.
    fn handle_written(&mut self) {
        let mut is_scarce = false;
        while let Some(mut written) = self.context.spill.next_written() {
            is_scarce |= written.is_scarce;
            let key = Key::from_word(written.part.origin.connection);
            if let Some(connection) = self.connections.find(key) {
                connection.handle_written(written, &mut self.context);
                self.mark(key);
            } else {
                written.part.data.release(&mut self.context.pool);
            }
        }
        if is_scarce {
            self.relieve_spilling();
        }
    }

    /// What the store says of recipients goes to the connections that wait for it.
    fn handle_found(&mut self) {
        while let Some((key, number, verdict)) = self.context.mailboxes.next_found(self.context.now) {
            if let Some(connection) = self.connections.find(key) {
                connection.handle_found(number, verdict, &mut self.context);
                self.mark(key);
            }
        }
    }

    fn handle_receipts(&mut self) {
        while let Some(receipt) = self.context.delivery.next_receipt(self.context.now) {
            let key = Key::from_word(receipt.message.origin.connection);
            let connection = self.connections.find(key);
            let told =
                connection.is_some_and(|connection| connection.handle_receipt(&receipt, &mut self.context));
            if told {
                self.mark(key);
            }
            self.context.finish(receipt, told);
        }
        let must_ring = self.context.delivery.hand_over_waiting();
        self.context.ring_if(must_ring);
    }

    fn expire(&mut self) {
        while let Some(index) = self.timers.next_expired(self.context.now) {
            let Some(key) = self.connections.key_at(index) else { continue };
            if let Some(connection) = self.connections.find(key) {
                connection.expire(&mut self.context);
                self.mark(key);
            }
        }
    }

    /// Arms the receives again that found no buffer, as many as buffers are published now.
    fn resume_stalled(&mut self) {
        for _ in 0..self.context.ring.provided() {
            let Some(key) = self.stalled.pop_front() else { break };
            if let Some(connection) = self.connections.find(key) {
                connection.resume(&mut self.context);
            }
        }
    }

    /// Goes on with handshakes that earlier turns had no time for.
    fn resume_handshakes(&mut self) {
        self.context.handshake_steps = 0;
        while self.context.handshake_steps < HANDSHAKES_PER_TURN_MAX
            && let Some(key) = self.context.handshakes_waiting.pop_front()
        {
            if let Some(connection) = self.connections.find(key) {
                connection.resume_handshake(&mut self.context);
                self.mark(key);
            }
        }
    }

    /// Goes on with connections that have used up their slice, while the turn has work left, and with one at least. Replies to the others
    /// leave before.
    fn resume_work(&mut self) {
        if !self.context.work.begin_queue() {
            return;
        }
        self.context.ring.submit();
        while let Some(key) = self.context.work.next() {
            if let Some(connection) = self.connections.find(key) {
                connection.resume_work(&mut self.context);
                self.mark(key);
            }
        }
        self.settle();
    }

    /// Settles every connection that something happened to.
    fn settle(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(connection) = self.connections.find(key) else { continue };
            match connection.settle(&mut self.context) {
                Fate::Open => self.timers.set(key.index(), connection.deadline()),
                Fate::Gone => {
                    connection.log(&mut self.context);
                    self.timers.remove(key.index());
                    self.connections.remove(key);
                }
            }
        }
        self.dirty = dirty;
    }

    fn mark(&mut self, key: Key) {
        if self.connections.find(key).is_some_and(Connection::mark_dirty) {
            self.dirty.push(key);
        }
    }

    /// Begins the shutdown when it was asked for, and ends it when its time is over.
    fn handle_stop(&mut self) {
        match self.stopping {
            None if self.stop.load(Ordering::Relaxed) => {
                let not_before = self.context.now + ACCEPT_QUEUE_WAIT;
                let deadline = self.context.now + SHUTDOWN_WAIT_MAX;
                self.stopping = Some(Stopping { not_before, deadline, cut_off: false });
                self.listeners.iter().for_each(Listener::refuse_new);
                self.for_each_connection(Connection::shut_down);
            }
            Some(Stopping { not_before, deadline, cut_off: false }) if deadline <= self.context.now => {
                let deadline = deadline + SHUTDOWN_WAIT_MAX;
                self.stopping = Some(Stopping { not_before, deadline, cut_off: true });
                self.for_each_connection(Connection::cut_off);
            }
            None | Some(_) => {}
        }
    }

    /// Stops accepting once nobody waits for anything. After the connections were settled: when the last one went with this turn, nothing
    /// else might bring another one before the deadline.
    fn end_if_done(&mut self) {
        if self.is_done() {
            // Whoever starts next on this address must find it free, so the sockets are closed before this process ends.
            self.listeners.iter_mut().for_each(|listener| listener.end(&mut self.context.ring));
        }
    }

    fn for_each_connection(&mut self, act: fn(&mut Connection, &mut Context<R>)) {
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.find(key) {
                act(connection, &mut self.context);
                self.mark(key);
            }
        }
    }

    /// Stopped, and nothing is left that a client or the sink still waits for; or the last deadline has passed.
    fn is_finished(&self) -> bool {
        let over =
            self.stopping.is_some_and(|stopping| stopping.cut_off && stopping.deadline <= self.context.now);
        over || self.is_done() && !self.listeners.iter().any(Listener::is_armed)
    }

    /// Stopped, and nobody waits for anything.
    fn is_done(&self) -> bool {
        let idle = self.connections.is_empty() && self.context.delivery.is_idle();
        idle && self.stopping.is_some_and(|stopping| stopping.not_before <= self.context.now)
    }

    fn update_gauges(&self) {
        let metrics = &self.context.metrics;
        metrics.connections_open.set(self.connections.len() as u64);
        metrics.buffers_pinned.set(self.context.pool.pinned() as u64);
        metrics.block_bytes_used.set(self.context.pool.block_bytes_used() as u64);
    }
}

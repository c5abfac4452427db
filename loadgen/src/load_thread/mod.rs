//! One load thread: its ring, its connections, and the turn that moves octets between them and their
//! sessions.
//!
//! It owns everything it touches while it runs. Of what others see it reads one flag, [`Stop`], and
//! writes its own [`Counters`]; what it notes for the ledger it hands over once a turn.

pub mod bots;
mod closing;
mod connection;
pub mod counters;
mod secure;
mod socket;

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant};

use ringmx::buffer::{BufferId, Pool};
use ringmx::ring::{Event, Received, Ring, Token};
use rustix::io::Errno;

use crate::client::{Client, SessionEnd};
use crate::latency::Phase;
use crate::ledger::notes::Notes;
use crate::plan::Plan;
use crate::plan::shares::Share;
use crate::rate::Schedule;
use crate::scenario::act::Act;
use crate::stop::Stop;
use crate::tally::Tally;
use crate::work::Work;
use closing::Next;
use connection::{Connection, State};
use counters::Counters;
use secure::Secure;
use socket::{Manner, new_socket};

/// The longest turn, so that the flag and deadlines are looked at.
const TURN_MAX: Duration = Duration::from_millis(100);

/// After QUIT was answered the server has this long to close; then we do. It has as long to take our last
/// octets.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// After Ctrl-C sessions have this long to end their transaction.
const INTERRUPTED_WAIT_MAX: Duration = Duration::from_secs(2);

/// One thread's part of a run.
pub struct LoadThread<'a, R> {
    ring: R,
    /// Buffers for replies.
    pool: Pool,
    plan: &'a Plan,
    connections: Vec<Connection>,
    /// Connections that are not finished.
    unfinished: usize,
    work: Work,
    /// What connections begin TLS with, if they do.
    secure: Option<Secure<'a>>,
    /// Connections that wait for a message to be due, the one that waits longest first.
    idle: VecDeque<usize>,
    /// Number of the next connection that this thread makes, among those of all threads, and the step to the
    /// one after it.
    serial: u64,
    serial_step: u64,
    tally: Tally,
    /// When the last turn ended. A latency begins before its octets leave and ends after they came, so it is
    /// never reported shorter than it was.
    now: Instant,
    started: Instant,
}

impl<'a, R: Ring> LoadThread<'a, R> {
    /// `pool` is the one that `ring` receives into.
    pub fn new(plan: &'a Plan, share: &Share, mut ring: R, mut pool: Pool, notes: Notes) -> Self {
        while let Some(buffer) = pool.take() {
            ring.provide(buffer);
        }
        let now = ring.now();
        let threads = plan.threads.len();
        // Connections of the run are dealt to the threads in turn, so that each has its part of every
        // scenario.
        let connection =
            |index| Connection::new(token_of(index), plan.scenario_of(index * threads + share.index), now);
        let mut work = Work::new(share.first, share.messages);
        if let Some(rate) = plan.rate {
            let (thread, threads) = (share.index as u64, threads as u64);
            work = work.at_times(Schedule { rate, ramp: plan.duration, thread, threads }, now + plan.settle);
        }
        Self {
            ring,
            pool,
            plan,
            connections: (0..share.connections).map(connection).collect(),
            unfinished: share.connections,
            work,
            secure: plan.tls.as_ref().map(Secure::new),
            idle: VecDeque::new(),
            serial: share.index as u64,
            serial_step: threads as u64,
            tally: Tally { notes, ..Tally::default() },
            now,
            started: now,
        }
    }

    /// Runs to the end of the work, and gives what was counted.
    pub fn run(mut self, counters: &Counters, stop: &Stop) -> std::io::Result<Tally> {
        let mut events = Vec::new();
        let mut sweep_at = self.now;
        let mut interval_ends_at = Duration::ZERO;
        let mut interrupted_at = None;
        while self.unfinished > 0 {
            if self.now >= sweep_at {
                sweep_at = self.now + TURN_MAX;
                self.sweep();
            }
            self.ring.turn(Some(self.turn_max()), &mut events)?;
            self.now = self.ring.now();
            let since_start = (self.now - self.started).saturating_sub(self.plan.settle);
            if since_start >= interval_ends_at {
                interval_ends_at = self.tally.recorder.advance(since_start);
            }
            for event in events.drain(..) {
                self.handle_event(event);
            }
            self.give_due();
            let over =
                since_start >= self.plan.duration || self.tally.unsupported.is_some() || stop.is_asked();
            if over && !self.work.is_over() {
                self.tally.unsent += self.work.end(self.now);
                if self.tally.unsupported.is_some() {
                    stop.ask();
                }
            }
            if stop.is_asked() && self.now - *interrupted_at.get_or_insert(self.now) > INTERRUPTED_WAIT_MAX {
                break;
            }
            self.tally.notes.hand_over();
            counters.show(&mut self.tally);
        }
        self.end_notes();
        self.tally.intervals = std::mem::take(&mut self.tally.recorder).end();
        Ok(self.tally)
    }

    /// The longest wait of the next turn: until a message is due, if a connection is free for it.
    fn turn_max(&self) -> Duration {
        let due = self.work.next_due().filter(|_| !self.idle.is_empty());
        due.map_or(TURN_MAX, |due| due.saturating_duration_since(self.now).min(TURN_MAX))
    }

    /// Messages that are due go to connections that wait for one. When no more will be due, all of them go
    /// on, to their end.
    fn give_due(&mut self) {
        while self.work.is_ready(self.now) || self.work.is_over() {
            let Some(index) = self.idle.pop_front() else { return };
            if !std::mem::take(&mut self.connections[index].queued) {
                continue;
            }
            match self.connections[index].state {
                State::Waiting => self.connect(index),
                State::Open => self.advance(index),
                State::Pausing(_) | State::Connecting | State::Closing | State::Finished => {}
            }
        }
    }

    fn wait_for_message(&mut self, index: usize) {
        if !std::mem::replace(&mut self.connections[index].queued, true) {
            self.idle.push_back(index);
        }
    }

    /// After Ctrl-C transactions may be under way; a send that has not completed may have sent everything.
    fn end_notes(&mut self) {
        for connection in &mut self.connections {
            let sent = connection.sending || connection.sent_whole;
            connection.client.abandon(sent, &mut self.tally);
        }
        let dropped = self.tally.notes.end();
        if dropped > 0 {
            self.tally
                .failures
                .add(|| format!("the ledger lacks {dropped} entries: its file takes them too slowly"));
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Received { token, received, more } => {
                self.handle_received(index_of(token), received, more);
            }
            Event::Sent { token, head, result } => self.handle_sent(index_of(token), head, result),
            Event::Connected { token, result } => self.handle_connected(index_of(token), result),
            Event::Accepted { .. } | Event::Peeked { .. } | Event::Woken => {
                unreachable!("a client neither accepts nor peeks nor is woken")
            }
        }
    }

    fn handle_received(&mut self, index: usize, received: Received, more: bool) {
        self.connections[index].receiving = more;
        match received {
            Received::Octets { buffer, count } => self.handle_octets(index, buffer, count),
            Received::End => self.handle_loss(index, "the server closed the connection"),
            Received::Failed(error) => self.handle_loss(index, format_args!("the connection broke: {error}")),
            Received::NoBuffers | Received::Cancelled => {}
        }
        self.connections[index].keep_receiving(&mut self.ring);
        self.finish_close(index);
    }

    fn handle_octets(&mut self, index: usize, buffer: BufferId, count: usize) {
        let connection = &mut self.connections[index];
        self.pool.received(buffer);
        let open = connection.state == State::Open;
        let mut received = Ok(false);
        if open {
            let octets = self.pool.bytes(buffer, 0..count);
            connection.since = self.now;
            if connection.channel.is_none() {
                connection.client.handle_octets(octets, self.now, &mut self.tally);
            } else {
                received = connection.receive_secure(octets, self.now, &mut self.tally);
            }
        }
        self.pool.unpin(buffer);
        if let Some(free) = self.pool.take() {
            self.ring.provide(free);
        }
        match received {
            Ok(false) if open => self.advance(index),
            Ok(false) => {}
            Ok(true) => self.handle_loss(index, "the server closed the connection (close_notify)"),
            Err(error) => self.fail_secure(index, &error),
        }
    }

    /// The connection is gone; after QUIT that is as it should be.
    fn handle_loss(&mut self, index: usize, how: impl Display) {
        let connection = &self.connections[index];
        if connection.state != State::Open {
            return;
        }
        if connection.client.ending().is_none() && connection.client.may_be_ended() {
            self.connections[index].client.handle_ended(&mut self.tally);
        } else if connection.client.ending().is_none() {
            self.tally.failures.add(|| format!("{}: {how}", connection.client.waits_for()));
        }
        self.connections[index].begin_close(&mut self.ring, self.now);
    }

    fn handle_sent(&mut self, index: usize, mut head: Vec<u8>, result: Result<usize, Errno>) {
        let connection = &mut self.connections[index];
        head.clear();
        connection.head = head;
        connection.sending = false;
        let whole = result == Ok(connection.send_bytes);
        if connection.channel.is_some() {
            match connection.prepare_rest(whole, self.now, &mut self.tally) {
                Ok(true) => return connection.send(&mut self.ring, b"", self.now),
                Ok(false) => {}
                Err(error) => self.fail_secure(index, &error),
            }
        } else {
            connection.sent_whole = whole;
            if whole {
                connection.client.handle_sent(self.now, &mut self.tally);
            }
        }
        let connection = &self.connections[index];
        if result.is_err() && !connection.client.reads() {
            self.handle_loss(index, "the server closed the connection");
            return self.finish_close(index);
        }
        // After an error the receive reports the end of the connection, after what the server said last (a
        // 421, a 552).
        if connection.state == State::Open && result.is_ok() {
            self.advance(index);
        }
        self.finish_close(index);
    }

    fn handle_connected(&mut self, index: usize, result: Result<(), Errno>) {
        let connection = &mut self.connections[index];
        connection.sending = false;
        match (connection.state, result) {
            (State::Connecting, Ok(())) => {
                self.tally.connections += 1;
                self.tally.latencies.record(Phase::Connect, self.now - connection.since);
                connection.state = State::Open;
                connection.since = self.now;
                connection.client.handle_connected(self.now);
                self.connections[index].keep_receiving(&mut self.ring);
                // A PROXY header and an early talker's EHLO do not wait for the greeting.
                self.advance(index);
            }
            (State::Connecting, Err(error)) => {
                let address = self.plan.address;
                self.tally.failures.add(|| format!("connect to {address}: {error}"));
                self.connections[index].begin_close(&mut self.ring, self.now);
            }
            (State::Pausing(_) | State::Waiting | State::Open | State::Closing | State::Finished, _) => {}
        }
        self.finish_close(index);
    }

    /// Sends what the session has to say, if the last send has ended.
    fn advance(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match connection.client.ending() {
            Some(SessionEnd::Broken | SessionEnd::Done) => {
                return self.connections[index].begin_close(&mut self.ring, self.now);
            }
            Some(SessionEnd::Quit) => return connection.say_farewell(&mut self.ring, self.now),
            None => {}
        }
        if connection.socket.is_none() || connection.sending {
            return;
        }
        if let (Some(secure), true) = (&mut self.secure, connection.is_secure()) {
            return match connection.prepare_secure(secure, &mut self.work, self.now, &mut self.tally) {
                Ok(()) if connection.head.is_empty() => self.rest(index),
                Ok(()) => connection.send(&mut self.ring, b"", self.now),
                Err(error) => self.fail_secure(index, &error),
            };
        }
        let head = &mut connection.head;
        let Some(body) = connection.client.next_send(head, &mut self.work, self.now, &mut self.tally) else {
            return self.rest(index);
        };
        if !connection.client.reads() && connection.receiving {
            self.ring.cancel_receive(connection.token);
        }
        connection.sent_whole = false;
        connection.send(&mut self.ring, body, self.now);
    }

    /// TLS cannot go on: a failure of the run, whatever the scenario allows the server.
    fn fail_secure(&mut self, index: usize, error: &rustls::Error) {
        let connection = &mut self.connections[index];
        if connection.client.ending().is_none() {
            self.tally.failures.add(|| connection.failure_of_tls(error));
        }
        connection.begin_close(&mut self.ring, self.now);
    }

    /// The session has nothing to say for now.
    fn rest(&mut self, index: usize) {
        let connection = &self.connections[index];
        // Sessions that send no messages wait for the end of the run only, and the sweep sees that.
        if connection.client.is_idle() && connection.scenario.row.act.sends() {
            self.wait_for_message(index);
        }
    }

    /// Looks at every connection: starts those whose pause is over, ends those that wait too long.
    fn sweep(&mut self) {
        let over = self.work.is_over();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let waited = self.now - connection.since;
            match connection.state {
                State::Pausing(until) if self.now >= until || over => self.connect(index),
                State::Connecting if waited > self.plan.timeout => {
                    self.tally.failures.add(|| format!("connect: no answer within {:?}", self.plan.timeout));
                    self.connections[index].begin_close(&mut self.ring, self.now);
                }
                State::Open if connection.client.ending().is_some() && waited > CLOSE_WAIT_MAX => {
                    self.connections[index].begin_close(&mut self.ring, self.now);
                }
                State::Open if connection.client.is_quiet() => {
                    if over {
                        connection.client.end();
                        self.advance(index);
                    } else if connection.client.take_drip(self.now) {
                        self.advance(index);
                    }
                }
                State::Open if waited > self.plan.timeout => {
                    let (client, timeout) = (&connection.client, self.plan.timeout);
                    self.tally
                        .failures
                        .add(|| format!("{}: no reply within {timeout:?}", client.waits_for()));
                    self.connections[index].begin_close(&mut self.ring, self.now);
                }
                // The server does not take our farewell.
                State::Closing
                    if connection.channel.is_some() && connection.sending && waited > CLOSE_WAIT_MAX =>
                {
                    connection.cancel_send(&mut self.ring);
                    connection.since = self.now;
                }
                State::Pausing(_)
                | State::Waiting
                | State::Connecting
                | State::Open
                | State::Closing
                | State::Finished => {}
            }
        }
    }

    /// Connects if there is a message to send. Otherwise the connection has done its part.
    fn connect(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let sends = connection.scenario.row.act.sends();
        // In the open loop a session of few messages is made for one that is due: then its latency has the
        // connect in it.
        let claims =
            sends && (!self.work.is_open_loop() || connection.scenario.messages_per_session.is_some());
        let claimed = if claims { self.work.take(self.now) } else { None };
        if claimed.is_none() && self.work.is_over() {
            return self.finish(index);
        }
        if claims && claimed.is_none() {
            connection.state = State::Waiting;
            return self.wait_for_message(index);
        }
        let serial = self.serial;
        self.serial += self.serial_step;
        connection.client = Client::new(connection.scenario, claimed, serial, self.now);
        connection.since = self.now;
        let source = self.plan.source.map(|network| network.address(serial));
        let manner = Manner { is_small: connection.scenario.row.act == Act::NeverReads, ..Manner::default() };
        match new_socket(self.plan.address, source, manner) {
            Ok(socket) => {
                connection.state = State::Connecting;
                connection.socket = Some(socket);
                // A connect completes as a send does: once.
                connection.sending = true;
                self.ring.connect(socket, self.plan.address, connection.token);
            }
            Err(error) => {
                self.tally.failures.add(|| match source {
                    Some(source) => format!("a socket at {source}: {error}"),
                    None => format!("a socket: {error}"),
                });
                self.after_close(index, false);
            }
        }
    }

    /// Closes the connection, if that was begun and nothing is under way on it any more.
    fn finish_close(&mut self, index: usize) {
        let closed = self.connections[index].finish_close(&mut self.ring, &mut self.tally);
        if let Some(quit) = closed {
            self.after_close(index, quit);
        }
    }

    /// A session is over. The next one begins, now or after a pause, as long as work is left.
    fn after_close(&mut self, index: usize, quit: bool) {
        let connection = &mut self.connections[index];
        if let Some(message) = connection.client.take_claimed() {
            self.work.give_back(message);
        }
        match connection.next(quit, self.plan, self.started, self.now) {
            Next::Connect => self.connect(index),
            Next::Pause(until) => connection.state = State::Pausing(until),
            Next::Finish => self.finish(index),
        }
    }

    fn finish(&mut self, index: usize) {
        self.connections[index].state = State::Finished;
        self.unfinished -= 1;
    }
}

fn token_of(index: usize) -> Token {
    Token::new(index as u64)
}

fn index_of(token: Token) -> usize {
    usize::try_from(token.value()).expect("made of an index")
}

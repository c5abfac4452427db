//! A load thread whose sessions are bots: its ring, its places for connections, and the turn.
//!
//! Whatever the server does is as good here, so this thread has no failures of sessions, no mail data, no TLS
//! and no ledger. It is bounded: in connections by its places, in sessions by its share, and in time by that
//! of a session and that of the run.

use std::time::{Duration, Instant};

use ringmx::buffer::{BufferId, Pool};
use ringmx::ring::{Event, Outgoing, Received, Ring, SendId, Socket, Token};
use rustix::io::Errno;

use super::counters::Counters;
use super::socket::{Manner, new_socket};
use crate::bot::Bot;
use crate::latency::Phase;
use crate::plan::Plan;
use crate::plan::shares::Share;
use crate::rate::Schedule;
use crate::scenario::bots::{Bots, End, Kind};
use crate::stop::Stop;
use crate::tally::{LATE, Tally};
use crate::work::{Message, Work};

/// The longest turn, so that the flag, slow bots and those whose time is over are looked at.
const TURN_MAX: Duration = Duration::from_millis(100);

/// One thread's part of a run of bots.
pub struct BotThread<'a, R> {
    ring: R,
    /// Buffers for replies.
    pool: Pool,
    plan: &'a Plan,
    bots: &'static Bots,
    /// A place for each connection that may be there at a time.
    places: Vec<Place>,
    /// Places without a session.
    free: Vec<usize>,
    /// Free places whose connect failed: they wait for the next sweep, so that a server that is gone is not
    /// asked without a pause.
    resting: Vec<usize>,
    work: Work,
    tally: Tally,
    now: Instant,
    started: Instant,
}

/// A place for one session after another. A socket is closed only after its last operation, so no event of
/// one socket can reach the next one.
struct Place {
    token: Token,
    state: State,
    socket: Option<Socket>,
    bot: Bot,
    /// Octets of the last send, to be used again.
    head: Vec<u8>,
    receiving: bool,
    /// A send or a connect is under way.
    sending: bool,
    last_send: Option<SendId>,
    send_bytes: usize,
    /// Start of the connect.
    since: Instant,
    /// The intended time of the session; in the closed loop the same.
    due: Instant,
}

/// ```text
///   Free → Connecting → Open → Closing → Free
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Connecting,
    Open,
    /// Its operations were cancelled; the socket is closed after the last one.
    Closing,
}

impl<'a, R: Ring> BotThread<'a, R> {
    /// `pool` is the one that `ring` receives into.
    pub fn new(plan: &'a Plan, bots: &'static Bots, share: &Share, mut ring: R, mut pool: Pool) -> Self {
        while let Some(buffer) = pool.take() {
            ring.provide(buffer);
        }
        let now = ring.now();
        let mut work = Work::new(share.first, share.messages);
        if let Some(rate) = plan.rate {
            let (thread, threads) = (share.index as u64, plan.threads.len() as u64);
            work = work.at_times(Schedule { rate, ramp: plan.duration, thread, threads }, now);
        }
        let place = |index: usize| Place {
            token: Token::new(index as u64),
            state: State::Free,
            socket: None,
            bot: Bot::new(bots, 0, now),
            head: Vec::new(),
            receiving: false,
            sending: false,
            last_send: None,
            send_bytes: 0,
            since: now,
            due: now,
        };
        Self {
            ring,
            pool,
            plan,
            bots,
            places: (0..share.connections).map(place).collect(),
            free: (0..share.connections).rev().collect(),
            resting: Vec::new(),
            work,
            tally: Tally::default(),
            now,
            started: now,
        }
    }

    /// Runs to the end of the work, and gives what was counted.
    pub fn run(mut self, counters: &Counters, stop: &Stop) -> std::io::Result<Tally> {
        let mut events = Vec::new();
        let mut sweep_at = self.now;
        while !(self.work.is_over() && self.free.len() + self.resting.len() == self.places.len()) {
            let over = self.now - self.started >= self.plan.duration || stop.is_asked();
            if over && !self.work.is_over() {
                self.tally.unsent += self.work.end(self.now);
            }
            if over || self.now >= sweep_at {
                sweep_at = self.now + TURN_MAX;
                self.sweep(over);
            }
            self.begin_due();
            self.ring.turn(Some(self.turn_max()), &mut events)?;
            self.now = self.ring.now();
            for event in events.drain(..) {
                self.handle_event(event);
            }
            counters.show(&mut self.tally);
        }
        counters.show(&mut self.tally);
        Ok(self.tally)
    }

    /// The longest wait of the next turn: until a session is due, if there is a place for it.
    fn turn_max(&self) -> Duration {
        let due = self.work.next_due().filter(|_| !self.free.is_empty());
        due.map_or(TURN_MAX, |due| due.saturating_duration_since(self.now).min(TURN_MAX))
    }

    /// Begins the sessions that are due, as long as there are places.
    fn begin_due(&mut self) {
        while let Some(index) = self.free.pop() {
            let Some(message) = self.work.take(self.now) else { return self.free.push(index) };
            self.connect(index, message);
        }
    }

    fn connect(&mut self, index: usize, message: Message) {
        self.tally.started += 1;
        let due = message.due.unwrap_or(self.now);
        if message.due.is_some() {
            let wait = self.now.saturating_duration_since(due);
            self.tally.latencies.record(Phase::Wait, wait);
            self.tally.late += u64::from(wait > LATE);
        }
        let place = &mut self.places[index];
        place.bot = Bot::new(self.bots, message.number, self.now);
        (place.since, place.due) = (self.now, due);
        let source = self.plan.source.map(|network| network.address(place.bot.address()));
        let manner = Manner { is_small: place.bot.is_small(), resets: place.bot.resets() };
        match new_socket(self.plan.address, source, manner) {
            Ok(socket) => {
                place.state = State::Connecting;
                place.socket = Some(socket);
                place.sending = true;
                self.ring.connect(socket, self.plan.address, place.token);
            }
            Err(error) => {
                self.tally.failures.add(|| match source {
                    Some(source) => format!("a socket at {source}: {error}"),
                    None => format!("a socket: {error}"),
                });
                place.bot.finish(End::NotConnected);
                self.count_end(index);
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Received { token, received, more } => {
                self.handle_received(index_of(token), received, more);
            }
            Event::Sent { token, head, result } => {
                let place = &mut self.places[index_of(token)];
                place.sending = false;
                place.head = head;
                place.head.clear();
                if result != Ok(place.send_bytes) {
                    place.end(End::Reset, &mut self.ring);
                }
                self.advance(index_of(token));
            }
            Event::Connected { token, result } => self.handle_connected(index_of(token), result),
            Event::Accepted { .. } | Event::Peeked { .. } | Event::Woken => {
                unreachable!("a client neither accepts nor peeks nor is woken")
            }
        }
    }

    fn handle_connected(&mut self, index: usize, result: Result<(), Errno>) {
        let place = &mut self.places[index];
        place.sending = false;
        match (place.state, result) {
            (State::Connecting, Ok(())) => {
                self.tally.connections += 1;
                self.tally.latencies.record(Phase::Connect, self.now - place.since);
                place.state = State::Open;
                place.bot.handle_connected(self.now);
            }
            (State::Connecting, Err(_)) => place.end(End::NotConnected, &mut self.ring),
            (State::Free | State::Open | State::Closing, _) => {}
        }
        self.advance(index);
    }

    fn handle_received(&mut self, index: usize, received: Received, more: bool) {
        let place = &mut self.places[index];
        place.receiving = more;
        match received {
            Received::Octets { buffer, count } => self.handle_octets(index, buffer, count),
            Received::End => place.end(End::Closed, &mut self.ring),
            Received::Failed(_) => place.end(End::Reset, &mut self.ring),
            Received::NoBuffers | Received::Cancelled => {}
        }
        self.advance(index);
    }

    fn handle_octets(&mut self, index: usize, buffer: BufferId, count: usize) {
        let place = &mut self.places[index];
        self.pool.received(buffer);
        if place.state == State::Open {
            place.bot.handle_octets(self.pool.bytes(buffer, 0..count), self.now, &mut self.tally);
        }
        self.pool.unpin(buffer);
        if let Some(free) = self.pool.take() {
            self.ring.provide(free);
        }
    }

    /// Goes on with a session: receives, says what is to be said, ends, and is counted.
    fn advance(&mut self, index: usize) {
        let place = &mut self.places[index];
        if place.state == State::Open {
            place.speak(&mut self.ring, self.now);
        }
        if place.state == State::Closing && !place.receiving && !place.sending {
            if let Some(socket) = place.socket.take() {
                self.ring.close(socket);
            }
            self.count_end(index);
        }
    }

    fn count_end(&mut self, index: usize) {
        let place = &mut self.places[index];
        let end = place.bot.end().unwrap_or(End::Cut);
        let is_complete = place.bot.is_complete();
        self.tally.bots.count_end(place.bot.kind(), end, is_complete);
        if is_complete && place.bot.kind() == Kind::Refused {
            self.tally.latencies.record(Phase::Session, self.now.saturating_duration_since(place.due));
        }
        place.state = State::Free;
        if end == End::NotConnected {
            self.resting.push(index);
        } else {
            self.free.push(index);
        }
    }

    /// Looks at every connection: slow bots say their octet, those whose time is over end, and so do all when
    /// the run is over.
    fn sweep(&mut self, over: bool) {
        self.free.append(&mut self.resting);
        for index in 0..self.places.len() {
            let place = &mut self.places[index];
            let waited = self.now - place.since;
            match place.state {
                State::Connecting | State::Open if over => place.end(End::Cut, &mut self.ring),
                State::Connecting if waited > self.plan.timeout.min(self.bots.session_max) => {
                    place.end(End::NotConnected, &mut self.ring);
                }
                State::Open if waited > self.bots.session_max => place.end(End::TimedOut, &mut self.ring),
                State::Open if !place.sending => {
                    if let Some(octet) = place.bot.take_drip(self.now) {
                        place.send(octet, &mut self.ring);
                    }
                }
                State::Free | State::Connecting | State::Open | State::Closing => {}
            }
            self.advance(index);
        }
    }
}

impl Place {
    /// Says what there is to say, and receives if the bot reads.
    fn speak(&mut self, ring: &mut impl Ring, now: Instant) {
        let Some(socket) = self.socket else { return };
        if !self.sending
            && self.bot.end().is_none()
            && let Some(body) = self.bot.next_send(&mut self.head, now)
        {
            self.send(body, ring);
        }
        if self.bot.end().is_some() {
            return self.close(ring);
        }
        match (self.bot.reads(), self.receiving) {
            (true, false) => {
                self.receiving = true;
                ring.receive(socket, self.token);
            }
            (false, true) => ring.cancel_receive(self.token),
            (true, true) | (false, false) => {}
        }
    }

    fn send(&mut self, body: &'static [u8], ring: &mut impl Ring) {
        let Some(socket) = self.socket else { return };
        self.sending = true;
        let head = std::mem::take(&mut self.head);
        self.send_bytes = head.len() + body.len();
        self.last_send = Some(ring.send(socket, Outgoing { head, body }, self.token));
    }

    /// The session ends in this way, unless it ended already.
    fn end(&mut self, end: End, ring: &mut impl Ring) {
        if matches!(self.state, State::Connecting | State::Open) {
            self.bot.finish(end);
            self.close(ring);
        }
    }

    /// Cancels what is under way; the socket is closed after the last of it.
    fn close(&mut self, ring: &mut impl Ring) {
        let Some(socket) = self.socket else { return };
        if self.receiving {
            ring.cancel_receive(self.token);
        }
        if self.sending && self.state == State::Connecting {
            // Ends the connect with an error.
            ring.shut_down(socket);
        } else if let (true, Some(send)) = (self.sending, self.last_send) {
            ring.cancel_send(self.token, send);
        }
        self.state = State::Closing;
    }
}

fn index_of(token: Token) -> usize {
    usize::try_from(token.value()).expect("made of an index")
}

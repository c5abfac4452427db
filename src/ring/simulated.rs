//! [`Ring`] in memory, on virtual time, with faults from a seed: the same seed gives the same run.
//!
//! A [`World`] holds the clients' ends; a test connects, writes and closes there, and lets the shard take
//! turns. What the seed decides: where received octets are split, in which order completions come, when a
//! multishot operation ends early, how much of a send is taken at a time.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use super::{Event, Outgoing, Received, Ring, SendId, Socket, Token};
use crate::buffer::{Arena, BufferId};

/// Which faults the seed may choose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Received octets come in random pieces.
    pub short_receives: bool,
    /// A multishot operation may end with any of its events.
    pub ended_multishots: bool,
    /// The completions of a turn come in any order between connections.
    pub reordered: bool,
    /// Some completions come a turn later.
    pub late: bool,
    /// A receive may find no buffer though some are there: others were quicker.
    pub no_buffers: bool,
}

impl Faults {
    /// All of them.
    pub const ALL: Self =
        Self { short_receives: true, ended_multishots: true, reordered: true, late: true, no_buffers: true };
    /// None.
    pub const NONE: Self = Self {
        short_receives: false,
        ended_multishots: false,
        reordered: false,
        late: false,
        no_buffers: false,
    };
}

/// The network as the clients see it. Cloned handles share one world.
#[derive(Debug, Clone)]
pub struct World(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    random: u64,
    faults: Faults,
    start: Instant,
    elapsed: Duration,
    sockets: BTreeMap<RawFd, End>,
    next_socket: RawFd,
    /// Connected and not yet accepted; to which listener, if not to any.
    backlog: VecDeque<(Option<RawFd>, Socket)>,
    accepts: Vec<(Socket, Token)>,
    cancelled_accepts: Vec<Token>,
    woken: bool,
    /// Some socket was not looked at in this turn, so that its completions come late.
    postponed: bool,
}

/// The server's socket and what passes through it.
#[derive(Debug, Default)]
struct End {
    /// Sent by the client and not yet received.
    to_server: VecDeque<u8>,
    client_ended: bool,
    reset: bool,
    /// Sent by the server.
    to_client: Vec<u8>,
    server_ended: bool,
    closed: bool,
    receive: Option<Token>,
    /// The receive is of one buffer.
    is_once: bool,
    peek: Option<Token>,
    cancel_receive: bool,
    send: Option<(Token, Outgoing)>,
    /// The client does not read: sends stay under way.
    deaf: bool,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Rc::new(RefCell::new(State {
            random: seed.wrapping_mul(2).wrapping_add(1),
            faults,
            start: Instant::now(),
            elapsed: Duration::ZERO,
            sockets: BTreeMap::new(),
            next_socket: 1,
            backlog: VecDeque::new(),
            accepts: Vec::new(),
            cancelled_accepts: Vec::new(),
            woken: false,
            postponed: false,
        })))
    }

    /// A shard's ring in this world.
    pub fn ring(&self, arena: Arc<Arena>) -> SimulatedRing {
        SimulatedRing { world: self.clone(), arena, provided: VecDeque::new(), wakes: Vec::new() }
    }

    /// A client connects, to any listener.
    pub fn connect(&self) -> Socket {
        self.connect_to(None)
    }

    /// A client connects to the listener of this descriptor, if not to any.
    pub fn connect_to(&self, listener: Option<RawFd>) -> Socket {
        let mut state = self.0.borrow_mut();
        let socket = Socket(state.next_socket);
        state.next_socket += 1;
        state.sockets.insert(socket.0, End::default());
        state.backlog.push_back((listener, socket));
        socket
    }

    /// A client sends octets.
    pub fn write(&self, socket: Socket, octets: &[u8]) {
        self.end(socket, |end| end.to_server.extend(octets));
    }

    /// How many octets the client sent that the server has not received.
    pub fn waiting(&self, socket: Socket) -> usize {
        self.end(socket, |end| end.to_server.len()).unwrap_or(0)
    }

    /// A client closes its half.
    pub fn finish(&self, socket: Socket) {
        self.end(socket, |end| end.client_ended = true);
    }

    /// A client's connection breaks.
    pub fn reset(&self, socket: Socket) {
        self.end(socket, |end| end.reset = true);
    }

    /// Whether a client reads.
    pub fn set_deaf(&self, socket: Socket, deaf: bool) {
        self.end(socket, |end| end.deaf = deaf);
    }

    /// Takes what the server sent to a client.
    pub fn read(&self, socket: Socket) -> Vec<u8> {
        self.end(socket, |end| std::mem::take(&mut end.to_client)).unwrap_or_default()
    }

    /// Whether the server has closed a client's connection.
    pub fn is_closed(&self, socket: Socket) -> bool {
        self.end(socket, |end| end.closed).unwrap_or(true)
    }

    /// Rings the bell that the ring watches.
    pub fn wake(&self) {
        self.0.borrow_mut().woken = true;
    }

    /// Virtual time passes.
    pub fn pass(&self, time: Duration) {
        self.0.borrow_mut().elapsed += time;
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.borrow().elapsed
    }

    /// A random number below `bound`.
    pub fn random(&self, bound: u64) -> u64 {
        self.0.borrow_mut().random(bound)
    }

    fn end<T>(&self, socket: Socket, act: impl FnOnce(&mut End) -> T) -> Option<T> {
        self.0.borrow_mut().sockets.get_mut(&socket.0).map(act)
    }
}

impl State {
    /// SplitMix64.
    fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.random(chance) == 0
    }
}

/// A ring in a [`World`].
#[derive(Debug)]
pub struct SimulatedRing {
    world: World,
    arena: Arc<Arena>,
    provided: VecDeque<BufferId>,
    /// Bells rung with the last turns, for the test that plays their owners.
    wakes: Vec<RawFd>,
}

impl SimulatedRing {
    /// All events that can happen now, to one socket.
    fn events_of(&mut self, number: RawFd, events: &mut Vec<Event>) {
        let world = self.world.clone();
        let mut state = world.0.borrow_mut();
        let faults = state.faults;
        if faults.late && state.one_in(3) {
            state.postponed = true;
            return;
        }
        let split = if faults.short_receives { state.random(200) } else { u64::MAX };
        let ends_early = faults.ended_multishots && state.one_in(5);
        let no_buffers = faults.no_buffers && state.one_in(20);
        // Octets may still come before a cancel does, but not for ever.
        let cancels = !faults.late || state.one_in(2);
        let Some(end) = state.sockets.get_mut(&number) else { return };
        if let Some(token) = end.peek.take() {
            events.push(Event::Peeked { token, waiting: !end.to_server.is_empty() });
        }
        if let Some((token, outgoing)) = end.send.take() {
            if end.deaf && !end.reset {
                end.send = Some((token, outgoing));
            } else {
                let result = if end.reset {
                    Err(Errno::CONNRESET)
                } else {
                    Ok(outgoing.head.len() + outgoing.body.len())
                };
                if result.is_ok() {
                    end.to_client.extend_from_slice(&outgoing.head);
                    end.to_client.extend_from_slice(outgoing.body);
                }
                events.push(Event::Sent { token, head: outgoing.head, result });
            }
        }
        let Some(token) = end.receive else { return };
        let (received, more) = if end.reset {
            (Received::Failed(Errno::CONNRESET), false)
        } else if end.cancel_receive && cancels {
            (Received::Cancelled, false)
        } else if !end.to_server.is_empty() {
            let buffer = if no_buffers { None } else { self.provided.pop_front() };
            let Some(buffer) = buffer else {
                end.receive = None;
                return events.push(Event::Received { token, received: Received::NoBuffers, more: false });
            };
            let most = usize::try_from(split).unwrap_or(usize::MAX).max(1).min(self.arena.buffer_bytes());
            let octets: Vec<u8> = end.to_server.drain(..most.min(end.to_server.len())).collect();
            // SAFETY: the buffer was provided to us, so nobody else reads or writes it; the octets fit it.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    octets.as_ptr(),
                    self.arena.start(buffer).as_ptr(),
                    octets.len(),
                );
            }
            (Received::Octets { buffer, count: octets.len() }, !ends_early && !end.is_once)
        } else if end.client_ended {
            (Received::End, false)
        } else {
            return;
        };
        if !more {
            end.receive = None;
            end.cancel_receive = false;
        }
        events.push(Event::Received { token, received, more });
    }

    fn accepted(&mut self, events: &mut Vec<Event>) {
        let mut state = self.world.0.borrow_mut();
        for token in std::mem::take(&mut state.cancelled_accepts) {
            events.push(Event::Accepted { token, result: Err(Errno::CANCELED), more: false });
        }
        let mut next = 0;
        while let Some((listener, socket)) = state.backlog.get(next).copied() {
            let is_its = |(armed, _): &(Socket, Token)| listener.is_none_or(|listener| listener == armed.0);
            let Some(place) = state.accepts.iter().position(is_its) else {
                next += 1;
                continue;
            };
            state.backlog.remove(next);
            let (_, token) = state.accepts[place];
            let more = !(state.faults.ended_multishots && state.one_in(5));
            if !more {
                state.accepts.remove(place);
            }
            events.push(Event::Accepted { token, result: Ok(socket), more });
        }
    }
}

impl Ring for SimulatedRing {
    fn accept(&mut self, listener: Socket, token: Token) {
        self.world.0.borrow_mut().accepts.push((listener, token));
    }

    fn cancel_accept(&mut self, token: Token) {
        let mut state = self.world.0.borrow_mut();
        let armed = state.accepts.len();
        state.accepts.retain(|(_, of)| *of != token);
        if state.accepts.len() < armed {
            state.cancelled_accepts.push(token);
        }
    }

    fn connect(&mut self, _socket: Socket, _address: SocketAddr, _token: Token) {
        unreachable!("a receiver does not connect");
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        let armed = self.world.end(socket, |end| (end.closed, end.receive.replace(token)));
        assert_eq!(armed, Some((false, None)), "one receive a connection, on an open socket");
        self.world.end(socket, |end| end.is_once = false);
    }

    fn receive_once(&mut self, socket: Socket, token: Token) {
        self.receive(socket, token);
        self.world.end(socket, |end| end.is_once = true);
    }

    fn cancel_receive(&mut self, token: Token) {
        let mut state = self.world.0.borrow_mut();
        if let Some(end) = state.sockets.values_mut().find(|end| end.receive == Some(token)) {
            end.cancel_receive = true;
        }
    }

    fn peek(&mut self, socket: Socket, token: Token) {
        self.world.end(socket, |end| end.peek = Some(token));
    }

    fn send(&mut self, socket: Socket, outgoing: Outgoing, token: Token) -> SendId {
        let under_way =
            self.world.end(socket, |end| (end.closed, end.send.replace((token, outgoing)).is_some()));
        assert_eq!(under_way, Some((false, false)), "one send a connection, on an open socket");
        SendId(0)
    }

    fn cancel_send(&mut self, token: Token, _id: SendId) {
        let mut state = self.world.0.borrow_mut();
        let busy = |end: &&mut End| end.send.as_ref().is_some_and(|(of, _)| *of == token);
        if let Some(end) = state.sockets.values_mut().find(busy) {
            end.reset = true;
        }
    }

    fn shut_down(&mut self, socket: Socket) {
        self.world.end(socket, |end| end.server_ended = true);
    }

    fn close(&mut self, socket: Socket) {
        let idle = self.world.end(socket, |end| {
            end.closed = true;
            end.receive.is_none() && end.send.is_none()
        });
        assert_eq!(idle, Some(true), "nothing is under way on a socket that is closed");
    }

    fn watch(&mut self, _eventfd: BorrowedFd<'_>) {}

    fn wake(&mut self, eventfd: RawFd) {
        self.wakes.push(eventfd);
    }

    fn provide(&mut self, buffer: BufferId) {
        assert!(!self.provided.contains(&buffer), "a buffer is published once");
        self.provided.push_back(buffer);
    }

    fn provided(&self) -> usize {
        self.provided.len()
    }

    fn turn(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.accepted(events);
        let mut numbers: Vec<RawFd> = self.world.0.borrow().sockets.keys().copied().collect();
        if self.world.0.borrow().faults.reordered {
            for at in (1..numbers.len()).rev() {
                let other = self.world.random(at as u64 + 1);
                numbers.swap(at, usize::try_from(other).unwrap_or(0));
            }
        }
        for number in numbers {
            self.events_of(number, events);
        }
        let mut state = self.world.0.borrow_mut();
        if std::mem::take(&mut state.woken) {
            events.push(Event::Woken);
        }
        let postponed = std::mem::take(&mut state.postponed);
        if events.is_empty() && !postponed {
            // Nothing can happen, so time passes to where the shard wants to be woken, a second at the most.
            state.elapsed += wait.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
        }
        state.elapsed += Duration::from_micros(10);
        Ok(())
    }

    fn peer_address(&self, socket: Socket) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([192, 0, 2, 1], u16::try_from(socket.0).unwrap_or(u16::MAX))))
    }

    fn now(&self) -> Instant {
        let state = self.world.0.borrow();
        state.start + state.elapsed
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000) + self.world.0.borrow().elapsed
    }
}

//! The TCP side of one session after another: which operations are under way on a socket, and since when it
//! waits.

use std::time::Instant;

use ringmx::ring::{Outgoing, Ring, SendId, Socket, Token};

use crate::client::Client;
use crate::scenario::Scenario;
use crate::tls::channel::Channel;

/// What a connection is doing.
///
/// ```text
///   Pausing → Connecting → Open → Closing ─┬→ Connecting …   a message is left
///      ↑                                   ├→ Waiting         until one is due
///      └── after a failure                 └→ Finished
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Connects again once this time has come.
    Pausing(Instant),
    /// Connects when a message is due: in the open loop, for sessions of few messages.
    Waiting,
    /// A connect is under way.
    Connecting,
    /// A session is under way.
    Open,
    /// Its operations were cancelled; the socket is closed after the last one.
    Closing,
    /// It does nothing any more.
    Finished,
}

/// One connection. A socket is closed only after its last operation, so no event of one socket can reach the
/// next one.
#[derive(Debug)]
pub struct Connection {
    /// Its place in the table of its thread.
    pub token: Token,
    /// What it is doing.
    pub state: State,
    /// Its socket while there is one: from Connecting to Closing.
    pub socket: Option<Socket>,
    /// What its sessions do.
    pub scenario: &'static Scenario,
    /// It stands in the queue of those that wait for a message.
    pub queued: bool,
    /// Its session.
    pub client: Client,
    /// TLS between it and the socket: `Client` sees plaintext only. `None` before TLS begins, and while there
    /// is no socket.
    pub channel: Option<Box<Channel>>,
    /// Octets of the last send, to be used again; empty while a send is under way, because the ring has them.
    pub head: Vec<u8>,
    /// A receive is armed.
    pub receiving: bool,
    /// A send is under way.
    pub sending: bool,
    /// The last send: the one to be cancelled while it is under way.
    pub last_send: Option<SendId>,
    /// Octets of the last send.
    pub send_bytes: usize,
    /// Whether the kernel took all that the session said last.
    pub sent_whole: bool,
    /// Start of the wait under way.
    pub since: Instant,
    /// Sessions in a row that failed before a message was accepted.
    pub barren: u32,
}

impl Connection {
    /// One that connects at once.
    pub fn new(token: Token, scenario: &'static Scenario, now: Instant) -> Self {
        Self {
            token,
            state: State::Pausing(now),
            socket: None,
            scenario,
            queued: false,
            client: Client::new(scenario, None, 0, now),
            channel: None,
            head: Vec::new(),
            receiving: false,
            sending: false,
            last_send: None,
            send_bytes: 0,
            sent_whole: false,
            since: now,
            barren: 0,
        }
    }

    /// Whether the socket may be closed.
    pub fn is_idle(&self) -> bool {
        !self.receiving && !self.sending
    }

    /// Hands what stands in `head`, and then `body`, to the kernel.
    pub fn send(&mut self, ring: &mut impl Ring, body: &'static [u8], now: Instant) {
        let Some(socket) = self.socket else { return };
        self.sending = true;
        self.send_bytes = self.head.len() + body.len();
        self.since = now;
        let outgoing = Outgoing { head: std::mem::take(&mut self.head), body };
        self.last_send = Some(ring.send(socket, outgoing, self.token));
    }

    /// Arms a receive again that ended because there was no buffer, or because completions overflowed.
    pub fn keep_receiving(&mut self, ring: &mut impl Ring) {
        if !self.client.reads() {
            return;
        }
        if let (State::Open, false, Some(socket)) = (self.state, self.receiving, self.socket) {
            self.receiving = true;
            ring.receive(socket, self.token);
        }
    }

    /// Ends the send under way, if there is one.
    pub fn cancel_send(&mut self, ring: &mut impl Ring) {
        if let (true, Some(send)) = (self.sending, self.last_send) {
            ring.cancel_send(self.token, send);
        }
    }
}

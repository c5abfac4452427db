//! The TCP side of one session after another: which operations are under way on a socket, and since when it waits.

use std::time::Instant;

use ringmx::ring::{SendId, Socket};

use crate::client::Client;
use crate::latency::Phase;
use crate::scenario::Scenario;
use crate::tally::Tally;
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

/// One connection. Its place in the thread's table is its token: a socket is closed only after its last operation, so no event
/// can reach the next one.
#[derive(Debug)]
pub struct Connection {
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
    /// TLS between it and the socket: `Client` sees plaintext only. `None` before TLS begins, and while there is no socket.
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
    pub fn new(scenario: &'static Scenario, now: Instant) -> Self {
        Self {
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
    /// Takes ciphertext while the connection is open; tells whether the server said that it sends nothing more.
    pub fn receive_secure(
        &mut self,
        mut octets: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<bool, rustls::Error> {
        let Self { channel: Some(channel), client, .. } = self else { return Ok(false) };
        while !octets.is_empty() && !channel.is_ended() {
            let received = channel.receive(&mut octets);
            if let Some((negotiated, resumed)) = channel.take_established() {
                tally.handshakes.add(negotiated, resumed);
                tally.latencies.record(Phase::Tls, now - channel.begun_at());
                client.handle_secured(now);
            }
            channel.take_plaintext(|plaintext| client.handle_octets(plaintext, now, tally));
            received?;
        }
        Ok(channel.is_ended())
    }
}

//! One connection to a next hop: its session, the octets on their way, what it waits for.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::hand::InHand;
use super::outflow::Outflow;
use crate::client::transparency::Unsendable;
use crate::client::{Client, End, Phase};
use crate::forward::keep::Why;
use crate::forward::schedule::{ConnectionId, Delivery, DestinationId};
use crate::forward::sought::Exchanger;
use crate::ring::{Outgoing, Ring, SendId, Socket, Token};
use crate::tls::as_client::Channel;

/// What a connection is for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The address of its host, or the servers of its domain are asked for, by this number.
    Resolving(u64),
    /// The connect is under way.
    Connecting,
    /// The session is opened.
    Opening,
    /// It waits for mail.
    Idle,
    /// It waits for a message that is being read, which was asked for by this number.
    Fetching(Delivery, u64),
    /// A message is on it.
    Busy,
    /// It says QUIT.
    Quitting,
    /// The schedule knows it no more; the socket is closed when the kernel is done with it.
    Gone,
}

/// A delivery on a connection.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) delivery: Delivery,
    pub(super) message: Rc<InHand>,
    /// Recipients of the transaction under way, by their indices.
    pub(super) asked: Vec<u32>,
    /// Those who have it.
    pub(super) sent: Vec<u32>,
    /// Those who do not get it, and what was said to them.
    pub(super) failed: Vec<Failed>,
    /// Those for whom it is tried again.
    pub(super) deferred: Vec<u32>,
    /// Those of whom nothing was said.
    pub(super) lost: Vec<u32>,
    /// Those for a further transaction.
    pub(super) untried: Vec<u32>,
    /// The last reply of each kind.
    pub(super) accepted_by: String,
    pub(super) deferred_by: String,
    /// Why the content can never go there.
    pub(super) unsendable: Option<String>,
    /// Transactions that it took.
    pub(super) transactions: u32,
    /// Replies of the session before it.
    pub(super) replies_before: u64,
    pub(super) begun_at: Instant,
    /// How long it was here before that, without `connect`.
    pub(super) queued: Duration,
    /// How long its connection was opened, where it is the first on it.
    pub(super) connect: Option<Duration>,
}

/// A recipient who does not get a message.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) index: u32,
    pub(super) why: Why,
    pub(super) said: String,
}

/// Why nothing more can be said.
#[derive(Debug)]
pub(super) enum Unsaid {
    Tls(rustls::Error),
    Content(Unsendable),
}

impl From<rustls::Error> for Unsaid {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<Unsendable> for Unsaid {
    fn from(why: Unsendable) -> Self {
        Self::Content(why)
    }
}

pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) token: Token,
    pub(super) destination: DestinationId,
    /// Which of the destination's hosts.
    pub(super) host: usize,
    pub(super) used_for: Use,
    /// Of a domain: the server that it is to, and those that are tried if no session begins there.
    pub(super) exchanger: Option<Exchanger>,
    pub(super) others: VecDeque<Exchanger>,
    /// The domain takes no mail, for this reason: there is no server, and no socket.
    pub(super) no_mail: Option<String>,
    /// There is no socket of ours: its mail is written here, or given to a stream.
    pub(super) is_store: bool,
    pub(super) socket: Option<Socket>,
    pub(super) client: Client,
    pub(super) channel: Option<Box<Channel>>,
    /// What TLS found fault with.
    pub(super) tls_fault: Option<rustls::Error>,
    pub(super) current: Option<Current>,
    /// What was received and not taken by the session.
    pub(super) input: Vec<u8>,
    /// What is to be sent, as the session says it.
    pub(super) out: Vec<u8>,
    pub(super) outflow: Option<Outflow>,
    /// Memory of the last send.
    spare: Vec<u8>,
    pub(super) is_sending: bool,
    pub(super) is_receiving: bool,
    last_send: Option<SendId>,
    /// It is given up after that.
    pub(super) deadline: Option<Instant>,
    /// What the deadline is for: it begins anew with each phase, and with each reply.
    waits: Option<(Phase, u64)>,
    /// How the session ended.
    pub(super) end: Option<End>,
    /// The server takes no further message on it.
    pub(super) is_spent: bool,
    /// A message was answered on it.
    pub(super) was_used: bool,
    /// When it was ordered.
    pub(super) opened_at: Instant,
    /// How long it took until mail could go; for its first message, which takes it.
    pub(super) connect: Option<Duration>,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        token: Token,
        (destination, host): (DestinationId, usize),
        client: Client,
        now: Instant,
    ) -> Self {
        Self {
            id,
            token,
            destination,
            host,
            used_for: Use::Connecting,
            exchanger: None,
            others: VecDeque::new(),
            no_mail: None,
            is_store: false,
            socket: None,
            client,
            channel: None,
            tls_fault: None,
            current: None,
            input: Vec::new(),
            out: Vec::new(),
            outflow: None,
            spare: Vec::new(),
            is_sending: false,
            is_receiving: false,
            last_send: None,
            deadline: None,
            waits: None,
            end: None,
            is_spent: false,
            was_used: false,
            opened_at: now,
            connect: None,
        }
    }

    /// The session awaits this.
    pub(super) fn wait_for(&mut self, phase: Phase, now: Instant) {
        let waits = Some((phase, self.client.replies()));
        if self.waits != waits {
            self.waits = waits;
            self.deadline = phase.wait_max().map(|most| now + most);
        }
    }

    /// The server took some of the content: the time for that begins anew.
    pub(super) fn prolong(&mut self, now: Instant) {
        if let Some((phase @ Phase::Content, _)) = self.waits {
            self.deadline = phase.wait_max().map(|most| now + most);
        }
    }

    /// Nothing of the server is awaited.
    pub(super) fn rest(&mut self) {
        self.waits = None;
        self.deadline = None;
    }

    /// Sends what is to be sent, if nothing is on its way.
    pub(super) fn flush(&mut self, ring: &mut impl Ring) -> Result<(), Unsaid> {
        let Some(socket) = self.socket.filter(|_| !self.is_sending) else { return Ok(()) };
        let mut octets = std::mem::take(&mut self.spare);
        octets.clear();
        if self.channel.as_ref().is_none_or(|channel| channel.is_established()) {
            self.gather(&mut octets)?;
        }
        if let Some(channel) = &mut self.channel {
            channel.say(&octets)?;
            octets.clear();
            channel.take_ciphertext(&mut octets)?;
        }
        if octets.is_empty() {
            self.spare = octets;
            return Ok(());
        }
        self.is_sending = true;
        self.last_send = Some(ring.send(socket, Outgoing { head: octets, body: b"" }, self.token));
        Ok(())
    }

    /// What the session says, then what is next of the content.
    fn gather(&mut self, octets: &mut Vec<u8>) -> Result<(), Unsendable> {
        octets.append(&mut self.out);
        if let (Some(outflow), Some(current)) = (&mut self.outflow, &self.current)
            && outflow.take(&current.message.content, octets)?
        {
            self.outflow = None;
            self.client.handle_content_sent();
        }
        Ok(())
    }

    /// A send ended; its memory is used again.
    pub(super) fn handle_sent(&mut self, head: Vec<u8>) {
        self.is_sending = false;
        self.spare = head;
    }

    /// Arms a receive, if none is.
    pub(super) fn receive(&mut self, ring: &mut impl Ring) {
        if let (false, Some(socket)) = (self.is_receiving || self.used_for == Use::Gone, self.socket) {
            self.is_receiving = true;
            ring.receive(socket, self.token);
        }
    }

    /// Ends what is under way; the socket is closed after that.
    pub(super) fn abandon(&mut self, ring: &mut impl Ring) {
        self.used_for = Use::Gone;
        self.rest();
        if self.is_receiving {
            ring.cancel_receive(self.token);
        }
        if let (true, Some(send)) = (self.is_sending, self.last_send) {
            ring.cancel_send(self.token, send);
        }
    }

    /// Whether the kernel is done with it.
    pub(super) fn is_still(&self) -> bool {
        !self.is_sending && !self.is_receiving
    }
}

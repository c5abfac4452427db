//! The only code that speaks io_uring for the shards. Its face is operations and events: accept, receive,
//! send, cancel, close, wake; never submission and completion entries.
//!
//! Two implement [`Ring`]: [`kernel::KernelRing`], and a simulated one in memory for tests on virtual time.
//! Memory that the kernel reads or writes belongs to the ring while an operation is under way: octets to send
//! move in and come back with their [`Event::Sent`], receive buffers are provided by number and come back by
//! number.

mod buffer_ring;
pub mod kernel;
pub mod locked_memory;
pub mod probe;
mod setup_error;
pub mod simulated;

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

pub use self::setup_error::SetupError;
use crate::buffer::BufferId;

/// A socket that its ring closes: made by an accept or by [`Socket::adopt`], ended by [`Ring::close`]. Never
/// closed by drop, for operations may be under way on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Socket(pub(crate) RawFd);

impl Socket {
    /// Hands a descriptor over to be closed by the ring.
    pub fn adopt(descriptor: OwnedFd) -> Self {
        use std::os::fd::IntoRawFd;
        Self(descriptor.into_raw_fd())
    }
}

/// The caller's word for who an operation is for; at most 56 bits. It comes back with every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// Names a send that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendId(u32);

impl Token {
    const BITS: u32 = 56;

    /// A token of the caller's choice.
    pub fn new(value: u64) -> Self {
        assert!(value >> Self::BITS == 0, "a token has 56 bits");
        Self(value)
    }

    /// What it was made of.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Octets to send: `head`, then `body`. Both are unchanged until the event gives the head back.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Octets made for this send.
    pub head: Vec<u8>,
    /// Octets that live as long as the process, so that a load generator need not copy its corpus.
    pub body: &'static [u8],
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// An armed accept took a connection, or failed. Without `more` it has ended and must be armed again.
    Accepted {
        /// Whose accept.
        token: Token,
        /// The connection.
        result: Result<Socket, Errno>,
        /// Whether it stays armed.
        more: bool,
    },
    /// An armed receive got something. Without `more` it has ended and must be armed again to go on.
    Received {
        /// Whose receive.
        token: Token,
        /// What it got.
        received: Received,
        /// Whether it stays armed.
        more: bool,
    },
    /// A send ended.
    Sent {
        /// Whose send.
        token: Token,
        /// Its head, to be used again.
        head: Vec<u8>,
        /// Octets sent: all, unless the connection broke.
        result: Result<usize, Errno>,
    },
    /// The answer to a peek.
    Peeked {
        /// Whose peek.
        token: Token,
        /// Whether octets waited to be received.
        waiting: bool,
    },
    /// A connect ended.
    Connected {
        /// Whose connect.
        token: Token,
        /// Whether the connection stands.
        result: Result<(), Errno>,
    },
    /// The eventfd that is watched was written to.
    Woken,
}

/// What a receive got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// `count` octets, from the start of this buffer. The buffer is the caller's now. `count >= 1`.
    Octets {
        /// Which buffer.
        buffer: BufferId,
        /// How many octets.
        count: usize,
    },
    /// The client closed its half of the connection.
    End,
    /// No buffer was published.
    NoBuffers,
    /// It was cancelled.
    Cancelled,
    /// The connection broke.
    Failed(Errno),
}

/// Operations of one thread on sockets. All are queued and leave together at the next [`Ring::turn`], or
/// [`Ring::submit`].
pub trait Ring {
    /// Arms a multishot accept on a listening socket.
    fn accept(&mut self, listener: Socket, token: Token);

    /// Cancels the accept of this token; its last event says `Err(CANCELED)`.
    fn cancel_accept(&mut self, token: Token);

    /// Lets what is queued leave now, before the caller does something long. Costs a system call if anything
    /// is queued.
    fn submit(&mut self) {}

    /// Connects a new socket.
    fn connect(&mut self, socket: Socket, address: SocketAddr, token: Token);

    /// Arms a multishot receive. At most one per token.
    fn receive(&mut self, socket: Socket, token: Token);

    /// Arms a receive of one buffer, for a connection that must not get more at a time. A multishot receive
    /// takes many in one turn where many wait.
    fn receive_once(&mut self, socket: Socket, token: Token) {
        // Any receive may end early.
        self.receive(socket, token);
    }

    /// Cancels the receive of this token. It may still deliver before its last event says `Cancelled`.
    fn cancel_receive(&mut self, token: Token);

    /// Asks whether octets wait to be received, at a moment before all operations that are queued later
    /// begin. It takes no system call of its own and waits for nothing.
    fn peek(&mut self, socket: Socket, token: Token);

    /// Sends all octets. At most one per token at a time. What it gives names the send for
    /// [`Ring::cancel_send`].
    fn send(&mut self, socket: Socket, outgoing: Outgoing, token: Token) -> SendId;

    /// Cancels this send of this token; nothing happens when it has ended.
    fn cancel_send(&mut self, token: Token, id: SendId);

    /// Ends our half of the connection after what was sent.
    fn shut_down(&mut self, socket: Socket);

    /// Closes the socket. No receive and no send may be under way on it.
    fn close(&mut self, socket: Socket);

    /// Watches the eventfd that others ring to wake this thread out of [`Ring::turn`].
    fn watch(&mut self, eventfd: BorrowedFd<'_>);

    /// Rings somebody else's eventfd with the next turn. The descriptor must stay open as long as the ring.
    fn wake(&mut self, eventfd: RawFd);

    /// Publishes a receive buffer that nobody holds.
    fn provide(&mut self, buffer: BufferId);

    /// Buffers published and not yet filled.
    fn provided(&self) -> usize;

    /// Submits what was queued, waits until something happened or `wait` has passed (none: for ever), and
    /// appends the events. A ring may let events gather for a time of its own, but no longer than `wait`.
    fn turn(&mut self, wait: Option<Duration>, events: &mut Vec<Event>) -> std::io::Result<()>;

    /// Turns after which the kernel held completions aside, because the ring had no room for them.
    fn overflows(&self) -> u64 {
        0
    }

    /// The client's address.
    fn peer_address(&self, socket: Socket) -> std::io::Result<SocketAddr>;

    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Wall-clock time, for trace information.
    fn wall_clock(&self) -> SystemTime;
}

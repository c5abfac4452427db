//! What a running shard is told to do.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::front_line::FrontLine;
use crate::config;
use crate::handoff::channel::Sender;
use crate::limits::ORDERS_MAX;
use crate::smtp::settings::Settings;
use crate::tls::ServerConfig;

/// An order. It is taken at the start of a turn.
pub enum Order {
    /// From now on this is served with. The sockets are those of listeners that are new.
    Serve(Arc<Service>, Vec<NewSocket>),
    /// No new connection is taken, and sessions end, after the events of that turn.
    Stop,
}

/// What one shard serves with: its listeners, and what sessions that begin there are told. Sessions that have
/// begun keep what they have.
///
/// It belongs to one shard, so that shards share no count. Whoever orders it keeps a count of it, and of all
/// that it holds, until the shard and its sessions have none left: what is dropped on a shard last is dropped
/// in a turn.
pub struct Service {
    /// Every listener that there is from now on. One that is not here takes no more connections than the
    /// kernel has made already.
    pub listeners: Vec<Listening>,
    /// Clients that may be connected at a time.
    pub connections_max: usize,
    /// What has lines in the log.
    pub logged: config::Log,
    /// The shard has taken it over.
    taken: AtomicBool,
}

/// What the connections of a listener begin with.
#[derive(Clone)]
pub struct Listening {
    /// Names the listener as long as the process lives.
    pub number: u64,
    /// What sessions are told.
    pub settings: Arc<Settings>,
    /// What TLS begins with; none where there is none.
    pub tls: Option<Arc<ServerConfig>>,
    /// What its clients are checked by.
    pub front: Arc<FrontLine>,
    /// The size of the kernel's receive buffer; 0 for its own choice.
    pub receive_buffer_bytes: usize,
}

/// The socket of a new listener, which listens already.
#[derive(Debug)]
pub struct NewSocket {
    /// Which listener it is of.
    pub number: u64,
    /// The shard's own.
    pub socket: OwnedFd,
    /// The service manager's, who keeps it: what waits there when this process ends is the next one's.
    pub is_lent: bool,
}

impl Service {
    /// Of these listeners; nobody has taken it over.
    pub fn new(listeners: Vec<Listening>, connections_max: usize, logged: config::Log) -> Self {
        Self { listeners, connections_max, logged, taken: AtomicBool::new(false) }
    }

    /// Whether the shard has taken it over.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// The shard takes it over.
    pub(super) fn take(&self) {
        self.taken.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Serve(..) => "Serve",
            Self::Stop => "Stop",
        })
    }
}

impl Order {
    /// Sends an order that may have to wait, or gives it back: so many are on their way that the shard stands
    /// still. The last place is that of [`Order::Stop`].
    pub fn send(self, shard: &Sender<Order>) -> Result<(), Order> {
        if shard.len() + 1 >= ORDERS_MAX { Err(self) } else { shard.send_and_ring(self) }
    }
}

//! What a running shard is told to do.

use std::sync::Arc;

use crate::handoff::channel::Sender;
use crate::limits::ORDERS_MAX;
use crate::smtp::settings::Settings;

/// An order. It is taken at the start of a turn.
pub enum Order {
    /// Sessions that begin from now on are told these settings, one for each listener; those that have begun
    /// keep theirs. Who sends the order keeps a count of each, because what is dropped here last is dropped
    /// in a turn.
    Settings(Vec<Arc<Settings>>),
    /// No new connection is taken, and sessions end, after the events of that turn.
    Stop,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Settings(_) => "Settings",
            Self::Stop => "Stop",
        })
    }
}

impl Order {
    /// Sends an order that may have to wait: false when so many are on their way that the shard stands still.
    /// The last place is that of [`Order::Stop`].
    pub fn send(self, shard: &Sender<Order>) -> bool {
        shard.len() + 1 < ORDERS_MAX && shard.send_and_ring(self).is_ok()
    }
}

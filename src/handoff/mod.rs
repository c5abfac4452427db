//! What crosses between threads, and how: messages out and receipts back, parts of messages, questions about
//! recipients.
//!
//! Nobody blocks inside a channel: see [`channel`].

pub mod channel;
pub mod doorbell;
pub mod lookup;
pub mod mailbox;
pub mod message;
pub mod part;
pub mod recipient_map;
pub mod station;

/// The atomics that `channel` is made of; its loom test brings others.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

/// The queues that `channel` is made of; its loom test brings others.
mod queue {
    pub(super) use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
}

//! Message out, receipt back: the values that cross between a shard and a sink worker, the channels they cross in, and
//! the wake-ups.
//!
//! Nobody blocks inside a channel. A consumer drains with `try_recv`, then parks its [`doorbell::Doorbell`], looks once
//! more and waits outside; a producer rings only a parked consumer.

pub mod channel;
pub mod doorbell;
pub mod errand;
pub mod mailbox;
pub mod message;
mod park;
pub mod spill;

/// The atomics that `park` is made of; its loom test brings others.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

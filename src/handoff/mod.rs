//! Message out, receipt back: the values that cross between a shard and a sink worker, the channels they cross in, and
//! the wake-ups.

pub mod doorbell;
pub mod message;

//! One shard per CPU core: a thread, its ring, its listeners, its buffers, its connections.

pub mod affinity;
pub mod table;
pub mod timers;

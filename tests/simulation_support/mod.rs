//! What surrounds the shard in `tests/simulation.rs`: clients that read the replies, and storage that fails.
#![allow(unreachable_pub, reason = "used by one test binary")]

pub mod client;
pub mod storage;

//! What surrounds the shard in `tests/simulation.rs`: clients that read the replies, storage that fails, and a store that is asked about recipients.
#![allow(unreachable_pub, reason = "used by one test binary")]

pub mod client;
pub mod desk;
pub mod storage;

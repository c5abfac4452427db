//! A whole shard in one thread on virtual time, over a simulated ring: under faults of every kind, with a
//! seed that decides everything.
//!
//! `shard` makes the shard, `client`, `storage`, `desk` and `spiller` surround it; the others are the tests.

mod client;
mod clients;
mod counts;
mod desk;
mod disk;
mod orders;
mod shard;
mod spill;
mod spiller;
mod storage;
mod tls;

//! A whole shard in one thread on virtual time, over a simulated ring: under faults of every kind, with a
//! seed that decides everything.
//!
//! `shard` makes the shard, `client`, `storage`, `desk`, `lookup` and `spiller` surround it; the others are
//! the tests.

mod answers;
mod client;
mod clients;
mod counts;
mod desk;
mod disk;
mod lookup;
mod orders;
mod screening;
mod shard;
mod spill;
mod spiller;
mod storage;
mod tls;

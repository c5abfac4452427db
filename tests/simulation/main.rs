//! A whole shard in one thread on virtual time, over a simulated ring: under faults of every kind, with a
//! seed that decides everything.
//!
//! `shard` makes the shard, `client`, `visitor`, `storage`, `desk`, `lookup`, `front_zone` and `spiller`
//! surround it; the others are the tests.

mod answers;
mod client;
mod clients;
mod counts;
mod desk;
mod disk;
mod front_line;
mod front_zone;
mod lookup;
mod orders;
mod shard;
mod spill;
mod spiller;
mod storage;
mod tls;
mod visitor;

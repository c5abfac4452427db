//! A whole shard in one thread on virtual time, over a simulated ring: under faults of every kind, with a seed that decides everything.

mod client;
mod desk;
mod disk;
mod spill;
mod spiller;
mod storage;
mod tls;

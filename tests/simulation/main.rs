//! A whole shard in one thread on virtual time, over a simulated ring: under faults of every kind, with a
//! seed that decides everything.
//!
//! `shard` makes the shard, `client`, `visitor`, `sender`, `signed_mail`, `storage`, `ledger`, `desk`,
//! `lookup`, `front_zone`, `auth_zone`, `station` and `spiller` surround it; the others are the tests.

mod answers;
mod auth_zone;
mod authentication;
mod client;
mod clients;
mod counts;
mod desk;
mod disk;
mod front_line;
mod front_zone;
mod ledger;
mod lookup;
mod orders;
mod sender;
mod shard;
mod shares;
mod signed_mail;
mod spill;
mod spiller;
mod station;
mod storage;
mod tls;
mod verdicts;
mod visitor;

//! ringmx: a front-line inbound MX for Linux on io_uring.
//!
//! A *room* is a top-level module: a folder or a file of `src/`. A room imports only rooms to the right of it
//! in this drawing; `tests/tools/tidy.rs` reads every import and fails on any that its list does not allow.
//!
//! ```text
//!   main ─► cli ─► server ─► shutdown ─► shard ─► sink  tls ─► smtp  handoff  ring ─► buffer  scan ─► mail
//!            │        │          └─► signals └─► front ─► auth ─► dns ─► mail, asked through handoff
//!            │        └─► threads  recipient_map ─► sink  handoff
//!            └─► check  doctor ─► memory_sum         log  metrics: for shards, and who surrounds them
//!
//!   config: what the file says, as values for the rooms that are started with them
//! ```
//!
//! A received octet comes in through `ring`, into a buffer of `buffer`. `shard` shows it to `tls` and to the
//! session of `smtp`, which says what is mail data. A whole message goes through `handoff` to a worker of
//! `sink`, which stores it; its receipt comes back the same way, and only then does the client get its 250.
//! `docs/architecture.md` goes on from here. Beside that way stands `client`, which uses `scan` and `mail`:
//! the other end of the protocol, for whoever hands stored messages on.
//!
//! The rooms without the feature `server` see no socket, file, thread, log or clock. They build and pass
//! their tests alone.

// From the command line to the whole receiver.

#[cfg(feature = "server")]
pub mod cli;

#[cfg(feature = "server")]
pub mod check;
#[cfg(feature = "server")]
pub mod doctor;
#[cfg(feature = "server")]
pub mod memory_sum;

#[cfg(feature = "server")]
pub mod server;

// The process: its threads, what it tells of itself, what it may have, and its end.

#[cfg(feature = "server")]
mod accounts;
#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "server")]
pub mod recipient_map;
#[cfg(feature = "server")]
pub mod resource_limits;
#[cfg(feature = "server")]
pub mod sandbox;
#[cfg(feature = "server")]
pub mod service_manager;
#[cfg(feature = "server")]
pub mod shutdown;
#[cfg(feature = "server")]
pub mod signals;
#[cfg(feature = "server")]
pub mod station;
#[cfg(feature = "server")]
pub mod threads;

// One thread a core, and all that it owns.

#[cfg(feature = "server")]
pub mod shard;

// What a shard gives its messages, its octets and its news to.

#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod sink;
#[cfg(feature = "server")]
pub mod tls;

// What becomes of stored mail: from the spool to the next hop.

pub mod forward;

// The protocol, the ways between threads, the kernel.

pub mod client;
#[cfg(feature = "server")]
pub mod handoff;
#[cfg(feature = "server")]
pub mod ring;
pub mod smtp;

// Checks of who may send what to whom and of who vouches for a message, and what they ask the DNS.

pub mod auth;
pub mod dns;
pub mod filter;
pub mod front;

// Memory, and how it is looked through.

#[cfg(feature = "server")]
pub mod buffer;
pub mod scan;

// What is configured.

#[cfg(feature = "server")]
pub mod config;

// The words that all rooms share, plain values.

pub mod counter;
pub mod escape;
#[cfg(feature = "server")]
pub mod huge_pages;
pub mod limits;
pub mod mail;
pub mod timestamp;

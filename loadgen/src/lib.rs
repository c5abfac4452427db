//! loadgen: a load generator that measures any SMTP receiver.
//!
//! [`arguments`] become a [`plan`]; [`run`] gives each [`load_thread`] its share of connections and work. A
//! load thread moves octets for one [`client`] after another. A client says what its [`scenario`] has it say,
//! and sends the [`corpus`], under [`tls`] if that was asked for. What a thread counts lies in its [`tally`];
//! the sum of all is the [`outcome`], and [`report`] says it in words. What was sent and how it was answered
//! goes into a [`ledger`], and [`verify`] compares the ledger with what is stored.
//!
//! A room uses rooms that stand below it, and no other (`tests/tools/tidy/loadgen.rs` has every arrow):
//!
//! ```text
//!   main                                  reads the arguments
//!     │
//!   program                               which command; the exit code
//!     ├──────────┬─────────┬─────────┐
//!   run        report    verify    compare
//!     │          │         │         │
//!   load_thread  │         │         │    a ring, connections, the turn
//!     │          │         │         │
//!   client · bot │         │         │    one session, sans-IO: of mail, of somebody hostile
//!     │          │         │         │
//!   outcome · plan         │         │    what came of it · what is to be done
//!     │                    │         │
//!   arguments · tally · work         │    the command line · what is counted · messages still to send
//!     │                    │         │
//!   ledger · scenario      │         │    what was sent, for verify · what sessions do
//!     │                    │         │
//!   corpus · proxy · threshold · tls │    mail data · PROXY headers · --fail-if · TLS as a client
//!     │                    │         │
//!   senders                │         │    who signs mail, and what the DNS says of them
//!     │                    │         │
//!   plain values and words: latency, network, output, paragraph, provenance, rate, reply, size, stop, units,
//!                           weights
//! ```
//!
//! Of the receiver loadgen has the ring, the buffers, the pinning of threads, the choice of cryptography, the
//! form of a timestamp and the commit, and **never** the protocol, the sinks or the configuration: a mistake
//! of the receiver must not hide in its judge.

pub mod program;

pub mod compare;
pub mod report;
pub mod run;
pub mod verify;

pub mod load_thread;

pub mod bot;
pub mod client;

pub mod outcome;
pub mod plan;

pub mod arguments;
pub mod tally;
pub mod work;

pub mod ledger;
pub mod scenario;

pub mod corpus;
pub mod proxy;
pub mod threshold;
pub mod tls;

pub mod senders;

pub mod latency;
pub mod network;
pub mod output;
pub mod paragraph;
pub mod provenance;
pub mod rate;
pub mod reply;
pub mod size;
pub mod stop;
pub mod units;
pub mod weights;

//! The forwarder, a process of its own beside the receiver: reads the spool and delivers its messages to
//! their next hops.
//!
//! `keep` is what must outlive the process: which recipients of which message are with the next hop, and the
//! messages that wait or that nobody took. `schedule` says who is delivered when, `notice` what senders are
//! told.
//!
//! ```text
//!   spool ──► reading ──► engine ◄──► next hops         threads: ringmx-reader, engine (the main one),
//!                         │    ▲                                 ringmx-office, ringmx-names
//!                         ▼    │
//!         desk ────► names     office ──► keep: journal, later/, dead/, `consumed`
//! ```

#[cfg(feature = "server")]
mod desk;
#[cfg(feature = "server")]
mod engine;
#[cfg(feature = "server")]
mod exchangers;
#[cfg(feature = "server")]
pub mod keep;
#[cfg(feature = "server")]
mod names;
#[cfg(feature = "server")]
pub mod notice;
#[cfg(feature = "server")]
mod office;
#[cfg(feature = "server")]
pub mod operations;
#[cfg(feature = "server")]
mod reading;
#[cfg(feature = "server")]
mod routes;
pub mod schedule;
#[cfg(feature = "server")]
mod searches;
#[cfg(feature = "server")]
mod sought;
#[cfg(feature = "server")]
mod start;
#[cfg(feature = "server")]
mod stores;
#[cfg(feature = "nats")]
mod streams;
#[cfg(feature = "server")]
mod watched;

/// Where the forwarder is asked, below the spool.
pub const CONTROL_SOCKET: &str = "forward/control.sock";

#[cfg(feature = "server")]
pub use self::desk::Desk;
#[cfg(feature = "server")]
pub use self::engine::Unsettled;
#[cfg(feature = "server")]
pub use self::start::{ForwardError, Surroundings, forward, reads, rebuild};

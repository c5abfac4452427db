//! The front line: who may send what to whom. Checks as pure functions, and the tables that they look into.
//!
//! Nothing here sees a socket, file, thread, log or clock; time is an argument.

pub mod access;
pub mod checks;
pub mod clients;
pub mod dnsbl;
pub mod greylist;
pub mod moment;
pub mod networks;
pub mod prefix;
pub mod rate;
pub mod reverse_dns;
pub mod score;
pub mod sender_domain;
pub mod siblings;

/// The atomics that `clients::slot` is made of; its loom test brings others.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

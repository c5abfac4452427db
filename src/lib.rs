//! ringmx: a front-line inbound MX for Linux on io_uring.

pub mod buffer;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod doctor;
pub mod escape;
pub mod handoff;
pub mod huge_pages;
pub mod limits;
pub mod log;
pub mod memory_sum;
pub mod metrics;
pub mod resource_limits;
pub mod ring;
pub mod scan;
pub mod server;
pub mod shard;
pub mod shutdown;
pub mod signals;
pub mod sink;
pub mod smtp;
pub mod threads;
pub mod timestamp;
pub mod tls;

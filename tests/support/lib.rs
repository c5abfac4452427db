//! What the programs of tests and benches share: sessions in memory, real servers and their clients, disks
//! that fail, naive references.
//!
//! A crate, so that every program takes what it needs of it and nothing is compiled twice. Only tests depend
//! on it.
#![cfg(feature = "server")]

pub mod clamav;
pub mod client;
pub mod control_group;
pub mod dialogue;
pub mod dns_server;
pub mod exchange;
pub mod fake_milter;
pub mod fake_rspamd;
#[cfg(feature = "fuse")]
pub mod faulty;
pub mod forbidden;
pub mod held_thread;
pub mod http;
pub mod image;
pub mod listed;
pub mod load;
pub mod map_server;
pub mod nats_cluster;
pub mod nats_server;
pub mod next_hop;
pub mod opendkim;
pub mod operator_files;
pub mod py_milter;
pub mod python;
pub mod reference;
pub mod rspamd;
pub mod secure;
pub mod server;
pub mod signer;
pub mod sink;
pub mod spool_octets;

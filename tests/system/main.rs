//! The whole program: a real server on loopback, its process, its disk, and clients of all sorts.

mod crash;
mod dialogues_live;
mod disk_shares;
mod faults;
mod file_limits;
mod fronts;
mod interop;
mod locked_memory;
mod log;
mod mailbox_lines;
mod metrics;
mod power_cut;
mod process;
mod server;
mod spill;
mod tls;
mod tls_clients;
mod volatile;

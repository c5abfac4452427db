//! The whole program: a real server on loopback, its process, its disk, and clients of all sorts.

mod admin;
mod client_limits;
mod crash;
mod dialogues_live;
mod disk_shares;
mod dns;
mod dovecot;
mod faults;
mod file_limits;
mod fronts;
mod interop;
mod locked_memory;
mod log;
mod log_lines;
mod mailbox_lines;
mod metrics;
mod power_cut;
mod process;
mod recipient_map;
mod reload;
mod server;
mod service_manager;
mod spill;
mod tls;
mod tls_clients;
mod volatile;

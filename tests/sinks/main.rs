//! The sinks: what each promises, on simulated disks that lose and fail, and on real ones.

mod contract;
mod executors;
mod horizon;
mod large;
mod mailboxes;
mod optional_operations;
mod power_cut;
mod real_disk;
mod recycle;
mod spool;
mod tls;

//! What an operator and a developer use beside the server: the configuration, the commands, the documents,
//! the sources.

mod any_files;
mod check;
mod config;
mod doctor;
mod doctor_dns;
mod log;
mod manual;
mod metrics;
mod permission;
mod recipients;
mod recipients_compiled;
mod reload_keys;
mod requirements;
mod spool_commands;
mod tidy;
mod tuning;
mod units;

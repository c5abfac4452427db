//! The words that all rooms share, as plain values: they see no socket, file, thread, log or clock, and
//! import nothing but each other and the bounds of `limits`.

pub mod a_label;
pub mod address_table;
pub mod authentication;
pub mod caseless;
pub mod client;
pub mod domain;
pub mod envelope;
pub mod envelope_budget;
pub mod foreign_reply;
pub mod harmless_line;
pub mod local_part;
mod mailbox;
pub mod network;
pub mod outcome;
mod parameters;
pub mod queue_id;
mod repeated;
pub mod session_id;
pub mod tag;

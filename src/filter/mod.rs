//! Content filters: programs that are asked about a complete message before the 250, and what their answers
//! mean. Sans-IO: nothing in here sees a socket, file, thread, log or clock.
//!
//! A filter passes a message, refuses it, or has something written in front of it. No octet of the mail data
//! is ever changed by one.

mod field;
pub mod milter;
pub mod rspamd;
mod ruling;
mod subject;

pub use field::FIELDS_BYTES_MAX;
pub use ruling::{Action, Ruling};
pub use subject::Subject;

//! The metrics as text for Prometheus (text format 0.0.4): what each is called, what it means, its values.
//!
//! A metric is a row of a table: that of a receiver or that of a forwarder. `docs/metrics.md` is made from
//! both.

#[macro_use]
mod text;
pub mod forward;
mod receiver;

pub use self::receiver::{reference, write};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

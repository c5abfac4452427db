//! The HTTP protocol of rspamd (<https://docs.rspamd.com/developers/protocol>), sans-IO: the head of a
//! request, the response in any pieces, and what its answer means.
//!
//! ```text
//!   Request::write_head ─► head ─► the message, as it will be stored ─► ResponseReader ─► ruling
//! ```
//!
//! Whoever uses it sends the head, then exactly as many octets of the message as the head says, and feeds
//! what comes back. Nothing that a client chose can add a field to the head, and nothing that rspamd says can
//! become more than whole header fields in front of the mail data.

mod answer;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod request;
mod response;

pub use answer::{Unanswered, ruling};
pub use request::{HEAD_BYTES_MAX, Request};
pub use response::{BODY_BYTES_MAX, ResponseError, ResponseReader};

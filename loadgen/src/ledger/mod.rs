//! The ledger: what was sent and how it was answered, a line each, so that a store can be checked against it
//! (`loadgen verify`). The format is in the README.
//!
//! A message has a `begun` line, and a second one once its end is known. A ledger that was cut off anywhere
//! is sound: a message without the second line is *unknown*, and what is stored without a `begun` line is
//! *unrecorded*; neither is ever held against the receiver.

pub mod entry;
mod line;
pub mod notes;
pub mod reader;
pub mod writer;

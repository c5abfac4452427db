//! The protocol core, sans-IO: bytes in; replies, ranges of mail data and steps out.
//!
//! Nothing in here sees a socket, file, thread, log or clock; time is an argument (DESIGN: contracts). It runs under Miri.

pub mod envelope;

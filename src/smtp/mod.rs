//! The protocol core, sans-IO: bytes in; replies, ranges of mail data and steps out.
//!
//! Nothing in here sees a socket, file, thread, log or clock; time is an argument (DESIGN: contracts). It runs under Miri.
//! [`session`] is the door; a new command is a row in [`command`], a handler in `session` and one dialogue.

pub mod command;
pub mod envelope;
pub mod extension;
mod input;
mod line;
mod mail_data;
pub mod parameter;
pub mod path;
pub mod policy;
mod reception;
pub mod reply;
pub mod session;
mod step;
mod text;
pub mod trace;
mod transaction;

//! The protocol core, sans-IO: octets in; replies, ranges of mail data and steps out.
//!
//! Nothing in here sees a socket, file, thread, log or clock; time is an argument. It runs under Miri.
//!
//! [`session::Session`] consumes [`input::Input`], appends to a [`reply::ReplyBuffer`] and stops at a
//! [`session::Step`] that needs the outside. A new command is a row in `command`, a handler in `session` and
//! a dialogue in `tests/dialogues`.

mod chunk;
mod command;
mod data_watch;
pub mod denial;
mod dsn;
pub mod ended_by;
pub mod extension;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod input;
mod line;
mod mail_data;
#[doc(hidden)]
pub mod measured;
mod message_clock;
pub mod message_id;
mod nul_watch;
mod parameter;
mod path;
pub mod policy;
mod proxy;
pub mod question;
pub mod reason;
pub mod refusals;
pub mod reply;
mod reply_line;
pub mod run;
pub mod session;
pub mod settings;
mod size_limit;
pub mod supplies;
pub mod tally;
pub mod trace;
mod transaction;
mod words;
mod xclient;

//! The configuration: TOML → these types, once. They cannot hold a bad value.
//!
//! [`read`] reads a file, [`parse`] a text; both find every problem, not only the first. The types of this
//! module are all that the rest of the program sees. Each table of the file has a file here that reads its
//! keys.

mod admin;
pub mod aliases;
mod auth;
mod changes;
mod client_limits;
mod configuration;
mod control;
mod cut_through;
mod dns;
mod document;
pub mod file;
pub mod filter;
mod fixed;
pub mod forward;
pub mod front;
mod gate;
mod host;
mod identity;
mod invisible;
mod listener;
mod log;
mod names;
mod next_hop;
mod problem;
mod reading;
mod recipient_map;
mod recipient_source;
pub mod recipients;
mod reference;
mod run_as;
mod section;
mod session_limits;
mod shards;
pub mod sink;
mod standing;
mod syntax;
mod tls;
mod units;
mod values;

pub use admin::{Admin, AdminAddress, FORWARDER_PORT};
pub use configuration::Config;
pub use control::CONTROL_SOCKET_DEFAULT;
pub use cut_through::{CutThrough, CutThroughRoute};
pub use dns::Dns;
pub use document::TakenBy;
pub use filter::{Filter, FilterFailure, FilterKind, FilterSkip, MilterPlace, RspamdPlace};
pub use listener::Listener;
pub use log::{Log, LogFormat};
pub use problem::{Finding, Places, Problem, Warning};
pub use reading::{
    Lists, Misnamed, Reading, load, parse, read, read_alone, read_for_others, read_lists, read_with,
};
pub use recipient_map::{MapAddress, Socketmap};
pub use recipient_source::{AskedRoute, NextHops, RecipientMap};
pub use reference::{ReferenceKey, ReferenceTable, keys, markdown, reference, reference_tables};
pub use run_as::RunAs;
pub use shards::Shard;
pub use sink::{
    LineEndings, Maildir, MaildirSync, Nats, NatsServer, Quarantine, Sink, SinkKind, Spool, Stdout,
    StdoutFormat,
};
pub use standing::NeedsRestart;
pub use tls::{CertificateFiles, Tls, TlsVersion};

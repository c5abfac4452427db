//! One kind of session in a run: what it does, the commands that it says, and the mail data that it sends.

pub mod act;
pub mod bots;
pub mod commands;
pub mod mix;
pub mod pattern;

use std::num::NonZeroU64;

use crate::corpus::Corpus;
use crate::proxy::Proxy;
use crate::tls::mode::Mode;
use act::Row;
use commands::Commands;

/// See the file's head. It lives as long as the process, so that commands are sent from where they are.
#[derive(Debug)]
pub struct Scenario {
    /// Its row of the table.
    pub row: &'static Row,
    /// Messages of a session, then QUIT. `None`: as many as there are.
    pub messages_per_session: Option<NonZeroU64>,
    /// Transactions under way at a time, if MAIL, RCPT and DATA leave as one command group (RFC 2920) where
    /// the server offers it. `depth >= 1`
    pub pipelining: Option<u16>,
    /// Octets of a chunk, if mail data is sent with BDAT (RFC 3030).
    pub bdat: Option<usize>,
    /// PROXY headers, if connections begin with one.
    pub proxy: Option<Proxy>,
    /// When TLS begins, if it does.
    pub tls: Option<Mode>,
    /// The commands.
    pub commands: Commands,
    /// The mail data.
    pub corpus: &'static Corpus,
}

//! What sessions do: a table of scenarios, one row each.

use std::num::NonZeroU64;
use std::time::Duration;

/// How a session goes, and which replies are expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Sends mail; everything is accepted.
    Mail,
    /// RCPT is refused, 4yz or 5yz; then QUIT or the next one.
    Refused,
    /// Says EHLO before the greeting. A refusal (greeting or EHLO answered 4yz or 5yz) is as good as service.
    EarlyTalker,
    /// An octet of mail data a second. The server may end it whenever it wants.
    Slowloris,
    /// Large messages. 552 is as good as 250.
    Huge,
    /// Closes in the middle of the mail data.
    Abort,
    /// Mail data of nothing but LF. Whatever the server does is as good.
    BareLf,
    /// RCPT without end, and reads no reply. The server may end it whenever it wants.
    NeverReads,
    /// Twenty octets of mail data, then nothing. The server may end it whenever it wants.
    HalfData,
    /// Says EHLO, and nothing more. The server may end it whenever it wants.
    Idle,
    /// As those who attack: each session is of a kind that is drawn ([`super::bots`]). Whatever the server
    /// does is as good.
    Bots,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What its sessions do.
    pub act: Act,
    /// Messages of a session, unless `--per-connection` says otherwise. `None`: as many as there are.
    pub messages_per_session: Option<NonZeroU64>,
    /// Sessions begin together, at multiples of this time.
    pub period: Option<Duration>,
}

const fn row(name: &'static str, act: Act, messages_per_session: u64) -> Row {
    Row { name, act, messages_per_session: NonZeroU64::new(messages_per_session), period: None }
}

/// All scenarios. 0 messages a session: no limit.
pub static TABLE: [Row; 13] = [
    row("steady", Act::Mail, 0),
    Row { period: Some(Duration::from_secs(1)), ..row("burst", Act::Mail, 20) },
    row("churn", Act::Mail, 1),
    row("refused", Act::Refused, 1),
    row("early-talker", Act::EarlyTalker, 1),
    row("slowloris", Act::Slowloris, 0),
    row("huge", Act::Huge, 0),
    row("abort", Act::Abort, 1),
    row("bare-lf", Act::BareLf, 0),
    row("never-reads", Act::NeverReads, 0),
    row("half-data", Act::HalfData, 0),
    row("idle", Act::Idle, 0),
    row("bots", Act::Bots, 1),
];

impl Act {
    /// Whether its sessions send the run's messages, or are counted in their place; others keep the server
    /// busy while the run lasts.
    pub fn sends(self) -> bool {
        !matches!(self, Self::Slowloris | Self::NeverReads | Self::HalfData | Self::Idle)
    }
}

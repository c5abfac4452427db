//! `[client_limits]`: how often one client may do what, and how many clients are counted.

use super::document::Fallback;
use super::section::Section;
use super::shards::Shard;
use crate::front::clients::Rates;
use crate::front::rate::Rate;

/// Networks that are counted at a time where rates or a record of clients are kept: 32 MiB.
const PLACES_KEPT: usize = 1 << 20;

/// Networks that are counted at a time where only open connections are.
const PLACES_MIN: usize = 1 << 16;

/// Places for each connection that there may be, so that few buckets of four are full.
const PLACES_PER_CONNECTION: usize = 4;

/// How often one client may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// The rates.
    pub rates: Rates,
    /// They refuse nothing; the log says what they would.
    pub only_warn: bool,
}

/// Reads the table; none where it is not there.
pub(super) fn read(root: &mut Section<'_>) -> Option<ClientLimits> {
    let is_given = root.given("client_limits");
    let mut section = root.table(
        "client_limits",
        "How often one client may do what; its /24 or /56 three times, its /20 or /48 nine times as often, and as many connections likewise. Off when this table is absent. Loopback clients and fronts are exempt.",
    );
    section.reloads_but(&[]);
    let mut rate = |key, default: Rate, doc| {
        let fallback = Fallback::Value(format!("\"{default}\""));
        section
            .text(key, "rate such as \"60/min\", \"5/s\" or \"1000/hour\"", fallback, doc, Rate::parse)
            .unwrap_or(default)
    };
    let rates = Rates {
        connections: rate("connections", Rate::per_minute(60), "Connections: `421 4.7.0` beyond."),
        messages: rate("messages", Rate::per_minute(300), "Transactions: `450 4.7.1` to MAIL beyond."),
        recipients: rate("recipients", Rate::per_minute(1000), "Recipients: `450 4.7.1` to RCPT beyond."),
        unknown_recipients: rate(
            "unknown_recipients",
            Rate::per_minute(20),
            "Recipients that nobody knows: beyond, every recipient has `450 4.7.1`.",
        ),
        errors: rate(
            "errors",
            Rate::per_minute(30),
            "Replies of 5yz other than to unknown recipients: `421 4.7.0` beyond, and the connection ends.",
        ),
    };
    let only_warn = section.choice(
        "action",
        &[("refuse", false), ("warn", true)],
        "`warn`: nothing is refused, and the log says what would be; connections_per_client_max of one client holds all the same.",
    );
    section.finish();
    is_given.then_some(ClientLimits { rates, only_warn })
}

/// How many networks are counted at a time, where the configuration does not say so itself. `keeps`: rates or
/// a record of clients are kept, also of clients that are not connected.
pub(super) fn places_default(shards: &[Shard], keeps: bool) -> usize {
    let connections = shards.iter().map(|shard| shard.connections_max).sum::<usize>();
    let least = if keeps { PLACES_KEPT } else { PLACES_MIN };
    connections.saturating_mul(PLACES_PER_CONNECTION).max(least)
}

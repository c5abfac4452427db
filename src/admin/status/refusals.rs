//! What was turned away, by reason: one list for the rates and for the table.

use crate::metrics::ShardValues;

/// How often something was turned away for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) what: &'static str,
    pub(super) reason: &'static str,
    pub(super) count: u64,
}

/// All there is, always in the same order. Nothing is in it twice.
pub(super) fn refused(total: &ShardValues) -> Vec<Refused> {
    let row = |what, (reason, count)| Refused { what, reason, count };
    let connections = [
        ("full", total.connections_refused_full),
        ("client", total.connections_refused_client),
        ("stopping", total.connections_refused_stopping),
        ("no-proxy-header", total.proxy_headers_missing),
        ("held-most", total.held_refusals),
        ("gave-way", total.gave_way),
    ];
    let messages = [("try-again", total.messages_try_again), ("refused", total.messages_refused)];
    let recipients =
        total.tally.recipients_refused().map(|(reason, count)| row("recipient", (reason.name(), count)));
    let connections = connections.map(|pair| row("connection", pair));
    let messages = messages.map(|pair| row("message", pair));
    connections.into_iter().chain(recipients).chain(messages).collect()
}

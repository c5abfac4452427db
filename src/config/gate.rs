//! The keys of a listener that say who may speak there, for whom, and when.

use std::time::Duration;

use super::document::Fallback;
use super::section::Section;
use crate::smtp::settings::{EarlyTalkers, Gate, Pipelining, Refusal};

/// Some clients give up after a minute: a later greeting finds them gone (RFC 5321 §4.5.3.2.1 allows five).
const GREETING_DELAY_MAX: Duration = Duration::from_secs(30);

/// Reads these keys.
pub(super) fn read(section: &mut Section<'_>) -> Gate {
    Gate {
        proxy_from: section.networks(
            "proxy_from",
            "[\"10.0.1.0/24\"]",
            "Whose PROXY protocol header (version 1 or 2) is required and believed: the TCP client's own address counts.",
        ),
        xclient_from: section.networks(
            "xclient_from",
            "[\"10.0.2.0/24\"]",
            "Whose XCLIENT is believed: the TCP client's own address counts, or the one that its PROXY header names; none of `proxy_from`.",
        ),
        clients_from: section.networks_or_all(
            "clients_from",
            "[\"192.0.2.0/24\"]",
            "The only clients that are served here: `554` to all others. Behind a front the client that it names counts; fronts themselves need not be in it.",
        ),
        refuse: section.choice_or(
            "refuse",
            &[("521", Refusal::Never), ("554", Refusal::NotNow)],
            Fallback::Computed { example: "\"521\"", default: "mail is taken" },
            "Refuses all mail: greets with 521 and closes (RFC 7504), or with 554 and takes nothing until QUIT.",
        ),
        greeting_delay: section.duration(
            "greeting_delay",
            Duration::ZERO,
            Duration::ZERO..=GREETING_DELAY_MAX,
            "How long the greeting waits for clients that speak too early; every session waits.",
        ),
        early_talkers: section.choice(
            "early_talkers",
            &[("reject", EarlyTalkers::Reject), ("tolerate", EarlyTalkers::Tolerate)],
            "Clients that speak before the greeting was sent: 554 and close, or read as if they had waited.",
        ),
        pipelining: section.choice(
            "unauthorized_pipelining",
            &[
                ("reject-data", Pipelining::RejectData),
                ("reject", Pipelining::Reject),
                ("tolerate", Pipelining::Tolerate),
            ],
            "Input before a reply that ends a command group (RFC 2920 §3.1): 554 and close after DATA and the session's first EHLO or HELO, everywhere, or nowhere.",
        ),
    }
}

/// Which fronts a listener believes what they say of their clients.
pub(super) fn trust_rules(section: &mut Section<'_>, gate: &Gate) {
    for proxy in &gate.proxy_from {
        if let Some(xclient) = gate.xclient_from.iter().find(|xclient| xclient.overlaps(proxy)) {
            section.problem(
                "xclient_from",
                format!(
                    "{xclient} and {proxy} of `proxy_from` have addresses in common, and a front speaks in one way only: take \
                     these out of one of them"
                ),
            );
        }
    }
    for (key, networks) in [("proxy_from", &gate.proxy_from), ("xclient_from", &gate.xclient_from)] {
        for network in networks.iter().filter(|network| network.holds_strangers()) {
            section.warn(
                key,
                format!(
                    "{network} holds strangers, and each of them may say that its mail comes from any address: name the \
                     addresses of your fronts"
                ),
            );
        }
    }
}

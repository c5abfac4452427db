//! `[early]`: what is looked at before the mail data.

use std::path::PathBuf;
use std::time::Duration;

use super::super::document::Fallback;
use super::super::section::Section;
use crate::front::checks::{Greylisting, ReverseDnsUse, SenderDomainUse};

/// RFC 5321 §4.5.3.2.1: a client waits five minutes for the greeting; many wait no longer than 30 s.
const GREET_DELAY_MAX: Duration = Duration::from_secs(20);

/// What is looked at before the mail data.
pub(super) struct Early {
    /// How long unknown clients wait for the greeting.
    pub(super) greet_delay: Duration,
    /// What a client's name is for.
    pub(super) reverse_dns: ReverseDnsUse,
    /// What is done about the domain of the reverse-path.
    pub(super) sender_domain: SenderDomainUse,
    /// Who is asked to come back.
    pub(super) greylist: Greylisting,
    /// Nobody is; the log says who would be.
    pub(super) greylist_warns: bool,
    /// Where what is known of clients, and by the greylist, is kept across restarts.
    pub(super) state: Option<PathBuf>,
}

/// Reads the table. `has_bad_lists`: lists may speak against a client.
pub(super) fn read(root: &mut Section<'_>, has_bad_lists: bool) -> Early {
    let mut section = root.table("early", "What is looked at before the mail data.");
    section.reloads_but(&["state"]);
    let early = Early {
        greet_delay: section.duration(
            "greet_delay",
            Duration::ZERO,
            Duration::ZERO..=GREET_DELAY_MAX,
            "How long a client that has not proved good waits for the greeting. One that speaks first is refused. Good values are 3 to 6 seconds.",
        ),
        reverse_dns: section.choice(
            "reverse_dns",
            &[("off", ReverseDnsUse::Off), ("mark", ReverseDnsUse::Mark), ("warn", ReverseDnsUse::Warn), ("refuse", ReverseDnsUse::Refuse)],
            "The client's name by its address, confirmed by the name's addresses: `mark` notes it with the message, `warn` says in the log who has none, `refuse` answers `550 5.7.25` to them.",
        ),
        sender_domain: section.choice(
            "sender_domain",
            &[("off", SenderDomainUse::Off), ("warn", SenderDomainUse::Warn), ("refuse", SenderDomainUse::Refuse)],
            "Reverse-paths whose domain does not exist (`550 5.1.8`) or takes no mail (`550 5.7.27`, RFC 7505).",
        ),
        greylist: section.choice(
            "greylist",
            &[("off", Greylisting::Off), ("suspicious", Greylisting::Suspicious), ("unknown", Greylisting::Unknown)],
            "Who is asked to come back after five minutes, once: `451 4.7.1`.",
        ),
        greylist_warns: section.choice(
            "greylist_action",
            &[("refuse", false), ("warn", true)],
            "`warn`: nobody is asked to come back, and the log says who would be.",
        ),
        state: section.path(
            "state",
            Fallback::Computed { example: "\"clients.state\"", default: "nothing is kept" },
            "A file in which it is kept across restarts which clients proved good, and whom the greylist knows.",
        ),
    };
    if early.greylist == Greylisting::Suspicious && !has_bad_lists {
        let text = "no [[dnsbl]] has a weight above 0, so nobody is suspicious and nobody is asked to come back; name a list, or \
                    write \"unknown\"";
        section.warn("greylist", text.to_owned());
    }
    section.finish();
    early
}

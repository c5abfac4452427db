//! The metrics of a forwarder. A label `destination` is a name of the configuration: the next hops of a
//! route.

use super::text::{
    self, Edges, Kind, Metric, PHASES, Samples, Unit, reference_of, seconds, seconds_since_1970, write_all,
};
use crate::metrics::{Attempt, DelayPart, DestinationShown, ForwardResult, ForwardSnapshot};

/// Appends everything.
pub fn write(snapshot: &ForwardSnapshot, text: &mut String) {
    write_all(METRICS, snapshot, text);
}

/// The table of all metrics, as it stands in `docs/metrics.md`.
pub fn reference() -> String {
    reference_of(METRICS)
}

/// A forwarder.
struct Forwarder;

impl text::Scrape for Forwarder {
    type Of<'a> = ForwardSnapshot;
}

impl Samples<'_> {
    /// A value for each destination of which the engine has shown something.
    fn each_destination<V: std::fmt::Display>(
        &mut self,
        scrape: &ForwardSnapshot,
        value: impl Fn(&DestinationShown) -> V,
    ) {
        let shown = scrape.destinations().filter_map(|(one, shown)| Some((&one.name, value(shown?))));
        self.each("destination", shown);
    }
}

/// From 64 µs to 537 s; what waited for longer is counted above that.
const DELAYS: Edges = Edges { exponents: 6..30, unit: Unit::Microsecond };

#[rustfmt::skip]
metrics! { Forwarder:
    // What an operator asks first.
    "ready" Gauge [] "1 while mail goes on, as /readyz tells.",
        |s, to| to.add(&[], u8::from(s.is_ready));
    "forward_destination_up" Gauge ["destination"] "1 while a next hop of the destination takes mail, or was not tried yet; 0 while each is suspended or stopped. Looked at once a second, as are the next four.",
        |s, to| to.each_destination(s, |shown| u64::from(shown.down_since.is_none()));
    "forward_destination_stopped" Gauge ["destination"] "1 while an operator has each next hop of the destination suspended (`ringmx queue suspend`); its mail is meant to wait.",
        |s, to| to.each_destination(s, |shown| u64::from(shown.is_stopped()));
    "forward_oldest_seconds" Gauge ["destination"] "How old the oldest message is that waits for the destination or is on its way there, since it was received; 0 without one. What is held is not looked at. With more than 65,536 messages it may be late by a second for each as many.",
        |s, to| to.each_destination(s, |shown| {
            let age = shown.oldest.map(|oldest| s.at.duration_since(oldest).unwrap_or_default());
            seconds(age.unwrap_or_default())
        });
    "forward_queue_messages" Gauge ["destination" "state"] "Messages that are known, one for each destination that they go to, by what they wait for: fresh (read and not tried yet), due (a retry that could go now), waiting (a retry, for its time), busy (on a connection), moving (being copied into later/), held (an operator). What was not read from the spool yet is not among them.",
        |s, to| for (destination, shown) in s.destinations() {
            for (state, count) in shown.into_iter().flat_map(|shown| &shown.queue) {
                to.add(&[("destination", &destination.name), ("state", state)], count);
            }
        };
    "forward_connections_open" Gauge ["destination"] "Connections to the next hops of the destination, those that are being opened or closed among them.",
        |s, to| to.each_destination(s, DestinationShown::connections);
    "forward_queue_bytes" Gauge ["place"] "Octets of mail, by where it is: window (read from the spool, in memory; in pages of 4 KiB, once for each destination), later (the records of forward/later that somebody waits for) and dead (those of forward/dead).",
        |s, to| to.each("place", [
            ("window", s.shown.window_bytes),
            ("later", s.later_bytes),
            ("dead", s.dead_bytes),
        ]);

    // What became of mail.
    "forward_results_total" Counter ["destination" "result"] "Recipients, by what became of them: delivered, deferred (tried again; the same one counts each time), undeliverable (refused, or cannot be sent as it is), expired, held (the message lost its connection too often).",
        |s, to| for (destination, _) in s.destinations() {
            for result in ForwardResult::ALL {
                let labels: [(&str, &dyn std::fmt::Display); 2] =
                    [("destination", &destination.name), ("result", &result.name())];
                to.add(&labels, destination.recipients(result));
            }
        };
    "forward_attempts_total" Counter ["destination" "result"] "Attempts to deliver a message, by how they ended: done (each recipient was answered for good), deferred (one was answered 4yz), lost (the connection ended within the message), untouched (it ended before MAIL); and no_session, a connection or greeting that failed, which is no message's.",
        |s, to| for (destination, _) in s.destinations() {
            for ended in Attempt::ALL {
                let labels: [(&str, &dyn std::fmt::Display); 2] =
                    [("destination", &destination.name), ("result", &ended.name())];
                to.add(&labels, destination.attempts(ended));
            }
        };
    "forward_unrouted_total" Counter [] "Recipients that no route takes; their mail is held. A start begins with those that wait already.",
        |s, to| to.add(&[], s.unrouted);
    "forward_notices_held" Gauge [] "Notices to senders that wait since an earlier start, and that nobody takes now: there is no `dsn_via`. As the start found them.",
        |s, to| to.add(&[], s.notices_held);
    "forward_dead_messages" Gauge [] "Parts of messages in forward/dead: refused, expired, or not to be sent as they are.",
        |s, to| to.add(&[], s.dead);
    "forward_unreadable_messages" Gauge [] "Messages of the spool that cannot be read: nobody tries them, and the spool is not recycled behind the first one until an operator removes it or it can be read (`ringmx queue list`).",
        |s, to| to.add(&[], s.unreadable);
    "forward_delay_seconds" Histogram ["part"] "How long messages took, by part: queue (from received to the begin of this attempt, without connect), connect (for the first message of each connection: name, connect, greeting, EHLO, TLS), transmit (from the first command to the last reply). Each attempt that was answered counts.",
        |s, to| for part in DelayPart::ALL {
            to.histogram(&[("part", &part.name())], &DELAYS, s.delay(part));
        };

    // The spool and the journal.
    "forward_messages_read_total" Counter [] "Messages that were read from the spool.",
        |s, to| to.add(&[], s.messages_read);
    "forward_log_lag_seconds" Gauge [] "How far the reader is behind the receiver: the age of the message that it read last, while there are more to read; 0 where there is none. It grows while the forwarder has no room for more, because next hops are down or slow.",
        |s, to| to.add(&[], seconds(s.lag));
    "forward_journal_sync_seconds" Histogram [] "How long it took to note durably what became of messages: copies into later/ and dead/, the journal, their syncs. Many messages share one.",
        |s, to| to.histogram(&[], &PHASES, &s.sync_duration);
    "forward_journal_failures_total" Counter [] "Notes of which the disk did not take all; they are tried again.",
        |s, to| to.add(&[], s.journal_failures);

    // The machine room.
    "forward_turns_total" Counter [] "Turns of the engine's loop.",
        |s, to| to.add(&[], s.turns);
    "log_lines_dropped_total" Counter [] "Log lines that whoever reads the log did not take.",
        |s, to| to.add(&[], s.log_lines_dropped);
    "process_start_time_seconds" Gauge [] "When the process started.",
        |s, to| to.add(&[], seconds_since_1970(s.started_at));
    "build_info" Gauge ["version" "revision"] "Always 1; the labels say what runs.",
        |s, to| to.add(&[("version", &s.version), ("revision", &s.revision)], 1);
}

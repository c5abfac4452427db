//! The metrics of a receiver. Shards have a label where it helps to see that one is busier than the others;
//! all else is summed.

use std::fmt;

use super::text::{
    self, BATCHES, Edges, Kind, Metric, PHASES, SIZES, Samples, TURNS, Unit, reference_of, seconds,
    seconds_since_1970, write_all,
};
use crate::metrics::{Phase, ShardValues, Snapshot, Spread, StationAction};
use crate::smtp::ended_by::EndedBy;

/// Appends everything. With `per_shard_histograms` each shard has its own besides their sum.
pub fn write(snapshot: &Snapshot, text: &mut String, per_shard_histograms: bool) {
    let scrape = Scrape { snapshot, total: &snapshot.total(), per_shard_histograms };
    write_all(METRICS, &scrape, text);
}

/// The table of all metrics, as it stands in `docs/metrics.md`.
pub fn reference() -> String {
    reference_of(METRICS)
}

/// What is shown.
struct Scrape<'a> {
    snapshot: &'a Snapshot,
    /// Of all shards.
    total: &'a ShardValues,
    per_shard_histograms: bool,
}

/// A receiver.
struct Receiver;

impl text::Scrape for Receiver {
    type Of<'a> = Scrape<'a>;
}

impl Samples<'_> {
    /// A value a shard.
    fn each_shard<V: fmt::Display>(&mut self, scrape: &Scrape<'_>, value: fn(&ShardValues) -> V) {
        self.each("shard", scrape.snapshot.shards.iter().map(value).enumerate());
    }

    /// A histogram of all shards; besides one of each shard, where that is asked for.
    fn spread(
        &mut self,
        scrape: &Scrape<'_>,
        label: Option<(&str, &dyn fmt::Display)>,
        edges: &Edges,
        of: impl Fn(&ShardValues) -> &Spread,
    ) {
        self.histogram(label.as_slice(), edges, of(scrape.total));
        if scrape.per_shard_histograms {
            for (shard, values) in scrape.snapshot.shards.iter().enumerate() {
                let shard: (&str, &dyn fmt::Display) = ("shard", &shard);
                let labels: Vec<_> = label.into_iter().chain([shard]).collect();
                self.histogram(&labels, edges, of(values));
            }
        }
    }
}

#[rustfmt::skip]
metrics! { Receiver:
    // What an operator asks first.
    "ready" Gauge [] "1 while mail is taken, as /readyz tells.",
        |s, to| to.add(&[], u8::from(s.snapshot.is_ready));
    "messages_total" Counter ["outcome"] "Messages whose mail data ended and that were handed to the sink, by outcome: stored (answered 250), try_again (4yz), refused (5yz), unknown (the client had gone, or was answered before the sink was).",
        |s, to| to.each("outcome", [
            ("stored", s.total.messages),
            ("try_again", s.total.messages_try_again),
            ("refused", s.total.messages_refused),
            ("unknown", s.total.messages_unknown),
        ]);
    "message_bytes_total" Counter [] "Octets of mail data in messages answered 250.",
        |s, to| to.add(&[], s.total.message_bytes);
    "message_size_bytes" Histogram [] "Octets of mail data of each message answered 250.",
        |s, to| to.spread(s, None, &SIZES, |shard| &shard.message_size);
    "phase_duration_seconds" Histogram ["phase"] "How long each phase took: banner (accept to greeting sent), tls_handshake, envelope (MAIL to DATA), data (to its end), handoff_wait (to a place with the sink), store (to the receipt), reply (to the reply sent), session (accept to close). Phases of a message are counted once it was handed to the sink.",
        |s, to| for phase in Phase::ALL {
            to.spread(s, Some(("phase", &phase.name())), &PHASES, |shard| shard.phase(phase));
        };
    "recipients_refused_total" Counter ["reason"] "Recipients refused at RCPT, by reason; the log has the same words.",
        |s, to| for (reason, count) in s.total.tally.recipients_refused() {
            to.add(&[("reason", &reason.name())], count);
        };

    // Clients.
    "connections_accepted_total" Counter ["shard"] "Connections accepted, those that were turned away among them.",
        |s, to| to.each_shard(s, |shard| shard.connections);
    "connections_open" Gauge ["shard"] "Connections now.",
        |s, to| to.each_shard(s, |shard| shard.connections_open);
    "clients_counted" Gauge [] "Networks of clients in the table (limits.clients_max), counted once a minute; most clients are several.",
        |s, to| to.add(&[], s.snapshot.clients.networks);
    "clients_proven" Gauge [] "Clients that have proved good, counted once a minute.",
        |s, to| to.add(&[], s.snapshot.clients.proven);
    "connections_refused_total" Counter ["shard" "reason"] "Connections turned away: full (connections_max), client (connections_per_client_max, or a rate of [client_limits]), stopping (the server was).",
        |s, to| for (shard, values) in s.snapshot.shards.iter().enumerate() {
            for (reason, count) in [
                ("full", values.connections_refused_full),
                ("client", values.connections_refused_client),
                ("stopping", values.connections_refused_stopping),
            ] {
                to.add(&[("shard", &shard), ("reason", &reason)], count);
            }
        };
    "accept_failures_total" Counter ["shard"] "Accepts that failed, as a rule for want of descriptors.",
        |s, to| to.each_shard(s, |shard| shard.accept_failures);
    "sessions_ended_total" Counter ["outcome"] "Sessions that ended, by why; the log has the same words (ended_by). A session in which no command came is silent, unless something of these stopped it.",
        |s, to| {
            for outcome in EndedBy::ALL {
                to.add(&[("outcome", &outcome.name())], s.total.ended_by(*outcome));
            }
            to.add(&[("outcome", &"silent")], s.total.sessions_silent);
        };
    "commands_total" Counter ["verb"] "Command lines, by verb; other is what is no command.",
        |s, to| to.each("verb", s.total.tally.commands());
    "replies_total" Counter ["code" "enhanced"] "Replies said, by code and enhanced status code.",
        |s, to| for ((code, enhanced), count) in s.total.tally.replies() {
            to.add(&[("code", &code), ("enhanced", &enhanced)], count);
        };

    // The sink.
    "sink_batches_total" Counter ["kind"] "Batches that the workers of the sink stored, well or not. A sink that runs on the shards has none.",
        |s, to| to.add(&[("kind", &s.snapshot.sink_kind)], s.snapshot.sink.batches);
    "sink_batch_messages" Histogram ["kind"] "Messages in each batch.",
        |s, to| to.histogram(&[("kind", &s.snapshot.sink_kind)], &BATCHES, &s.snapshot.sink.batch_messages);
    "sink_sync_duration_seconds" Histogram ["kind"] "How long each batch took until it was stored: its writes and syncs.",
        |s, to| to.histogram(&[("kind", &s.snapshot.sink_kind)], &PHASES, &s.snapshot.sink.sync_duration);
    "sink_failures_total" Counter ["kind"] "Messages that a worker could not store.",
        |s, to| to.add(&[("kind", &s.snapshot.sink_kind)], s.snapshot.sink.failures);
    "sink_queue_messages" Gauge ["kind"] "Messages handed over that wait for a place with the sink, a worker, or the end of its batch.",
        |s, to| to.add(&[("kind", &s.snapshot.sink_kind)], s.total.messages_at_sink);
    "sink_oldest_wait_seconds" Gauge ["kind"] "How long the oldest message of the batch under way has waited since its end came; 0 without a batch.",
        |s, to| to.add(&[("kind", &s.snapshot.sink_kind)], seconds(s.snapshot.sink.oldest_wait));

    // The spool, where the sink is one.
    "spool_bytes" Gauge [] "Octets of the spool's files, those kept for later use among them. Looked at every five seconds by the spool's own thread, as are the next four.",
        |s, to| if let Some(spool) = s.snapshot.spool { to.add(&[], spool.bytes) };
    "spool_segments" Gauge [] "Segments.",
        |s, to| if let Some(spool) = s.snapshot.spool { to.add(&[], spool.segments) };
    "spool_unconsumed_bytes" Gauge [] "Octets from the consumer's cursor on, in whole segments.",
        |s, to| if let Some(spool) = s.snapshot.spool { to.add(&[], spool.unconsumed_bytes) };
    "spool_free_bytes" Gauge [] "Octets that are free on the spool's file system.",
        |s, to| if let Some(spool) = s.snapshot.spool { to.add(&[], spool.free_bytes) };
    "spool_consumer_lag_seconds" Gauge [] "For how long the consumer's cursor has stood still before something written since the start; 0 while it keeps up.",
        |s, to| if let Some(spool) = s.snapshot.spool { to.add(&[], seconds(spool.consumer_lag)) };

    // Memory.
    "buffers_pinned" Gauge ["shard"] "Receive buffers held by connections and messages.",
        |s, to| to.each_shard(s, |shard| shard.buffers_pinned);
    "buffers" Gauge ["shard"] "Receive buffers that there are.",
        |s, to| to.each_shard(s, |shard| shard.buffers);
    "blocks_used_bytes" Gauge ["shard"] "Octets of memory blocks that hold mail data.",
        |s, to| to.each_shard(s, |shard| shard.block_bytes_used);
    "back_pressure_seconds_total" Counter ["shard"] "Seconds in which clients were held back: no receive buffer was left, memory for mail data was nearly used up, or messages waited for a place with the sink.",
        |s, to| to.each_shard(s, |shard| Unit::Microsecond.of(shard.back_pressure_us));
    "put_off_total" Counter [] "Connections and transactions that were put off for want of room, which is kept for better clients.",
        |s, to| to.add(&[], s.total.put_off);
    "would_refuse_total" Counter [] "What would have been refused by what only warns, once a session and kind.",
        |s, to| to.add(&[], s.total.front_warnings);
    "dnsbl_up" Gauge ["list"] "Whether a list in the DNS answers its test entries as it should and is used.",
        |s, to| for (list, is_used) in &s.snapshot.lists {
            to.add(&[("list", list)], u64::from(*is_used));
        };
    "filter_messages_total" Counter ["filter" "action"] "Messages that a content filter was asked about, by what came of it: pass, mark (goes on, suspicious), refuse (5yz), put_off (4yz), greylist, discard (250, and nobody gets it), none (no answer).",
        |s, to| for (filter, values) in s.snapshot.filters() {
            for (action, count) in values.actions.iter().filter(|(action, _)| *action != StationAction::Delivered) {
                to.add(&[("filter", &filter), ("action", &action.name())], count);
            }
        };
    "filter_duration_seconds" Histogram ["filter"] "How long a message was with a content filter, from the shard and back.",
        |s, to| for (filter, values) in s.snapshot.filters() {
            to.histogram(&[("filter", &filter)], &PHASES, &values.duration);
        };
    "filter_messages_in_flight" Gauge ["filter"] "Messages that a content filter is asked about now.",
        |s, to| to.each("filter", s.snapshot.filters().map(|(filter, values)| (filter, values.in_flight)));
    "filter_up" Gauge ["filter"] "0 while a content filter does not answer, and is probed.",
        |s, to| to.each("filter", s.snapshot.filters().map(|(filter, values)| (filter, u8::from(values.down == 0))));
    "station_messages_turned_total" Counter ["why"] "Messages that were not with a filter, or the next hops of kind forward, as they should: full (no room among those that wait; passed by, or answered 451), late (never came back in time, 451).",
        |s, to| to.each("why", [("full", s.total.stations_full), ("late", s.total.stations_late)]);
    "cut_through_messages_total" Counter ["action"] "Messages of kind forward by what came of them before their client was answered: deliver, refuse (5yz), pass (some recipients have it, the spool is for the others), none (to the spool, whether or not the next hop was asked).",
        |s, to| if let Some(values) = s.snapshot.next_hops() {
            let shown =
                [StationAction::Delivered, StationAction::Refused, StationAction::Passed, StationAction::Unanswered];
            for (action, count) in values.actions.iter().filter(|(action, _)| shown.contains(action)) {
                to.add(&[("action", &action.name())], count);
            }
        };
    "cut_through_duration_seconds" Histogram [] "How long such a message took, from the shard and back.",
        |s, to| if let Some(values) = s.snapshot.next_hops() {
            to.histogram(&[], &PHASES, &values.duration);
        };
    "cut_through_hosts_down" Gauge [] "Next hops that take no mail before the 250 now, and are tried once a second.",
        |s, to| if let Some(values) = s.snapshot.next_hops() {
            to.add(&[], values.down);
        };
    "nats_messages_total" Counter ["action"] "Messages of kind nats by what came of them: deliver (acknowledged by the stream), put_off (no room there: 452, or to the spool), refuse (too large for every way there: 552), none (no acknowledgement in time: 451, or to the spool).",
        |s, to| if let Some(values) = s.snapshot.cluster() {
            let shown =
                [StationAction::Delivered, StationAction::PutOff, StationAction::Refused, StationAction::Unanswered];
            for (action, count) in values.actions.iter().filter(|(action, _)| shown.contains(action)) {
                to.add(&[("action", &action.name())], count);
            }
        };
    "nats_duration_seconds" Histogram [] "How long such a message took, from the shard and back.",
        |s, to| if let Some(values) = s.snapshot.cluster() {
            to.histogram(&[], &PHASES, &values.duration);
        };
    "nats_messages_in_flight" Gauge [] "Messages that wait for the acknowledgement of the stream now.",
        |s, to| if let Some(values) = s.snapshot.cluster() {
            to.add(&[], values.in_flight);
        };
    "nats_up" Gauge [] "0 while no message is given to the stream, which is looked for once a second.",
        |s, to| if let Some(values) = s.snapshot.cluster() {
            to.add(&[], u8::from(values.down == 0));
        };
    "spill_files" Gauge [] "Spill files of messages that are too large or too slow for memory.",
        |s, to| to.add(&[], s.snapshot.spill.files);
    "spill_bytes" Gauge [] "Octets in spill files.",
        |s, to| to.add(&[], s.snapshot.spill.bytes);
    "messages_lost_memory_total" Counter [] "Messages under way that lost their memory to others and are answered 451.",
        |s, to| to.add(&[], s.total.memory_refusals);

    // The DNS, where something asks it.
    "dns_questions_total" Counter ["shard"] "Questions that shards sent to the threads that ask the DNS. What a shard knows already is not asked.",
        |s, to| to.each_shard(s, |shard| shard.dns_questions);
    "dns_answers_total" Counter ["outcome"] "Answers to them: records, no_records (the name has none of the kind), no_name (there is no such name), server_failure (SERVFAIL, REFUSED), timed_out, unusable, overload (not asked: too many questions were out, or nobody answers).",
        |s, to| to.each("outcome", [
            ("records", s.total.dns_answers_records),
            ("no_records", s.total.dns_answers_no_records),
            ("no_name", s.total.dns_answers_no_name),
            ("server_failure", s.total.dns_answers_server_failure),
            ("timed_out", s.total.dns_answers_timed_out),
            ("unusable", s.total.dns_answers_unusable),
            ("overload", s.total.dns_answers_overload),
        ]);
    "dns_answer_duration_seconds" Histogram [] "How long answers took to come home to their shard, those that its lookup thread knew among them.",
        |s, to| to.spread(s, None, &PHASES, |shard| &shard.dns_duration);
    "authentication_results_total" Counter ["method" "result"] "What was found of who vouches for messages: SPF and DMARC of each message, DKIM of each signature; `applied` is what became of messages. None without [auth].",
        |s, to| for (method, result, count) in s.total.authentication.all() {
            to.add(&[("method", &method), ("result", &result)], count);
        };
    "authentication_wait_seconds" Histogram [] "How long complete messages waited for answers of the DNS, before they went to the sink.",
        |s, to| to.spread(s, None, &PHASES, |shard| &shard.authentication.wait);
    "forged_results_total" Counter [] "Authentication-Results fields that claimed to be ours and were removed; neighbours count as one.",
        |s, to| to.add(&[], s.total.forged_results);
    "dns_questions_out" Gauge ["shard"] "Questions that are out now.",
        |s, to| to.each_shard(s, |shard| shard.dns_questions_out);
    "dns_answer_bytes" Gauge ["shard"] "Octets of answers that the shard keeps.",
        |s, to| to.each_shard(s, |shard| shard.dns_answer_bytes);

    // TLS.
    "tls_handshakes_total" Counter ["version" "resumed"] "TLS handshakes that were completed.",
        |s, to| {
            let t = s.total;
            let (full, resumed) = (t.tls12_handshakes.saturating_sub(t.tls12_resumptions), t.tls12_resumptions);
            let rest = (t.tls_handshakes.saturating_sub(t.tls12_handshakes), t.tls_resumptions.saturating_sub(t.tls12_resumptions));
            for (version, is_resumed, count) in [
                ("TLSv1.2", false, full),
                ("TLSv1.2", true, resumed),
                ("TLSv1.3", false, rest.0.saturating_sub(rest.1)),
                ("TLSv1.3", true, rest.1),
            ] {
                to.add(&[("version", &version), ("resumed", &is_resumed)], count);
            }
        };
    "tls_failures_total" Counter ["cause"] "TLS that failed, by cause; the log has the same words (tls_failed).",
        |s, to| to.each("cause", [
            ("not-tls", s.total.tls_failures_not_tls),
            ("nothing-in-common", s.total.tls_failures_nothing_in_common),
            ("protocol", s.total.tls_failures_protocol),
            ("client-alert", s.total.tls_failures_client_alert),
            ("server-name", s.total.tls_failures_server_name),
            ("misbehaved", s.total.tls_failures_misbehaved),
            ("decrypt", s.total.tls_failures_decrypt),
            ("timed-out", s.total.tls_failures_timed_out),
            ("gone", s.total.tls_failures_gone),
            ("other", s.total.tls_failures_other),
        ]);
    "tls_certificate_expiry_timestamp_seconds" Gauge ["name"] "When each certificate ends, by its file in the configuration.",
        |s, to| for certificate in &s.snapshot.certificates {
            to.add(&[("name", &certificate.name)], seconds_since_1970(certificate.not_after));
        };

    // The machine room.
    "turns_total" Counter ["shard"] "Turns of the shard's loop.",
        |s, to| to.each_shard(s, |shard| shard.turns);
    "turn_duration_seconds" Histogram [] "How long turns took, from their events to the next call of the kernel.",
        |s, to| to.spread(s, None, &TURNS, |shard| &shard.turn_duration);
    "ring_overflows_total" Counter ["shard"] "Turns after which the kernel held completions aside, because the ring had no room for them.",
        |s, to| to.each_shard(s, |shard| shard.ring_overflows);
    "session_panics_total" Counter [] "Sessions that ended in a bug of ringmx. Report it.",
        |s, to| to.add(&[], s.total.session_panics);
    "log_lines_dropped_total" Counter [] "Log lines that whoever reads the log, or the disk of its file, did not take.",
        |s, to| to.add(&[], s.snapshot.log_lines_dropped);
    "generation" Gauge [] "Which configuration is in use: 1 since the start, one more with each reload that was taken.",
        |s, to| to.add(&[], s.snapshot.config.generation);
    "config_last_reload_success" Gauge [] "1 if the last reload was taken, or there was none.",
        |s, to| to.add(&[], u8::from(s.snapshot.config.last_reload_success));
    "config_last_reload_timestamp_seconds" Gauge [] "When the configuration in use was taken.",
        |s, to| to.add(&[], seconds_since_1970(s.snapshot.config.last_reload_at));
    "process_start_time_seconds" Gauge [] "When the process started.",
        |s, to| to.add(&[], seconds_since_1970(s.snapshot.started_at));
    "build_info" Gauge ["version" "revision"] "Always 1; the labels say what runs.",
        |s, to| to.add(&[("version", &s.snapshot.version), ("revision", &s.snapshot.revision)], 1);
}

//! What the server says of itself in the log: the banner of a start, what an operator should know, the
//! closing report.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::reload::{Prepared, What};
use super::watch::Watched;
use crate::config::{AdminAddress, Config, NeedsRestart, Warning};
use crate::limits::{SHARDS_END_MAX, WORKERS_END_MAX};
use crate::log::Log;
use crate::log::events;
use crate::metrics::Registry;
use crate::sink::{Durability, Opened};

/// Warnings on the configuration.
pub(super) fn warnings(warnings: &[Warning], log: &mut Log) {
    for warning in warnings {
        log.record(&events::WARNING, SystemTime::now()).text("text", warning.to_string().as_bytes()).end();
    }
    log.flush();
}

/// What this machine lacks of what was asked for.
pub(super) fn lacks(lacks: &[String], log: &mut Log) {
    for text in lacks {
        log.record(&events::WARNING, SystemTime::now()).text("text", text.as_bytes()).end();
    }
    log.flush();
}

/// Why something was not done.
pub(super) fn error(text: &str, log: &mut Log) {
    log.record(&events::ERROR, SystemTime::now()).text("text", text.as_bytes()).end();
    log.flush();
}

/// What an operator should know and need not cure.
pub(super) fn notes(notes: &[String], log: &mut Log) {
    for note in notes {
        log.record(&events::NOTE, SystemTime::now()).text("text", note.as_bytes()).end();
    }
    log.flush();
}

/// The banner: where it listens, on which cores it works, where mail goes and what a 250 promises.
pub(super) fn banner(
    config: &Config,
    addresses: impl Iterator<Item = SocketAddr>,
    opened: &Opened,
    log: &mut Log,
) {
    let at = SystemTime::now();
    for address in addresses {
        log.record(&events::LISTENING, at).plain("address", address).end();
    }
    let cpus = config.shards.iter().map(|shard| shard.cpu as u64);
    log.record(&events::SHARDS, at).numbers("cpus", cpus).end();
    let promise = match opened.durability {
        Durability::Quorum => "250 means: acknowledged by a quorum of the cluster",
        Durability::Disk if config.nats.is_some() => {
            "250 means: acknowledged by a quorum of the cluster, or on disk"
        }
        Durability::Disk if config.cut_through.is_some() => "250 means: taken by the next hop, or on disk",
        Durability::Disk => "250 means: on disk",
        Durability::Memory => "250 means: in memory, gone when the machine stops",
        Durability::None => "nothing: a message answered 250 may be lost",
    };
    let mut into = opened.description.clone();
    if let Some(cluster) = config.nats.as_ref().filter(|cluster| cluster.has_fallback) {
        into = cluster.summary_before(&into);
    }
    log.record(&events::SINK, at).text("into", into.as_bytes()).text("promise", promise.as_bytes()).end();
    let domains =
        if config.domains.is_empty() { "any domain (loopback only)" } else { "the configured domains" };
    log.record(&events::ACCEPTING, at).text("for", domains.as_bytes()).end();
    notes(&opened.notes, log);
}

/// Where the administration listens.
pub(super) fn admin(address: Option<&AdminAddress>, log: &mut Log) {
    if let Some(address) = address {
        log.record(&events::ADMIN, SystemTime::now()).plain("address", address).end();
        log.flush();
    }
}

/// All threads serve.
pub(super) fn ready(log: &mut Log) {
    log.record(&events::READY, SystemTime::now()).end();
    log.flush();
}

/// The forwarder has ended as it was asked to.
pub(super) fn forwarded(unanswered: usize, log: &mut Log) {
    let text = match unanswered {
        0 => "what was under way is settled".to_owned(),
        count => format!("{count} messages had no answer in time and are delivered again"),
    };
    log.record(&events::STOPPED, SystemTime::now()).text("text", text.as_bytes()).end();
    log.flush();
}

/// A reload that begins a generation, to be told of when shards serve by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reloaded {
    generation: u64,
    by: &'static str,
    listeners: usize,
    /// Recipients that are named; none where nobody is.
    listed: Option<usize>,
    took_ms: u64,
}

impl Reloaded {
    /// This one, which was asked for in this way.
    pub(super) fn of(prepared: &Prepared, by: &'static str) -> Self {
        let Prepared { generation, begun, .. } = prepared;
        Self {
            generation: generation.number,
            by,
            listeners: generation.places.len(),
            listed: generation.table.count(),
            took_ms: millis(*begun),
        }
    }

    /// Tells of it.
    pub(super) fn tell(self, log: &mut Log) {
        let mut record = log
            .record(&events::RELOADED, SystemTime::now())
            .number("generation", self.generation)
            .plain("by", self.by)
            .number("listeners", self.listeners as u64);
        if let Some(count) = self.listed {
            record = record.number("listed", count as u64);
        }
        record.number("took_ms", self.took_ms).end();
        log.flush();
    }
}

/// What was found while a new generation was prepared.
pub(super) fn prepared(prepared: &Prepared, log: &mut Log) {
    let Prepared { warnings: found, notes: said, needs_restart, .. } = prepared;
    warnings(found, log);
    notes(said, log);
    tell_needs(needs_restart, log);
}

/// What whoever asked for a reload is told.
pub(super) fn reload_answer(prepared: &Prepared) -> String {
    let Prepared { generation, warnings, needs_restart, begun, .. } = prepared;
    let mut text = told(warnings, needs_restart);
    let recipients =
        generation.table.count().map_or_else(String::new, |count| format!(", recipients: {count}"));
    let (number, listeners, took) = (generation.number, generation.places.len(), millis(*begun));
    let _ = writeln!(
        text,
        "reloaded: new sessions begin in generation {number} (listeners: {listeners}{recipients}; {took} ms)"
    );
    text
}

fn tell_needs(needs_restart: &[NeedsRestart], log: &mut Log) {
    for needed in needs_restart {
        log.record(&events::NEEDS_RESTART, SystemTime::now())
            .text("text", needed.to_string().as_bytes())
            .end();
    }
}

/// The same, and warnings, for whoever asked.
fn told(warnings: &[Warning], needs_restart: &[NeedsRestart]) -> String {
    let mut text = String::new();
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for needed in needs_restart {
        let _ = writeln!(text, "needs a restart: {needed}");
    }
    text
}

/// A reload changes nothing.
pub(super) fn not_reloaded(problems: &[String], what: What, generation: u64, log: &mut Log) {
    for problem in problems {
        error(problem, log);
    }
    log.record(&events::NOT_RELOADED, SystemTime::now())
        .number("generation", generation)
        .text("text", stays(what).as_bytes())
        .end();
    log.flush();
}

/// A forwarder has read a configuration that it begins anew with. Gives what whoever asked is told.
pub(super) fn renewed(
    found: &[Warning],
    needs_restart: &[NeedsRestart],
    by: &'static str,
    begun: SystemTime,
    log: &mut Log,
) -> String {
    warnings(found, log);
    tell_needs(needs_restart, log);
    let record = log.record(&events::RELOADED, SystemTime::now()).plain("by", by);
    record.number("took_ms", millis(begun)).end();
    log.flush();
    let mut text = told(found, needs_restart);
    text.push_str("reloaded: the forwarder begins anew with it, once what is under way is settled\n");
    text
}

/// A forwarder cannot begin anew with what it has read, and goes on. Gives what whoever asked is told.
pub(super) fn not_renewed(problems: &[String], log: &mut Log) -> String {
    const STAYS: &str = "nothing was changed; the forwarder goes on as before";
    for problem in problems {
        error(problem, log);
    }
    log.record(&events::NOT_RELOADED, SystemTime::now()).text("text", STAYS.as_bytes()).end();
    log.flush();
    format!("{}\nnot reloaded: {STAYS}\n", problems.join("\n"))
}

/// What whoever asked for a reload is told that changes nothing.
pub(super) fn refusal_answer(problems: &[String], what: What, generation: u64) -> String {
    let mut text = problems.join("\n");
    let _ = writeln!(
        text,
        "\nnot reloaded: {}; new sessions begin in generation {generation} as before",
        stays(what)
    );
    text
}

const fn stays(what: What) -> &'static str {
    match what {
        What::Everything => "nothing was changed",
        What::Only(Watched::Recipients) => "the recipients stay as they were",
        What::Only(Watched::Certificates) => "the certificates stay as they were",
    }
}

fn millis(since: SystemTime) -> u64 {
    let took = since.elapsed().unwrap_or_default();
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The stop begins, as asked for or because something failed: what it waits for, and how long at most.
pub(super) fn stopping(is_asked_for: bool, registry: &Registry, log: &mut Log) {
    let (connections, away) = under_way(registry);
    let event = if is_asked_for { &events::STOPPING } else { &events::FAILING };
    log.record(event, SystemTime::now())
        .number("connections", connections)
        .number("away", away)
        .number("seconds", (SHARDS_END_MAX + WORKERS_END_MAX).as_secs())
        .end();
    log.flush();
}

/// What the stop waits for, after so long.
pub(super) fn waiting(what: &str, registry: &Registry, since: Duration, log: &mut Log) {
    let (connections, away) = under_way(registry);
    log.record(&events::WAITING, SystemTime::now())
        .number("connections", connections)
        .number("away", away)
        .number("seconds", since.as_secs())
        .text("for", what.as_bytes())
        .end();
    log.flush();
}

/// Connections that are open, and messages that are at the sink.
fn under_way(registry: &Registry) -> (u64, u64) {
    let shards = registry.shards().iter();
    shards.fold((0, 0), |(connections, away), shard| {
        (connections + shard.connections_open.value(), away + shard.messages_at_sink.value())
    })
}

/// The closing report: what was counted since the start and is not 0.
pub(super) fn stopped(registry: &Registry, log: &mut Log) {
    let mut record = log.record(&events::STOPPED, SystemTime::now());
    // What is as it is configured was not counted.
    let counted = |(name, _): &(&str, u64)| *name != "buffers";
    for (name, value) in registry.snapshot().total().values().filter(counted) {
        record = record.number_if_any(name, value);
    }
    record.end();
}

/// The closing report of a start that was asked to stop.
pub(super) fn never_listened(log: &mut Log) {
    log.record(&events::STOPPED, SystemTime::now()).text("text", b"it did not listen yet").end();
}

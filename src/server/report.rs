//! What the server says of itself in the log: the banner of a start, what an operator should know, the
//! closing report.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::config::{Config, Warning};
use crate::log::Log;
use crate::metrics::Registry;
use crate::sink::{Durability, Opened};

/// Warnings on the configuration.
pub(super) fn warnings(warnings: &[Warning], log: &mut Log) {
    for warning in warnings {
        log.record("warning", SystemTime::now()).text("text", warning.to_string().as_bytes()).end();
    }
    log.flush();
}

/// Why something was not done.
pub(super) fn error(text: &str, log: &mut Log) {
    log.record("error", SystemTime::now()).text("text", text.as_bytes()).end();
    log.flush();
}

/// What an operator should know and need not cure.
pub(super) fn notes(notes: &[String], log: &mut Log) {
    for note in notes {
        log.record("note", SystemTime::now()).text("text", note.as_bytes()).end();
    }
    log.flush();
}

/// The banner: where it listens, on which cores it works, where mail goes and what a 250 promises.
pub(super) fn banner(config: &Config, addresses: &[SocketAddr], opened: &Opened, log: &mut Log) {
    let at = SystemTime::now();
    for address in addresses {
        log.record("listening", at).plain("address", address).end();
    }
    let cpus = config.shards.iter().map(|shard| shard.cpu as u64);
    log.record("shards", at).numbers("cpus", cpus).end();
    let promise = match opened.durability {
        Durability::Disk => "250 means: on disk",
        Durability::Memory => "250 means: in memory, gone when the machine stops",
        Durability::None => "nothing: a message answered 250 may be lost",
    };
    log.record("sink", at)
        .text("to", opened.description.as_bytes())
        .text("promise", promise.as_bytes())
        .end();
    let domains =
        if config.domains.is_empty() { "any domain (loopback only)" } else { "the configured domains" };
    log.record("accepting", at).text("for", domains.as_bytes()).end();
    notes(&opened.notes, log);
}

/// All threads serve.
pub(super) fn ready(log: &mut Log) {
    log.record("ready", SystemTime::now()).end();
    log.flush();
}

/// The certificates were read again, and what is to be known of them.
pub(super) fn certificates(found: &[String], log: &mut Log) {
    log.record("certificates", SystemTime::now()).text("text", b"read again").end();
    notes(found, log);
}

/// The stop begins, as asked for or because something failed.
pub(super) fn stopping(is_asked_for: bool, log: &mut Log) {
    log.record(if is_asked_for { "stopping" } else { "failing" }, SystemTime::now()).end();
    log.flush();
}

/// The closing report: what was counted since the start.
pub(super) fn stopped(registry: &Registry, log: &mut Log) {
    let mut record = log.record("stopped", SystemTime::now());
    for (name, value) in registry.snapshot().total().values() {
        record = record.number(name, value);
    }
    record.end();
}

/// The closing report of a start that was asked to stop.
pub(super) fn never_listened(log: &mut Log) {
    log.record("stopped", SystemTime::now()).text("text", b"it did not listen yet").end();
}

//! What the server says of itself in the log: the banner of a start, what an operator should know, the
//! closing report.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::config::{AdminAddress, Config, Warning};
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
pub(super) fn banner(config: &Config, addresses: &[SocketAddr], opened: &Opened, log: &mut Log) {
    let at = SystemTime::now();
    for address in addresses {
        log.record(&events::LISTENING, at).plain("address", address).end();
    }
    let cpus = config.shards.iter().map(|shard| shard.cpu as u64);
    log.record(&events::SHARDS, at).numbers("cpus", cpus).end();
    let promise = match opened.durability {
        Durability::Disk => "250 means: on disk",
        Durability::Memory => "250 means: in memory, gone when the machine stops",
        Durability::None => "nothing: a message answered 250 may be lost",
    };
    log.record(&events::SINK, at)
        .text("text", opened.description.as_bytes())
        .text("promise", promise.as_bytes())
        .end();
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

/// The certificates were read again, and what is to be known of them.
pub(super) fn certificates(found: &[String], log: &mut Log) {
    log.record(&events::CERTIFICATES, SystemTime::now()).text("text", b"read again").end();
    notes(found, log);
}

/// The stop begins, as asked for or because something failed.
pub(super) fn stopping(is_asked_for: bool, log: &mut Log) {
    log.record(if is_asked_for { &events::STOPPING } else { &events::FAILING }, SystemTime::now()).end();
    log.flush();
}

/// The closing report: what was counted since the start and is not 0.
pub(super) fn stopped(registry: &Registry, log: &mut Log) {
    let mut record = log.record(&events::STOPPED, SystemTime::now());
    for (name, value) in registry.snapshot().total().values() {
        record = record.number_if_any(name, value);
    }
    record.end();
}

/// The closing report of a start that was asked to stop.
pub(super) fn never_listened(log: &mut Log) {
    log.record(&events::STOPPED, SystemTime::now()).text("text", b"it did not listen yet").end();
}

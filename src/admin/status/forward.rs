//! What `/status.json` of a forwarder says: one shape, which its page and the programs of an operator read.
//!
//! The rules are those of the receiver's ([`Status`](super::Status)): the shape has a number, each unit
//! stands in the name of its field, and what is not known is `null` or an empty list.

use serde::{Deserialize, Serialize};

use super::{Check, Event, Latency, Problem, Unreadable};

/// The number of the shape below.
pub const SHAPE: u32 = 1;

/// What stands in [`ForwardStatus::process`].
pub const PROCESS: &str = "forwarder";

/// The whole document.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// [`SHAPE`].
    pub shape: u32,
    /// [`PROCESS`], which tells it from the receiver's.
    pub process: String,
    /// The version of the program.
    pub version: String,
    /// The name that it gives itself in EHLO.
    pub hostname: String,
    /// The process.
    pub pid: u32,
    /// When this was read: milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Since the start.
    pub uptime_seconds: u64,
    /// The answer to the first question: does mail go on?
    pub state: ForwardState,
    /// What `/readyz` says.
    pub ready: Check,
    /// What `/healthz` says: whether every thread moves.
    pub healthy: Check,
    /// What is wrong, worst first, each with what to do.
    pub problems: Vec<Problem>,
    /// How many recipients got their mail, or did not.
    pub throughput: ForwardThroughput,
    /// How long messages took, by part (`queue`, `connect`, `transmit` in `phase`), of the last minute.
    pub delays: Vec<Latency>,
    /// In the order of the configuration.
    pub destinations: Vec<Destination>,
    /// What is kept, and where.
    pub queue: Queue,
    /// The last notable events, newest first.
    pub events: Vec<Event>,
}

/// Whether mail goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardState {
    /// Mail would go on; none did in the last minute.
    Idle,
    /// Mail was delivered in the last minute.
    Forwarding,
    /// Mail does not go on: `ready` says why.
    #[default]
    NotReady,
    /// It is stopping.
    Draining,
}

/// How many recipients got their mail, or did not.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ForwardThroughput {
    /// Over the last second.
    pub now: ForwardRates,
    /// Over the last minute, or since the start.
    pub minute: ForwardRates,
    /// Over the last 15 minutes, or since the start.
    pub quarter_hour: ForwardRates,
    /// Since the start.
    pub delivered_total: u64,
    /// Since the start; a recipient counts each time.
    pub deferred_total: u64,
    /// Since the start.
    pub undeliverable_total: u64,
    /// Since the start.
    pub expired_total: u64,
    /// Since the start.
    pub held_total: u64,
    /// Recipients that no route takes: since the start, and those that waited already then.
    pub unrouted_total: u64,
    /// Recipients a second, one number for each of the last 900 seconds at most, the newest last.
    pub delivered_by_second: Vec<u64>,
    /// The same of those that were deferred, refused for good, expired or held.
    pub not_delivered_by_second: Vec<u64>,
}

/// Means over a time, in recipients.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ForwardRates {
    /// The next hop has their mail.
    pub delivered_per_second: f64,
    /// It is tried again.
    pub deferred_per_second: f64,
    /// They do not get it: refused, or expired.
    pub undeliverable_per_second: f64,
}

/// A destination: the next hops of a route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Destination {
    /// Its name: the next hops as configured.
    pub destination: String,
    /// Whether one of its hosts takes mail, or was not tried yet.
    pub up: bool,
    /// For how long none does; none if one does.
    pub down_seconds: Option<u64>,
    /// Messages that were read and not tried yet.
    pub fresh: u64,
    /// Retries that could go now.
    pub due: u64,
    /// Retries that wait for their time.
    pub waiting: u64,
    /// Messages on connections.
    pub busy: u64,
    /// Messages that are being copied into `later/`.
    pub moving: u64,
    /// Messages that wait for an operator.
    pub held: u64,
    /// How old the oldest of them is that is not held; none without one.
    pub oldest_seconds: Option<u64>,
    /// Connections.
    pub connections_open: u64,
    /// Recipients since the start.
    pub delivered_total: u64,
    /// Recipients since the start; one counts each time.
    pub deferred_total: u64,
    /// Recipients since the start, those that expired among them.
    pub undeliverable_total: u64,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<Host>,
}

/// A next hop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Host {
    /// Its name in the configuration.
    pub next_hop: String,
    /// `up`, `suspended` (it failed, and is probed) or `stopped` (by an operator).
    pub state: String,
    /// For how long.
    pub state_seconds: u64,
    /// Why it failed last; empty if it never did.
    pub why: String,
    /// When it is probed next; none unless it is suspended and mail waits.
    pub next_probe_in_seconds: Option<u64>,
    /// Messages that it may have at a time.
    pub concurrency: u64,
    /// Connections to it.
    pub connections_open: u64,
    /// Messages that it has.
    pub busy: u64,
}

/// What is kept, and where.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Queue {
    /// Octets of new mail in memory.
    pub window_bytes: u64,
    /// Octets in `forward/later` that somebody waits for.
    pub later_bytes: u64,
    /// Octets in `forward/dead`.
    pub dead_bytes: u64,
    /// Parts of messages that were given up.
    pub dead_messages: u64,
    /// Notices that the start found and that nobody takes.
    #[serde(default)]
    pub notices_held: u64,
    /// Messages of the spool that cannot be read.
    #[serde(default)]
    pub unreadable_messages: u64,
    /// How old the message is that was read last, while there are more to read; else 0.
    pub log_lag_seconds: f64,
    /// Half of the notes of the last minute took at most so long to be durable; none if there was none.
    pub journal_sync_p50_us: Option<u64>,
    /// 99 of 100 of them.
    pub journal_sync_p99_us: Option<u64>,
    /// Notes of which the disk did not take all, since the start.
    pub journal_failures_total: u64,
}

impl ForwardStatus {
    /// Reads the JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        super::read(json, SHAPE)
    }

    /// The JSON, on one line.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail: no map with odd keys, no writer.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

//! What `/status.json` says: one shape, which the page, `ringmx status` and the programs of an operator read.
//!
//! The shape has a number. A field that is added leaves it; one that is renamed, removed or means something
//! else raises it. Readers pass over fields that they do not know. Each unit stands in the name of its field;
//! what is not known or does not exist here is `null` or an empty list, never a zero.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub mod figures;
pub mod forward;
pub mod history;
pub mod judgement;
mod refusals;
#[cfg(test)]
pub(crate) mod sample;
pub mod source;
pub mod words;

/// The number of the shape below.
pub const SHAPE: u32 = 1;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status {
    /// [`SHAPE`].
    pub shape: u32,
    /// The version of the program.
    pub version: String,
    /// The name that it greets with.
    pub hostname: String,
    /// The process.
    pub pid: u32,
    /// When this was read: milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Since the start.
    pub uptime_seconds: u64,
    /// Which reload of the configuration new sessions see; 1 is the start.
    pub generation: u64,
    /// The answer to the first question: is it receiving?
    pub state: State,
    /// What `/readyz` says: whether new mail is taken.
    pub ready: Check,
    /// What `/healthz` says: whether every thread moves.
    pub healthy: Check,
    /// What is wrong, worst first, each with what to do.
    pub problems: Vec<Problem>,
    /// How much comes in.
    pub throughput: Throughput,
    /// How long it takes, by phase, of the last minute.
    pub latency: Vec<Latency>,
    /// One a shard.
    pub shards: Vec<Shard>,
    /// Connections, recipients and messages that were refused, most frequent first.
    pub refusals: Vec<Refusal>,
    /// Content filters, in the order in which they are asked; none before shape 1 had them.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// The stream that mail goes to, where it goes to one.
    pub cluster: Option<Cluster>,
    /// Where mail goes; empty where the shards throw it away themselves (`discard`).
    pub sinks: Vec<Sink>,
    /// Memory of all shards, and spill files.
    pub memory: Memory,
    /// The room for mail on the store's file system; none where the sink has no disk, or it does not say.
    pub room: Option<Room>,
    /// The spool, if mail goes into one.
    pub spool: Option<Spool>,
    /// Certificates that are shown to clients, the one that ends first is first.
    pub certificates: Vec<Certificate>,
    /// The last notable events, newest first.
    pub events: Vec<Event>,
}

/// Whether mail is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Mail would be taken; none came in the last minute.
    Idle,
    /// Mail is taken, and came in the last minute.
    Receiving,
    /// New mail is not taken: `ready` says why.
    #[default]
    NotReady,
    /// It is stopping.
    Draining,
}

/// Yes, or no with the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Check {
    /// The answer.
    pub ok: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Something that an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub cure: String,
}

/// How bad a problem is; the worst is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Mail is not received, or soon will not be.
    Error,
    /// Mail is received; something will need a hand.
    Warning,
}

/// How much comes in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Over the last second.
    pub now: Rates,
    /// Over the last minute, or since the start.
    pub minute: Rates,
    /// Over the last 15 minutes, or since the start.
    pub quarter_hour: Rates,
    /// Connections that are open.
    pub connections_open: u64,
    /// Messages answered 250 since the start.
    pub messages_total: u64,
    /// Octets of mail data in them.
    pub message_bytes_total: u64,
    /// Messages a second, one number for each of the last 900 seconds at most, the newest last.
    pub messages_by_second: Vec<u64>,
    /// The same of messages, connections and recipients that were turned away.
    pub refusals_by_second: Vec<u64>,
}

/// Means over a time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Messages answered 250.
    pub messages_per_second: f64,
    /// Octets of mail data in them.
    pub bytes_per_second: f64,
    /// Connections accepted.
    pub connections_per_second: f64,
    /// Messages, connections and recipients that were turned away.
    pub refusals_per_second: f64,
}

/// The times of one phase of a session, of the last minute.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// `banner`, `tls_handshake`, `envelope`, `data`, `handoff_wait`, `store`, `reply` or `session`.
    pub phase: String,
    /// How many were measured.
    pub count: u64,
    /// Half took at most so long; none if nothing was measured. All of them are the upper edge of a bucket of
    /// the histogram, at most a quarter more than was measured.
    pub p50_us: Option<u64>,
    /// Nine of ten took at most so long.
    pub p90_us: Option<u64>,
    /// 99 of 100 took at most so long.
    pub p99_us: Option<u64>,
    /// The histogram where it is not empty.
    pub curve: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its upper edge.
    pub up_to_us: u64,
    /// How many lie in it.
    pub count: u64,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub shard: usize,
    /// Connections that are open.
    pub connections_open: u64,
    /// Over the last second.
    pub messages_per_second: f64,
    /// The share of the last second that its turns took, from 0 to 1.
    pub busy: Option<f64>,
    /// The longest turn since the start.
    pub turn_max_us: u64,
}

/// What was turned away for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// What was turned away: `connection`, `recipient` or `message`.
    pub what: String,
    /// Why. Of recipients it is the word of the log's `reason=`, with spaces for hyphens.
    pub reason: String,
    /// In the last minute.
    pub minute: u64,
    /// Since the start.
    pub total: u64,
}

/// One sink.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sink {
    /// Its kind.
    pub sink: String,
    /// Messages that wait for it or are being stored.
    pub queue_messages: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait_seconds: f64,
    /// Messages in a batch, mean of the last minute; none if there was none.
    pub batch_messages: Option<f64>,
    /// Half of the syncs of the last minute took at most so long; none if there was none.
    pub sync_p50_us: Option<u64>,
    /// 99 of 100 of them.
    pub sync_p99_us: Option<u64>,
    /// Messages that could not be stored, since the start.
    pub failures_total: u64,
}

/// A content filter. Its figures are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Its name in the configuration.
    pub filter: String,
    /// Whether it answers.
    pub up: bool,
    /// Messages that it looks at now.
    pub in_flight: u64,
    /// Messages that it answered for.
    pub answered_total: u64,
    /// Of those, messages that were refused: 5yz or 4yz.
    pub refused_total: u64,
    /// Messages for which it gave no answer.
    pub unanswered_total: u64,
    /// Half of all messages were with it for this long at most, in microseconds.
    pub p50_us: Option<u64>,
    /// 99 of 100 of them.
    pub p99_us: Option<u64>,
}

/// The stream that mail goes to. Its figures are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// Whether messages are given to it.
    pub up: bool,
    /// Messages that wait for its acknowledgement now.
    pub in_flight: u64,
    /// Messages that it acknowledged.
    pub acknowledged_total: u64,
    /// Messages that it had no room for, or that were too large for it.
    pub refused_total: u64,
    /// Messages that it did not acknowledge in time.
    pub unanswered_total: u64,
    /// Half of all messages were with it for this long at most, in microseconds.
    pub p50_us: Option<u64>,
    /// 99 of 100 of them.
    pub p99_us: Option<u64>,
}

/// Memory of all shards, and spill files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Receive buffers that somebody needs.
    pub buffers_pinned: u64,
    /// Receive buffers that there are.
    pub buffers: u64,
    /// Blocks of mail data.
    pub blocks_used_bytes: u64,
    /// Spill files that exist.
    pub spill_files: u64,
    /// What lies in them.
    pub spill_bytes: u64,
    /// Time for which clients were held back, of all shards since the start: because no receive buffer was
    /// free, memory was nearly used up, or messages waited for the sink.
    pub back_pressure_seconds: f64,
}

/// The room for mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    /// What mail may still take: free on the file system, less the reserve.
    pub free_bytes: u64,
    /// When that is used up if it goes on as in the last 15 minutes; none if it does not shrink in several
    /// steps, or nobody has looked for ten minutes yet.
    pub full_in_seconds: Option<u64>,
}

/// The spool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Spool {
    /// Segments that hold records or can take some.
    pub segments: u64,
    /// What its files take.
    pub bytes: u64,
    /// What its consumer has not read.
    pub unconsumed_bytes: u64,
    /// For how long there has been something that the consumer did not consume, without its cursor moving.
    pub consumer_lag_seconds: f64,
}

/// A certificate that is shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Certificate {
    /// The file of its chain as configured, or the host name where it was made at the start.
    pub name: String,
    /// When it ends: seconds since 1970.
    pub expires_unix: i64,
    /// Whole days until then; negative once it has ended.
    pub days_left: i64,
}

/// A notable event: a warning, an error, a start, a reload, a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When: milliseconds since 1970.
    pub at_unix_ms: u64,
    /// `error`, `warning` or `notice`.
    pub level: String,
    /// Its word in the log.
    pub event: String,
    /// Its fields, as in a log in text. They may hold what a file or a client said.
    pub text: String,
}

/// Why an answer is no status that this program can read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is of another shape: the number of the shape, and the version that sent it.
    OtherShape(u32, String),
    /// It is no status at all.
    NoStatus(String),
}

impl Status {
    /// Reads the JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        read(json, SHAPE)
    }

    /// The JSON, on one line.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail: no map with odd keys, no writer.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// Reads a status of this shape.
fn read<T: DeserializeOwned>(json: &[u8], shape: u32) -> Result<T, Unreadable> {
    /// What every shape has.
    #[derive(Deserialize)]
    struct Head {
        shape: u32,
        #[serde(default)]
        version: String,
    }
    let no_status = |error: serde_json::Error| Unreadable::NoStatus(error.to_string());
    let head: Head = serde_json::from_slice(json).map_err(no_status)?;
    if head.shape != shape {
        return Err(Unreadable::OtherShape(head.shape, head.version));
    }
    serde_json::from_slice(json).map_err(no_status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let status = Status { shape: SHAPE, state: State::Receiving, ..Status::default() };
        assert_eq!(Status::from_json(status.to_json().as_bytes()), Ok(status));
    }

    #[test]
    fn another_shape_says_its_version_and_anything_else_is_no_status() {
        let other = br#"{"shape":2,"version":"9.0","throughput":"all"}"#;
        assert_eq!(Status::from_json(other), Err(Unreadable::OtherShape(2, "9.0".to_owned())));
        for odd in ["", "[]", "{}", "null", "<html>", r#"{"shape":1}"#, r#"{"shape":-1}"#] {
            let read = Status::from_json(odd.as_bytes());
            assert!(matches!(read, Err(Unreadable::NoStatus(_))), "{odd:?} {read:?}");
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_passed_over() {
        let json =
            Status { shape: SHAPE, ..Status::default() }.to_json().replacen('{', r#"{"moon":"full","#, 1);
        assert!(Status::from_json(json.as_bytes()).is_ok());
    }
}

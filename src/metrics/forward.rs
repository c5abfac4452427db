//! What the threads of the forwarder count. The engine, the office and the reader each write their own, and
//! nobody else does.
//!
//! A destination is a label by the name that the configuration gives it. What its queues and hosts are like
//! at a moment the engine shows once a second, whole, and only where the last showing was looked at: it
//! counts nothing for that, and never waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::histogram::{Histogram, Spread};
use super::pulse::Pulse;
use crate::counter::Counter;
use crate::timestamp::micros;

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardResult {
    /// The next hop has the message.
    Delivered,
    /// It is tried again.
    Deferred,
    /// It was refused for good, or cannot be sent there as it is.
    Undeliverable,
    /// It waited too long.
    Expired,
    /// Nobody tries it until an operator says so.
    Held,
}

impl ForwardResult {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Delivered, Self::Deferred, Self::Undeliverable, Self::Expired, Self::Held];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Undeliverable => "undeliverable",
            Self::Expired => "expired",
            Self::Held => "held",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Each recipient had its answer, for good.
    Done,
    /// At least one recipient was answered 4yz.
    Deferred,
    /// The connection ended, or an answer did not come, within the message.
    Lost,
    /// The connection ended before anything was said of the message.
    Untouched,
    /// No session came to be: it counts no message.
    NoSession,
}

impl Attempt {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Done, Self::Deferred, Self::Lost, Self::Untouched, Self::NoSession];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Deferred => "deferred",
            Self::Lost => "lost",
            Self::Untouched => "untouched",
            Self::NoSession => "no_session",
        }
    }
}

/// A part of the time that a message took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DelayPart {
    /// Since it was received, until its connection was there.
    Queue,
    /// Until the connection that was opened for it took mail.
    Connect,
    /// From its first command to its last reply.
    Transmit,
}

impl DelayPart {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Connect, Self::Transmit];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Transmit => "transmit",
        }
    }
}

/// What the engine counts of one destination.
#[derive(Debug)]
pub struct DestinationMetrics {
    /// Its name.
    pub name: String,
    results: [Counter; ForwardResult::ALL.len()],
    attempts: [Counter; Attempt::ALL.len()],
}

impl DestinationMetrics {
    /// So many recipients had this result.
    pub fn count(&self, result: ForwardResult, recipients: u64) {
        if let Some(counter) = self.results.get(result as usize) {
            counter.add(recipients);
        }
    }

    /// An attempt ended like this.
    pub fn attempt(&self, ended: Attempt) {
        if let Some(counter) = self.attempts.get(ended as usize) {
            counter.add(1);
        }
    }

    /// Attempts in which the next hop answered for each recipient.
    fn answered(&self) -> u64 {
        let of = |ended: Attempt| self.attempts.get(ended as usize).map_or(0, Counter::value);
        of(Attempt::Done) + of(Attempt::Deferred)
    }
}

/// What the engine counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct EngineMetrics {
    /// Turns of its loop; there is one each 100 ms at least.
    pub turns: Counter,
    /// In the order of the configuration.
    pub destinations: Vec<DestinationMetrics>,
    delay: [Histogram; DelayPart::ALL.len()],
    /// Recipients that no route took, those among them that an earlier process left.
    pub unrouted: Counter,
    /// Notices that an earlier process left and that nobody takes (gauge).
    pub notices_held: Counter,
    /// Messages of the spool that cannot be read (gauge).
    pub unreadable: Counter,
}

impl EngineMetrics {
    /// Attempts at all destinations in which the next hop answered for each recipient.
    pub fn answered(&self) -> u64 {
        self.destinations.iter().map(DestinationMetrics::answered).sum()
    }

    /// A message took so long in this part.
    pub fn delay(&self, part: DelayPart, took: Duration) {
        if let Some(histogram) = self.delay.get(part as usize) {
            histogram.add_duration(took);
        }
    }
}

/// What the office counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct OfficeMetrics {
    /// How it is seen to go on.
    pub pulse: Pulse,
    /// How long each commit took: copies, the journal, their syncs.
    pub sync_duration: Histogram,
    /// Commits of which the disk did not take all.
    pub failures: Counter,
    /// Parts of messages that were given up (gauge).
    pub dead: Counter,
    /// Octets of the records in `later/` that somebody waits for (gauge).
    pub later_bytes: Counter,
    /// Octets of the records in `dead/` (gauge).
    pub dead_bytes: Counter,
}

/// What the reader counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReaderMetrics {
    /// Moves while the reader goes on, also where it finds nothing, or the engine has no room.
    pub steps: Counter,
    /// Messages that it read.
    pub messages: Counter,
    /// When the message that was read last was received: microseconds since 1970 (gauge).
    received_at: Counter,
    /// There was more to read when it looked last.
    is_behind: AtomicBool,
}

impl ReaderMetrics {
    /// It has read a message that was received then.
    pub fn see(&self, received_at: SystemTime) {
        self.messages.add(1);
        self.received_at.set(micros(received_at));
        self.is_behind.store(true, Ordering::Relaxed);
    }

    /// There is nothing more to read now.
    pub fn is_at_end(&self) {
        self.is_behind.store(false, Ordering::Relaxed);
    }

    /// How old the message is that was read last; zero where nothing is left to read.
    fn lag(&self, now: SystemTime) -> Duration {
        let is_behind = self.is_behind.load(Ordering::Relaxed);
        let age = micros(now).saturating_sub(self.received_at.value());
        if is_behind { Duration::from_micros(age) } else { Duration::ZERO }
    }
}

/// The destination of notices to senders, which takes no mail of theirs.
pub const NOTICES: &str = "notices";

/// The state of a host that an operator stopped.
pub const STOPPED: &str = "stopped";

/// A server that takes mail, at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostShown {
    /// Its name in the configuration.
    pub name: String,
    /// `up`, `suspended` (it failed, and is probed) or [`STOPPED`].
    pub state: &'static str,
    /// Since when.
    pub since: Instant,
    /// Why it failed last; empty if it never did.
    pub why: String,
    /// When it is probed next, if mail waits.
    pub next_probe: Option<Instant>,
    /// Deliveries that it may have at a time.
    pub concurrency: u64,
    /// Connections to it, with those that are being opened or closed.
    pub open: u64,
    /// Deliveries that it has.
    pub busy: u64,
}

/// The deliveries of a destination in one state.
pub type StateCount = (&'static str, u64);

/// A destination at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationShown {
    /// Since when none of its hosts takes mail; none if one does.
    pub down_since: Option<Instant>,
    /// Its deliveries by state.
    pub queue: Vec<StateCount>,
    /// When the oldest message for it was received that is not held; none if there is none.
    pub oldest: Option<SystemTime>,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<HostShown>,
}

impl DestinationShown {
    /// Deliveries that wait or are under way; those that are held are not.
    pub fn waiting(&self) -> u64 {
        self.queue.iter().filter(|(state, _)| *state != "held").map(|(_, count)| count).sum()
    }

    /// Whether an operator stopped all of its hosts.
    pub fn is_stopped(&self) -> bool {
        !self.hosts.is_empty() && self.hosts.iter().all(|host| host.state == STOPPED)
    }

    /// Connections to all of its hosts.
    pub fn connections(&self) -> u64 {
        self.hosts.iter().map(|host| host.open).sum()
    }
}

/// What the engine shows of its queues and hosts at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// In the order of the configuration; empty until the engine has shown something.
    pub destinations: Vec<DestinationShown>,
    /// Octets of mail in the window of fresh messages.
    pub window_bytes: u64,
}

/// All that is counted of a forwarder. Made once.
pub struct ForwardMetrics {
    /// Written by the engine.
    pub engine: EngineMetrics,
    /// Written by the office.
    pub office: OfficeMetrics,
    /// Written by the reader.
    pub reader: ReaderMetrics,
    hostname: String,
    started_at: SystemTime,
    show: Sender<Box<Shown>>,
    shown: Receiver<Box<Shown>>,
    /// What was shown last; for those who look.
    last: Mutex<Arc<Shown>>,
    is_ready: AtomicBool,
    log_lines_dropped: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl std::fmt::Debug for ForwardMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardMetrics").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl ForwardMetrics {
    /// Of a forwarder that calls itself so, with destinations of these names.
    pub fn new(hostname: &str, destinations: impl IntoIterator<Item = String>) -> Self {
        let of =
            |name| DestinationMetrics { name, results: Default::default(), attempts: Default::default() };
        let (show, shown) = bounded(1);
        Self {
            engine: EngineMetrics {
                turns: Counter::new(),
                destinations: destinations.into_iter().map(of).collect(),
                delay: Default::default(),
                unrouted: Counter::new(),
                notices_held: Counter::new(),
                unreadable: Counter::new(),
            },
            office: OfficeMetrics::default(),
            reader: ReaderMetrics::default(),
            hostname: hostname.to_owned(),
            started_at: SystemTime::now(),
            show,
            shown,
            last: Mutex::default(),
            is_ready: AtomicBool::new(false),
            log_lines_dropped: OnceLock::new(),
        }
    }

    /// The name that it gives itself in EHLO.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// How many log lines were lost is asked here from now on. Once.
    pub fn ask_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.log_lines_dropped.set(Box::new(dropped));
    }

    /// Whether `/readyz` says yes.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Whether somebody has looked at what was shown last.
    pub fn wants_showing(&self) -> bool {
        !self.show.is_full()
    }

    /// The engine shows how its queues and hosts are. Nobody is waited for.
    pub fn show(&self, shown: Box<Shown>) {
        // Where the last one was not looked at, that one stays.
        let _ = self.show.try_send(shown);
    }

    /// What the engine showed last. Not for the engine: there is a lock.
    pub fn shown(&self) -> Arc<Shown> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(newer) = self.shown.try_recv() {
            *last = Arc::from(newer);
        }
        Arc::clone(&last)
    }

    /// Reads everything. Asks no disk and stops nobody.
    pub fn snapshot(&self) -> ForwardSnapshot {
        let (engine, office) = (&self.engine, &self.office);
        let of = |one: &DestinationMetrics| DestinationValues {
            name: one.name.clone(),
            results: std::array::from_fn(|place| one.results[place].value()),
            attempts: std::array::from_fn(|place| one.attempts[place].value()),
        };
        ForwardSnapshot {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("RINGMX_COMMIT"),
            started_at: self.started_at,
            at: SystemTime::now(),
            now: Instant::now(),
            is_ready: self.is_ready.load(Ordering::Relaxed),
            log_lines_dropped: self.log_lines_dropped.get().map_or(0, |ask| ask()),
            turns: engine.turns.value(),
            destinations: engine.destinations.iter().map(of).collect(),
            delay: std::array::from_fn(|place| engine.delay[place].spread()),
            unrouted: engine.unrouted.value(),
            notices_held: engine.notices_held.value(),
            unreadable: engine.unreadable.value(),
            sync_duration: office.sync_duration.spread(),
            journal_failures: office.failures.value(),
            dead: office.dead.value(),
            later_bytes: office.later_bytes.value(),
            dead_bytes: office.dead_bytes.value(),
            messages_read: self.reader.messages.value(),
            lag: self.reader.lag(SystemTime::now()),
            shown: self.shown(),
        }
    }
}

/// What was counted of a destination.
#[derive(Debug, Clone)]
pub struct DestinationValues {
    /// Its name.
    pub name: String,
    results: [u64; ForwardResult::ALL.len()],
    attempts: [u64; Attempt::ALL.len()],
}

impl DestinationValues {
    /// Recipients with this result.
    pub fn recipients(&self, result: ForwardResult) -> u64 {
        self.results.get(result as usize).copied().unwrap_or_default()
    }

    /// Attempts that ended like this.
    pub fn attempts(&self, ended: Attempt) -> u64 {
        self.attempts.get(ended as usize).copied().unwrap_or_default()
    }
}

/// What a forwarder had counted at a moment.
#[derive(Debug, Clone)]
pub struct ForwardSnapshot {
    /// The version of the program.
    pub version: &'static str,
    /// The commit that it was built from.
    pub revision: &'static str,
    /// When the process started.
    pub started_at: SystemTime,
    /// When this was read, by the clock on the wall.
    pub at: SystemTime,
    /// The same, by the one that never goes back.
    pub now: Instant,
    /// Whether `/readyz` says yes.
    pub is_ready: bool,
    /// Log lines that whoever reads the log did not take.
    pub log_lines_dropped: u64,
    /// Turns of the engine.
    pub turns: u64,
    /// In the order of the configuration.
    pub destinations: Vec<DestinationValues>,
    delay: [Spread; DelayPart::ALL.len()],
    /// Recipients that no route took, those among them that an earlier process left.
    pub unrouted: u64,
    /// Notices that an earlier process left and that nobody takes.
    pub notices_held: u64,
    /// Messages of the spool that cannot be read.
    pub unreadable: u64,
    /// How long each commit took, in microseconds.
    pub sync_duration: Spread,
    /// Commits of which the disk did not take all.
    pub journal_failures: u64,
    /// Parts of messages that were given up.
    pub dead: u64,
    /// Octets of the records in `later/`.
    pub later_bytes: u64,
    /// Octets of the records in `dead/`.
    pub dead_bytes: u64,
    /// Messages that were read from the spool.
    pub messages_read: u64,
    /// How old the message is that was read last; zero where nothing is left to read.
    pub lag: Duration,
    /// Queues and hosts, as the engine showed them last.
    pub shown: Arc<Shown>,
}

impl ForwardSnapshot {
    /// How long messages took in this part, in microseconds.
    pub fn delay(&self, part: DelayPart) -> &Spread {
        &self.delay[part as usize]
    }

    /// Recipients of all destinations with this result.
    pub fn recipients(&self, result: ForwardResult) -> u64 {
        self.destinations.iter().map(|one| one.recipients(result)).sum()
    }

    /// The destinations with what was shown of each, if anything was.
    pub fn destinations(&self) -> impl Iterator<Item = (&DestinationValues, Option<&DestinationShown>)> {
        let all = self.destinations.iter().enumerate();
        all.map(|(place, values)| (values, self.shown.destinations.get(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_looked_at_is_not_replaced_and_nobody_is_waited_for() {
        let metrics = ForwardMetrics::new("mx.test", ["a".to_owned()]);
        assert!(metrics.wants_showing() && metrics.shown().window_bytes == 0);
        metrics.show(Box::new(Shown { window_bytes: 1, ..Shown::default() }));
        assert!(!metrics.wants_showing());
        metrics.show(Box::new(Shown { window_bytes: 2, ..Shown::default() }));
        assert_eq!(metrics.shown().window_bytes, 1);
        assert_eq!(metrics.shown().window_bytes, 1, "it stays until there is a newer one");
        assert!(metrics.wants_showing());
    }

    #[test]
    fn the_reader_is_behind_by_the_age_of_what_it_read_last_until_nothing_is_left() {
        let reader = ReaderMetrics::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(reader.lag(now), Duration::ZERO);
        reader.see(SystemTime::UNIX_EPOCH + Duration::from_secs(40));
        assert_eq!(reader.lag(now), Duration::from_mins(1));
        reader.is_at_end();
        assert_eq!(reader.lag(now), Duration::ZERO);
    }

    #[test]
    fn each_word_counts_by_itself() {
        let metrics = ForwardMetrics::new("mx.test", ["a".to_owned(), "b".to_owned()]);
        for (count, result) in (1..).zip(ForwardResult::ALL) {
            metrics.engine.destinations[0].count(result, count);
        }
        for (count, ended) in (1..).zip(Attempt::ALL) {
            (0..count).for_each(|_| metrics.engine.destinations[1].attempt(ended));
        }
        for part in DelayPart::ALL {
            metrics.engine.delay(part, Duration::from_millis(part as u64 + 1));
        }
        let read = metrics.snapshot();
        let results = ForwardResult::ALL.map(|result| read.destinations[0].recipients(result));
        let attempts = Attempt::ALL.map(|ended| read.destinations[1].attempts(ended));
        assert_eq!((results, attempts), ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]));
        assert_eq!(DelayPart::ALL.map(|part| read.delay(part).sum), [1000, 2000, 3000]);
    }
}

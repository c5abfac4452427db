//! All that counts, in one place, to be read by whoever asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::shard::ShardMetrics;
use super::sink::SinkMetrics;
use super::snapshot::{Certificate, ClientValues, Config, Snapshot, SpillValues};
use super::spool::SpoolMetrics;
use super::station::{StationMetrics, StationName, StationValues};

/// Tells of each list in the DNS its public name, and whether it is used.
pub type AskLists = Box<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;

/// Clients are counted this often at most.
const CLIENTS_PAUSE: Duration = Duration::from_mins(1);

/// Everything that is counted. Made once; the locks in it are taken by the control thread and by scrapes, and
/// by nothing that mail waits for.
pub struct Registry {
    version: &'static str,
    revision: &'static str,
    started_at: SystemTime,
    sink_kind: &'static str,
    shards: Vec<Arc<ShardMetrics>>,
    /// One for each worker that there may be; some stay unused.
    sinks: Vec<Arc<SinkMetrics>>,
    spool: Arc<SpoolMetrics>,
    clients: OnceLock<Box<dyn Fn() -> ClientValues + Send + Sync>>,
    /// When they were counted, and how many there were.
    clients_counted: Mutex<Option<(Instant, ClientValues)>>,
    spill: OnceLock<Box<dyn Fn() -> SpillValues + Send + Sync>>,
    log_lines_dropped: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
    is_ready: AtomicBool,
    config: Mutex<Config>,
    hostname: Mutex<String>,
    certificates: Mutex<Vec<Certificate>>,
    lists: Mutex<Option<AskLists>>,
    /// By their names; of a filter, or of the next hops.
    stations: Mutex<Vec<(StationName, Arc<StationMetrics>)>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// For so many shards, and a sink of this kind with at most so many workers.
    pub fn new(shards: usize, sink_kind: &'static str, workers: usize) -> Self {
        let started_at = SystemTime::now();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("RINGMX_COMMIT"),
            started_at,
            sink_kind,
            shards: (0..shards).map(|_| Arc::default()).collect(),
            sinks: (0..workers).map(|_| Arc::default()).collect(),
            spool: Arc::default(),
            clients: OnceLock::new(),
            clients_counted: Mutex::default(),
            spill: OnceLock::new(),
            log_lines_dropped: OnceLock::new(),
            is_ready: AtomicBool::new(false),
            config: Mutex::new(Config {
                generation: 1,
                last_reload_success: true,
                last_reload_at: started_at,
            }),
            hostname: Mutex::default(),
            certificates: Mutex::default(),
            lists: Mutex::default(),
            stations: Mutex::default(),
        }
    }

    /// What each shard counts with.
    pub fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }

    /// What each worker of the sink counts with.
    pub fn sinks(&self) -> &[Arc<SinkMetrics>] {
        &self.sinks
    }

    /// What the thread of the spool tells.
    pub fn spool(&self) -> &Arc<SpoolMetrics> {
        &self.spool
    }

    /// How much is in spill files is asked here from now on. Once.
    pub fn ask_spill(&self, spill: impl Fn() -> SpillValues + Send + Sync + 'static) {
        let _ = self.spill.set(Box::new(spill));
    }

    /// Who is in the table of clients is asked here from now on, at most once a minute: counting takes
    /// milliseconds. Once.
    pub fn ask_clients(&self, clients: impl Fn() -> ClientValues + Send + Sync + 'static) {
        let _ = self.clients.set(Box::new(clients));
    }

    fn clients(&self, now: Instant) -> ClientValues {
        let mut counted = self.clients_counted.lock().unwrap_or_else(PoisonError::into_inner);
        match (*counted, self.clients.get()) {
            (Some((at, values)), _) if now.saturating_duration_since(at) < CLIENTS_PAUSE => values,
            (_, None) => ClientValues::default(),
            (_, Some(count)) => counted.insert((now, count())).1,
        }
    }

    /// How many log lines were lost is asked here from now on. Once.
    pub fn ask_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.log_lines_dropped.set(Box::new(dropped));
    }

    /// Whether mail is taken.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// The name that new sessions are greeted with from now on.
    pub fn set_hostname(&self, hostname: &str) {
        hostname.clone_into(&mut self.hostname.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// That name.
    pub fn hostname(&self) -> String {
        self.hostname.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all that was read last was good.
    pub fn set_reload_success(&self, is_good: bool) {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).last_reload_success = is_good;
    }

    /// A reload has begun the generation of this number.
    pub fn set_generation(&self, number: u64) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.generation = number;
        config.last_reload_at = SystemTime::now();
    }

    /// The certificates that are shown from now on: by the name in the configuration, when each ends.
    pub fn set_certificates(&self, ends: Vec<(String, SystemTime)>) {
        let named = ends.into_iter().map(|(name, not_after)| Certificate { name, not_after });
        let certificates = named.collect();
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// Whom to ask for the lists in the DNS from now on.
    pub fn ask_lists(&self, ask: AskLists) {
        *self.lists.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
    }

    /// What a station of this name counts with.
    pub fn add_station(&self, name: StationName) -> Arc<StationMetrics> {
        let metrics = Arc::default();
        let mut stations = self.stations.lock().unwrap_or_else(PoisonError::into_inner);
        stations.push((name, Arc::clone(&metrics)));
        metrics
    }

    /// Whether the cluster that has all mail takes none now; none where mail does not depend on one.
    pub fn is_cluster_down(&self) -> Option<bool> {
        let stations = self.stations.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = stations.iter().find(|(name, _)| *name == StationName::Nats);
        let is_down = cluster.is_none_or(|(_, metrics)| metrics.down.value() > 0);
        (self.sink_kind == "nats").then_some(is_down)
    }

    fn stations(&self) -> Vec<(StationName, StationValues)> {
        let stations = self.stations.lock().unwrap_or_else(PoisonError::into_inner);
        stations.iter().map(|(name, metrics)| (name.clone(), metrics.read())).collect()
    }

    /// Reads everything. Asks no disk and stops nobody.
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let mut sink = super::sink::SinkValues::default();
        self.sinks.iter().for_each(|worker| sink.merge(&worker.read(now)));
        Snapshot {
            version: self.version,
            revision: self.revision,
            started_at: self.started_at,
            config: *self.config.lock().unwrap_or_else(PoisonError::into_inner),
            is_ready: self.is_ready.load(Ordering::Relaxed),
            log_lines_dropped: self.log_lines_dropped.get().map_or(0, |ask| ask()),
            shards: self.shards.iter().map(|shard| shard.read()).collect(),
            sink_kind: self.sink_kind,
            sink_workers: self.sinks.len(),
            sink,
            spill: self.spill.get().map_or_else(SpillValues::default, |ask| ask()),
            clients: self.clients(now),
            spool: self.spool.read(),
            stations: self.stations(),
            lists: self
                .lists
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .map_or_else(Vec::new, |ask| ask()),
            certificates: self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

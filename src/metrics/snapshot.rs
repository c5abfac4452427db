//! What a scrape shows: plain values, read at one moment.

use std::time::SystemTime;

use super::shard::ShardValues;
use super::sink::SinkValues;
use super::spool::SpoolValues;
use super::station::{StationName, StationValues};

/// Everything that is counted, as plain values.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The version of the program.
    pub version: &'static str,
    /// The commit that it was built from.
    pub revision: &'static str,
    /// When the process started.
    pub started_at: SystemTime,
    /// The configuration in use.
    pub config: Config,
    /// Whether mail is taken now, as `/readyz` tells.
    pub is_ready: bool,
    /// Log lines that whoever reads the log, or the disk of its file, did not take.
    pub log_lines_dropped: u64,
    /// One a shard, in the order of their numbers.
    pub shards: Vec<ShardValues>,
    /// The kind of the sink, as in the configuration.
    pub sink_kind: &'static str,
    /// The sink's workers; 0 for one that runs on the shards.
    pub sink_workers: usize,
    /// Of all workers of the sink together.
    pub sink: SinkValues,
    /// Spill files now.
    pub spill: SpillValues,
    /// The table of clients, within the last minute.
    pub clients: ClientValues,
    /// None where the sink is no spool.
    pub spool: Option<SpoolValues>,
    /// Stations, in the order in which messages pass them.
    pub stations: Vec<(StationName, StationValues)>,
    /// By the name in the configuration.
    pub certificates: Vec<Certificate>,
    /// Lists in the DNS by their public names, and whether each is used.
    pub lists: Vec<(String, bool)>,
}

impl Snapshot {
    /// What each content filter counted, by its name.
    pub fn filters(&self) -> impl Iterator<Item = (&str, &StationValues)> {
        self.stations.iter().filter_map(|(name, values)| match name {
            StationName::Filter(name) => Some((&**name, values)),
            StationName::NextHops | StationName::Nats => None,
        })
    }

    /// What the station of the next hops counted, where there is one.
    pub fn next_hops(&self) -> Option<&StationValues> {
        let (_, values) = self.stations.iter().find(|(name, _)| *name == StationName::NextHops)?;
        Some(values)
    }

    /// What the station of the cluster counted, where there is one.
    pub fn cluster(&self) -> Option<&StationValues> {
        let (_, values) = self.stations.iter().find(|(name, _)| *name == StationName::Nats)?;
        Some(values)
    }

    /// What all shards counted together.
    pub fn total(&self) -> ShardValues {
        let mut total = ShardValues::default();
        self.shards.iter().for_each(|shard| total.merge(shard));
        total
    }
}

/// The configuration in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// 1 since the start, one more with each reload that was taken.
    pub generation: u64,
    /// Whether the last reload was taken; true before the first.
    pub last_reload_success: bool,
    /// When the configuration in use was taken.
    pub last_reload_at: SystemTime,
}

/// Who is in the table of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientValues {
    /// Networks that are counted; most clients are several.
    pub networks: u64,
    /// Clients that have proved good.
    pub proven: u64,
}

/// Spill files now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpillValues {
    /// How many.
    pub files: u64,
    /// Octets in them.
    pub bytes: u64,
}

/// A certificate that is shown to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file of its chain as configured, or the host name where it was made at the start.
    pub name: String,
    /// When it ends.
    pub not_after: SystemTime,
}

//! What of a running server's configuration stands until it is started again, and what of a new one a reload
//! takes.
//!
//! Which keys need a restart is said where they are read (`section.rs`). There the value of each of them is
//! noted, so that two configurations can be compared key by key, and none can be forgotten here.

use std::fmt;

use super::configuration::Config;
use super::shards::{Shard, too_little_block_memory};

/// A value that only a restart changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    /// The dotted key.
    pub(super) key: String,
    /// What tells its table from others of its name.
    pub(super) place: Option<String>,
    /// Where the file gives it, or its table.
    pub(super) line: Option<usize>,
    /// As it would be written, or the default.
    pub(super) value: String,
}

/// A key whose new value needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsRestart {
    /// The dotted key, for instance `shards.buffers`.
    pub key: String,
    /// What tells its table from others of its name, for instance `core 1`.
    place: Option<String>,
    /// Where the file gives the new value, or its table.
    line: Option<usize>,
    /// What the file says.
    wanted: String,
    /// With what the server runs.
    running: String,
}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, place, line, wanted, running } = self;
        f.write_str(key)?;
        if let Some(place) = place {
            write!(f, " of {place}")?;
        }
        if let Some(line) = line {
            write!(f, " (line {line})")?;
        }
        write!(f, " = {wanted} needs a restart; until then it is {running}")
    }
}

impl Config {
    /// What a server that runs with `running` can take over of this configuration, and what it cannot: what
    /// needs a restart is that of `running`.
    #[must_use]
    pub fn taken_over(self, running: &Self) -> (Self, Vec<NeedsRestart>) {
        let needs = self.needs_restart(running);
        let is_same_sink = !needs.iter().any(|needed| needed.key.starts_with("sink."));
        let mut sink = running.sink.clone();
        if is_same_sink {
            // What the other keys of a sink mean goes by its kind.
            sink.space_reserve = self.sink.space_reserve;
            sink.dsn = self.sink.dsn;
            sink.requiretls = self.sink.requiretls;
        }
        let shards = running.shards.iter().map(|shard| taken_by_shard(shard, &self.shards)).collect();
        let mut log = self.log.clone();
        log.format = running.log.format;
        log.file.clone_from(&running.log.file);
        let taken = Self {
            sink,
            shards,
            log,
            local_part_case_sensitive: running.local_part_case_sensitive,
            admin: running.admin.clone(),
            run_as: running.run_as.clone(),
            control: running.control.clone(),
            fixed: running.fixed.clone(),
            ..self
        };
        (taken, needs)
    }

    /// Whether the shards can hold a message of the largest size. After [`Config::taken_over`] their memory is
    /// what it was.
    pub fn check_memory_of_messages(&self) -> Result<(), String> {
        let size = self.limits.message_size_max;
        match self.shards.iter().find_map(|shard| too_little_block_memory(shard, size)) {
            None => Ok(()),
            Some(text) => Err(format!(
                "the shards run with a block_memory that needs a restart, and {text}: restart, or leave this key as it was"
            )),
        }
    }

    fn needs_restart(&self, running: &Self) -> Vec<NeedsRestart> {
        const NOT_GIVEN: &str = "not given";
        let find = |all: &[Fixed], one: &Fixed| {
            all.iter().find(|other| other.key == one.key && other.place == one.place).cloned()
        };
        let changed = self.fixed.iter().filter_map(|new| {
            let old = find(&running.fixed, new).map_or_else(|| NOT_GIVEN.to_owned(), |old| old.value);
            (old != new.value).then(|| (new.clone(), old))
        });
        let gone = running.fixed.iter().filter(|old| find(&self.fixed, old).is_none()).map(|old| {
            let new = Fixed { line: None, value: NOT_GIVEN.to_owned(), ..old.clone() };
            (new, old.value.clone())
        });
        let needed = |(Fixed { key, place, line, value }, running)| NeedsRestart {
            key,
            place,
            line,
            wanted: value,
            running,
        };
        changed.chain(gone).map(needed).collect()
    }
}

/// A shard that runs, with what it takes over of the one for its core. One whose core is no longer named goes
/// on as it was.
fn taken_by_shard(running: &Shard, new: &[Shard]) -> Shard {
    let new = new.iter().find(|new| new.cpu == running.cpu).unwrap_or(running);
    Shard { connections_max: new.connections_max, ..running.clone() }
}

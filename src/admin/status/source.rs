//! Where the status comes from: what is counted, watched and told, read together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::history::{Facts, History};
use super::{Check, Event, Status};
use crate::admin::health::Health;
use crate::admin::verdict::Verdict;
use crate::log::{Recent, RecentEvent};
use crate::metrics::Registry;
use crate::timestamp::micros;

/// Gives the status. The admin thread samples and answers; the lock is there for whoever else asks, and no
/// shard does.
pub struct Source {
    registry: Arc<Registry>,
    health: Arc<Health>,
    recent: Recent,
    history: Mutex<History>,
}

impl Source {
    /// Of these. Nothing is sampled until [`Source::sample`] is called.
    pub fn new(registry: Arc<Registry>, health: Arc<Health>, recent: Recent) -> Self {
        Self { registry, health, recent, history: Mutex::default() }
    }

    /// Takes a sample. Once each [`SAMPLE_EVERY`](crate::admin::process::SAMPLE_EVERY).
    pub fn sample(&self) {
        let room = self.health.room_bytes();
        self.history().take(self.registry.snapshot(), room, Instant::now(), SystemTime::now());
    }

    /// The status as of the last sample.
    pub fn status(&self) -> Status {
        let facts = Facts {
            hostname: self.registry.hostname(),
            ready: check(&self.health.readyz()),
            healthy: check(&self.health.healthz()),
            is_draining: self.health.is_draining(),
            events: self.recent.events().iter().rev().map(event).collect(),
        };
        let status = self.history().status(&facts);
        // Whoever asks before the first sample is its first asker, too.
        status.unwrap_or_else(|| {
            self.sample();
            self.history().status(&facts).unwrap_or_default()
        })
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a question of health, as the status has it.
pub(in crate::admin) fn check(verdict: &Verdict) -> Check {
    Check { ok: verdict.is_good(), reasons: verdict.reasons().collect() }
}

/// An event of the log, as the status has it.
pub(in crate::admin) fn event(event: &RecentEvent) -> Event {
    Event {
        at_unix_ms: micros(event.at) / 1000,
        level: event.level.name().to_owned(),
        event: event.event.to_owned(),
        text: event.text.clone(),
    }
}

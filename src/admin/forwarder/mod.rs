//! What a forwarder tells of itself.
//!
//! All of it is read from what the threads of the forwarder count and show ([`ForwardMetrics`]): none of them
//! is asked, and none waits.

pub mod health;
mod history;
mod judgement;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::health::ForwardHealth;
use self::history::History;
use super::process::Process;
use super::status::forward::ForwardStatus;
use super::status::history::Facts;
use super::status::source::{check, event};
use super::verdict::Verdict;
use super::{exposition, page};
use crate::log::Recent;
use crate::metrics::ForwardMetrics;

/// A running forwarder.
pub struct Forwarder {
    metrics: Arc<ForwardMetrics>,
    health: Arc<ForwardHealth>,
    recent: Recent,
    history: Mutex<History>,
}

impl Forwarder {
    /// With these notable events of its log.
    pub fn new(metrics: Arc<ForwardMetrics>, health: Arc<ForwardHealth>, recent: Recent) -> Self {
        Self { metrics, health, recent, history: Mutex::default() }
    }

    /// How it does, as of the last sample.
    pub fn now(&self) -> ForwardStatus {
        let facts = Facts {
            hostname: self.metrics.hostname().to_owned(),
            ready: check(&self.readyz()),
            healthy: check(&self.healthz()),
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

impl Process for Forwarder {
    fn look(&self) {
        self.health.look();
        self.metrics.set_ready(self.readyz().is_good());
    }

    fn sample(&self) {
        self.history().take(self.metrics.snapshot());
    }

    fn healthz(&self) -> Verdict {
        self.health.healthz()
    }

    fn readyz(&self) -> Verdict {
        self.health.readyz()
    }

    fn metrics(&self, _query: Option<&str>) -> String {
        self.metrics.set_ready(self.readyz().is_good());
        let mut text = String::with_capacity(32 * 1024);
        exposition::forward::write(&self.metrics.snapshot(), &mut text);
        text
    }

    fn status(&self) -> String {
        self.now().to_json()
    }

    fn page(&self) -> String {
        page::forward::page(&self.now())
    }
}

//! What a receiver tells of itself.

use std::sync::Arc;

use super::health::Health;
use super::process::Process;
use super::status::source::Source;
use super::verdict::Verdict;
use super::{exposition, page};
use crate::metrics::Registry;

/// A running receiver.
pub struct Receiver {
    /// What is counted.
    pub registry: Arc<Registry>,
    /// What is watched.
    pub health: Arc<Health>,
    /// What is shown.
    pub status: Arc<Source>,
}

impl Process for Receiver {
    fn look(&self) {
        self.health.look();
    }

    fn sample(&self) {
        self.status.sample();
    }

    fn healthz(&self) -> Verdict {
        self.health.healthz()
    }

    fn readyz(&self) -> Verdict {
        self.health.readyz()
    }

    fn metrics(&self, query: Option<&str>) -> String {
        self.registry.set_ready(self.health.readyz().is_good());
        // What is most often enough.
        let mut text = String::with_capacity(64 * 1024);
        exposition::write(&self.registry.snapshot(), &mut text, query == Some("shards=1"));
        text
    }

    fn status(&self) -> String {
        self.status.status().to_json()
    }

    fn page(&self) -> String {
        page::page(&self.status.status())
    }
}

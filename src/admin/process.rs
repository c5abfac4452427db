//! A process, as its administration knows it: what it tells, and what is done for that by the way.

use std::time::Duration;

use super::verdict::Verdict;

/// How often a sample is taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What a process tells of itself. The thread of the administration asks, and takes no longer than it must:
/// nobody is waited for.
pub trait Process: Send + Sync {
    /// Looks whether its threads go on: once each [`LOOK_EVERY`](super::verdict::LOOK_EVERY).
    fn look(&self);

    /// Takes a sample of its figures: once each [`SAMPLE_EVERY`].
    fn sample(&self);

    /// Whether every thread goes on. The watchdog of the service manager is told so, too.
    fn healthz(&self) -> Verdict;

    /// Whether it does its work.
    fn readyz(&self) -> Verdict;

    /// What it has counted, as text for Prometheus; the query stood behind the path.
    fn metrics(&self, query: Option<&str>) -> String;

    /// How it does, as JSON.
    fn status(&self) -> String;

    /// How it does, as a page of HTML. It needs no more than
    /// [`content_security_policy`](super::page::content_security_policy) allows.
    fn page(&self) -> String;
}

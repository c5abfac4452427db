//! What each threshold says about a run.

use std::fmt;

use super::Report;
use crate::threshold::{Metric, Threshold};

/// What one threshold says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// As it was given.
    pub threshold: String,
    /// Whether the run is to fail for it.
    pub standing: Standing,
    /// The number, and on which side of the bound it is.
    pub words: String,
}

/// What comes of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The number is on the good side.
    Passed,
    /// It is beyond the bound, or there is no such number.
    Failed,
    /// The run has no result, so its numbers say nothing.
    NotJudged,
}

impl Standing {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotJudged => "not judged",
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.standing.name(), self.words)
    }
}

impl Judgement {
    /// What this threshold says about a run.
    fn new(threshold: &Threshold, report: &Report<'_>) -> Self {
        let judgement = |standing, words| Self { threshold: threshold.text.clone(), standing, words };
        if !report.has_result() && !threshold.metric.is_count() {
            let words = format!("{}, because the run has no result", threshold.text);
            return judgement(Standing::NotJudged, words);
        }
        match value(threshold.metric, report) {
            None => judgement(Standing::Failed, format!("{} was not measured in this run", threshold.name)),
            Some(value) => {
                let standing = if threshold.is_beyond(value) { Standing::Failed } else { Standing::Passed };
                judgement(standing, threshold.describe(value))
            }
        }
    }
}

/// What each threshold of a run says, in the order given.
pub fn judgements(report: &Report<'_>) -> Vec<Judgement> {
    report.thresholds.iter().map(|threshold| Judgement::new(threshold, report)).collect()
}

/// `None` if nothing of it was measured: of TLS in plaintext, of a phase that the run does not have.
fn value(metric: Metric, report: &Report<'_>) -> Option<f64> {
    let tally = &report.outcome.tally;
    match metric {
        Metric::Latency(phase, value) => {
            let latency = report.latency(phase);
            (latency.count > 0).then(|| value(&latency) as f64)
        }
        Metric::Rate => Some(report.rate()),
        Metric::Megabytes => Some(report.megabytes_rate()),
        Metric::Handshakes => Some(report.handshakes_rate()),
        Metric::Refusals => Some(report.refusals_rate()),
        Metric::Sessions => Some(report.sessions_rate()),
        Metric::Resumed => Some(tally.handshakes.resumed_percent()),
        Metric::Errors => Some(tally.failures.count as f64),
        Metric::Late => Some(tally.late as f64),
        Metric::Unsent => Some(tally.unsent as f64),
    }
}

//! The answers to the questions of health, and what they are found by: numbers that should move, looked at
//! again and again.

use std::time::Duration;

use serde::Serialize;

/// How often is looked.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What has stood still for so many looks hangs: 4 s, so that it is told within 5 s.
pub(super) const LOOKS_MAX: u32 = 8;

/// So many failures of whole batches, one after another, say that the disk takes nothing.
pub(super) const FAILED_BATCHES_MAX: u64 = 3;

/// Without another failed batch for so many looks (10 s) it may be tried again: else nobody would send what
/// shows that the disk takes something again.
pub(super) const FAILURE_LOOKS_MAX: u32 = 20;

/// A number, and for how many looks it has been the same.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stand {
    value: u64,
    looks: u32,
}

impl Stand {
    /// True when it moved.
    pub(super) fn see(&mut self, value: u64) -> bool {
        let moved = self.value != value;
        self.looks = if moved { 0 } else { self.looks.saturating_add(1) };
        self.value = value;
        moved
    }

    /// A number that may stand while it is not due to move.
    pub(super) fn see_if_due(&mut self, value: u64, is_due: bool) {
        self.see(value);
        if !is_due {
            self.looks = 0;
        }
    }

    /// The steps of a [`Pulse`](crate::metrics::Pulse), which may stand while nothing is on its way.
    pub(super) fn see_pulse(&mut self, steps: u64) {
        self.see_if_due(steps, !steps.is_multiple_of(2));
    }

    /// What was seen last.
    pub(super) fn value(self) -> u64 {
        self.value
    }

    /// Whether it has stood for too long.
    pub(super) fn hangs(self) -> bool {
        self.looks >= LOOKS_MAX
    }

    /// Whether it has stood for so many looks.
    pub(super) fn stood(self, looks: u32) -> bool {
        self.looks >= looks
    }

    /// How long it has stood, in words.
    pub(super) fn time(self) -> String {
        format!("{} s", u128::from(self.looks) * LOOK_EVERY.as_millis() / 1000)
    }

    /// Of failures in a row: whether these are so many, and the last one is so recent, that the next one is
    /// to be expected.
    pub(super) fn fails(self) -> bool {
        self.value >= FAILED_BATCHES_MAX && self.looks < FAILURE_LOOKS_MAX
    }
}

/// The answer to one question, in the shape in which it is told.
#[derive(Debug, Serialize)]
pub struct Verdict {
    ok: bool,
    checks: Vec<Check>,
}

/// One of the things that the answer depends on.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    name: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Check {
    /// Good without a reason.
    pub(super) fn new(name: impl Into<String>, reason: Option<String>) -> Self {
        Self { name: name.into(), ok: reason.is_none(), reason }
    }
}

impl Verdict {
    /// Good if all of these are.
    pub(super) fn new(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.ok), checks }
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.ok
    }

    /// What is wrong.
    pub fn reasons(&self) -> impl Iterator<Item = String> {
        let of = |check: &Check| check.reason.as_ref().map(|reason| format!("{}: {reason}", check.name));
        self.checks.iter().filter_map(of)
    }

    /// The names of what is wrong.
    #[cfg(test)]
    pub(super) fn bad(&self) -> Vec<String> {
        self.checks.iter().filter(|check| !check.ok).map(|check| check.name.clone()).collect()
    }

    /// The names of what hangs, for whoever is sent to `/healthz`; none where nothing does.
    pub(super) fn names_of_bad(&self) -> Option<String> {
        let names: Vec<_> = self.checks.iter().filter(|check| !check.ok).map(|check| &*check.name).collect();
        (!names.is_empty()).then(|| format!("{}: see /healthz", names.join(", ")))
    }
}

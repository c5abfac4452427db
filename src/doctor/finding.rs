//! What a check of the machine found.

/// How bad a finding is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The receiver cannot start, breaks its promise, fails before a configured bound is reached, or is not
    /// delivered to.
    Fails,
    /// It costs throughput, or fails in a burst or for some.
    Limits,
    /// It could be better, or may be meant.
    Hint,
    /// A fact to know; nothing is wrong.
    Note,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was read or measured.
    pub value: String,
    /// Why it matters.
    pub why: String,
    /// Lines of a shell script that cure it; those that begin with `#` are for the reader.
    pub cure: Vec<String>,
}

impl Finding {
    pub(super) fn new(severity: Severity, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { severity, value: value.into(), why: why.into(), cure: Vec::new() }
    }

    /// With one more line of its cure.
    pub(super) fn cure(mut self, line: impl Into<String>) -> Self {
        self.cure.push(line.into());
        self
    }
}

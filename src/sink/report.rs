//! Errors of the machine: told to the operator, once each, and made an outcome of the message.

use std::fmt;
use std::io;
use std::path::Path;

use super::plan::{Plan, Results};
use crate::mail::outcome::{Outcome, TryAgain};

/// What an error concerns, as the operator is shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site<'a> {
    /// A file or a directory.
    Path(&'a Path),
    /// What has a name and no path: standard output, a URL, a subject.
    Named(&'a str),
}

impl fmt::Display for Site<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Takes a sink's errors of the machine to the log.
pub trait Report: Send + Sync {
    /// `what` was tried with `site` and failed with `error`.
    fn machine_error(&self, what: &str, site: Site<'_>, error: &io::Error);

    /// Something that the operator should know and that is no failure.
    fn note(&self, _text: &str) {}
}

/// The outcome for an error of the machine. Never `Refused`: the message is not to blame (EACCES, EROFS and
/// their like pass).
pub(crate) fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        // A file that is too large (EFBIG) is one over RLIMIT_FSIZE: there is room for it once that is
        // raised.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Outcome::TryAgain(TryAgain::NoSpace)
        }
        _ => Outcome::TryAgain(TryAgain::Local),
    }
}

/// Reports each operation of a plan that failed, once.
pub(crate) fn report_failures(report: &dyn Report, root: &Path, plan: &Plan<'_>, results: &Results) {
    for (action, error) in results.failures(plan) {
        report.machine_error(action.verb(), Site::Path(&root.join(action.path())), error);
    }
}

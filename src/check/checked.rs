//! What was found out of a configuration.

use crate::config::{Config, Finding, Lists, LogFormat, Places, Problem, Warning};

/// A configuration with all that was found out about it.
#[derive(Debug)]
pub struct Checked {
    /// What to serve with; none when there are problems.
    pub config: Option<Config>,
    /// Whom the files of recipients and aliases name.
    pub lists: Lists,
    /// Where the keys of the file stand.
    pub places: Places,
    /// How findings are told in the log: as configured, also where something else is wrong.
    pub log_format: LogFormat,
    /// Why nothing can be served with it, in the order of the file.
    pub problems: Vec<Problem>,
    /// What is allowed and probably not meant, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// In the order of the file: what has no line first, and what is in other files last.
pub(super) fn sort(places: &Places, problems: &mut [Problem], warnings: &mut [Warning]) {
    let is_elsewhere = |finding: &Finding| !places.is_file(&finding.file);
    problems.sort_by_key(|Problem(finding)| (is_elsewhere(finding), finding.line));
    warnings.sort_by_key(|Warning(finding)| (is_elsewhere(finding), finding.line));
}

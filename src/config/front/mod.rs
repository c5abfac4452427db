//! The front line: access lists, lists in the DNS, the score, early checks.

mod access;
mod dnsbl;
mod early;

use std::path::PathBuf;

use super::section::Section;
use crate::auth::rules::{AuthRules, SpfUse};
use crate::front::checks::CheckRules;

/// What is done before mail is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// What is checked.
    pub rules: CheckRules,
    /// Files of networks, which are read with the configuration.
    pub network_files: Vec<PathBuf>,
    /// Where it is kept across restarts which clients proved good, and whom the greylist knows.
    pub state: Option<PathBuf>,
}

/// Reads the tables. SPF that refuses is a check of the front line.
pub(super) fn read(root: &mut Section<'_>, auth: Option<&AuthRules>) -> Front {
    let (access, network_files) = access::read(root);
    let lists = dnsbl::read_lists(root);
    let score = dnsbl::read_score(root, &lists);
    let early = early::read(root, dnsbl::worst_score(&lists) > 0);
    let rules = CheckRules {
        access,
        lists,
        thresholds: score.thresholds,
        score_warns: score.warns,
        greeting_delay: early.greet_delay,
        reverse_dns: early.reverse_dns,
        sender_domain: early.sender_domain,
        greylisting: early.greylist,
        greylist_warns: early.greylist_warns,
        spf_refuses: auth.is_some_and(|rules| rules.spf == SpfUse::Refuse),
        spf_failure_refuses: auth.is_some_and(|rules| rules.temporary_failure_refuses),
    };
    Front { rules, network_files, state: early.state }
}

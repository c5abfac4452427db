//! Queues of connections that nobody has accepted yet.

use super::sysctl_line;
use crate::config::Config;
use crate::doctor::{Finding, Host, Severity};
use crate::limits::LISTEN_BACKLOG;

const BACKLOG: u64 = LISTEN_BACKLOG.unsigned_abs() as u64;

/// The kernel cuts the backlog of a listening socket to net.core.somaxconn (listen(2)).
pub(in crate::doctor) fn check_somaxconn(host: &Host, _: &Config) -> Option<Finding> {
    let allowed = host.somaxconn.filter(|allowed| *allowed < BACKLOG)?;
    let finding = Finding::new(
        Severity::Limits,
        format!("{allowed} connections may wait, ringmx asks for {BACKLOG}"),
        "In a burst the kernel drops what does not fit; clients try again after a second or more.",
    );
    Some(finding.cure(sysctl_line("net.core.somaxconn", BACKLOG)))
}

/// Counts only where the kernel sends no SYN cookies: with them the accept queue's bound holds for handshakes, too.
pub(in crate::doctor) fn check_syn_backlog(host: &Host, _: &Config) -> Option<Finding> {
    let allowed = host.syn_backlog.filter(|allowed| *allowed < BACKLOG)?;
    if host.syncookies != Some(0) {
        return None;
    }
    let finding = Finding::new(
        Severity::Limits,
        format!("{allowed} handshakes may be under way, and SYN cookies are off"),
        "When three quarters of it are taken, the first packet of a new client is dropped; it tries again after a second.",
    );
    Some(
        finding
            .cure(sysctl_line("net.ipv4.tcp_syncookies", 1))
            .cure(sysctl_line("net.ipv4.tcp_max_syn_backlog", 2 * BACKLOG)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_accept_queue_limits() {
        let config = Config::embedded_default();
        let host = |somaxconn| Host { somaxconn: Some(somaxconn), ..Host::default() };
        let finding = check_somaxconn(&host(128), &config).expect("a finding");
        assert!(finding.cure[0].starts_with("sysctl -w net.core.somaxconn=4096"), "{finding:?}");
        assert_eq!(check_somaxconn(&host(4096), &config), None);
    }

    #[test]
    fn the_syn_backlog_counts_without_cookies() {
        let config = Config::embedded_default();
        let host =
            |syncookies| Host { syn_backlog: Some(128), syncookies: Some(syncookies), ..Host::default() };
        assert_eq!(check_syn_backlog(&host(0), &config).map(|finding| finding.cure.len()), Some(2));
        assert_eq!(check_syn_backlog(&host(1), &config), None);
    }
}

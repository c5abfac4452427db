//! Queues in the kernel: of connections that nobody has accepted yet, of octets that nobody has read yet.

use super::sysctl_line;
use crate::config::Config;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
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

/// The kernel cuts SO_RCVBUF to net.core.rmem_max (socket(7)).
pub(in crate::doctor) fn check_receive_buffer(host: &Host, config: &Config) -> Option<Finding> {
    let wanted = config.listeners.iter().map(|listener| listener.receive_buffer_bytes).max()? as u64;
    let allowed = host.receive_buffer_max.filter(|allowed| *allowed < wanted)?;
    let finding = Finding::new(
        Severity::Limits,
        format!("{allowed} octets allowed, receive_buffer is {wanted}"),
        "The kernel cuts it. A client sends at most that in each round trip: 212992 octets and 100 ms are 17 Mbit/s.",
    );
    Some(finding.cure(sysctl_line("net.core.rmem_max", wanted)))
}

/// Counts only where the kernel sends no SYN cookies: with them the accept queue's bound holds for
/// handshakes, too.
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
    fn a_receive_buffer_that_the_kernel_cuts_limits() {
        let mut config = Config::embedded_default();
        let host = |receive_buffer_max| Host { receive_buffer_max, ..Host::default() };
        config.listeners[0].receive_buffer_bytes = 1 << 20;
        let finding = check_receive_buffer(&host(Some(212_992)), &config).expect("a finding");
        assert!(finding.cure[0].starts_with("sysctl -w net.core.rmem_max=1048576"), "{finding:?}");
        assert_eq!(check_receive_buffer(&host(Some(1 << 20)), &config), None);
        assert_eq!(check_receive_buffer(&host(None), &config), None);
        config.listeners[0].receive_buffer_bytes = 0;
        assert_eq!(check_receive_buffer(&host(Some(212_992)), &config), None);
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

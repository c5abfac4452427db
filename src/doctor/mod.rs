//! What limits this machine as a receiver: facts of the host and the configuration in, findings out, worst
//! first.
//!
//! Beside that, what the DNS says of this server, `dns/`, and what a cluster that has its mail is worth,
//! `cluster.rs`.
//!
//! [`Host`] holds what was read from /proc and /sys and measured on the sink's disk. A check is a small pure
//! function over it and the configuration, and a row in the table `CHECKS`. Nothing here changes anything;
//! the cures are texts.

mod cgroup;
mod checks;
mod cluster;
mod cpus;
mod dns;
mod finding;
mod host;
mod interrupts;
mod report;
mod store;
mod sync_time;
mod tree;

pub use self::cgroup::Cgroup;
pub use self::cluster::examine_cluster;
pub use self::cpus::Cpus;
pub use self::dns::examine_dns;
pub use self::finding::{Finding, Severity};
pub use self::host::Host;
pub use self::interrupts::Interrupt;
pub use self::report::{script, text};
pub use self::store::{Mount, Store};
pub use self::sync_time::SyncTimes;
pub use self::tree::Tree;

use self::checks::{confinement, cores, limits, memory, network, rings, storage};
use crate::config::Config;
use crate::memory_sum::MemorySum;

/// One look at the machine.
type Check = fn(&Host, &Config) -> Option<Finding>;

/// Every check with its name in the report. Findings that are equally bad keep this order.
const CHECKS: &[(&str, Check)] = &[
    ("io_uring", rings::check_io_uring),
    ("locked memory", rings::check_memlock),
    ("user", confinement::check_user),
    ("Landlock", confinement::check_landlock),
    ("seccomp", confinement::check_seccomp),
    ("file system", storage::check_file_system),
    ("mount options", storage::check_mount_options),
    ("journal", storage::check_journal),
    ("free space", storage::check_space),
    ("time per sync", storage::check_sync_time),
    ("disk write cache", storage::check_write_cache),
    ("open files", limits::check_open_files),
    ("file size", limits::check_file_size),
    ("memory", memory::check_memory),
    ("overcommit", memory::check_overcommit),
    ("cores of shards", cores::check_shard_cores),
    ("CPU quota", cores::check_quota),
    ("isolated cores", cores::check_isolated),
    ("cores in use", cores::check_unused),
    ("interrupts", cores::check_interrupts),
    ("CPU governor", cores::check_governor),
    ("accept queue", network::check_somaxconn),
    ("receive buffer", network::check_receive_buffer),
    ("SYN backlog", network::check_syn_backlog),
    ("huge pages", memory::check_huge_pages),
];

/// Findings with the names of their checks, worst first.
pub fn examine(host: &Host, config: &Config) -> Vec<(&'static str, Finding)> {
    let found = |(name, check): &(&'static str, Check)| check(host, config).map(|finding| (*name, finding));
    let mut findings: Vec<_> = CHECKS.iter().filter_map(found).collect();
    sort(&mut findings);
    findings
}

/// Sorts findings of several looks, worst first.
pub fn sort(findings: &mut [(&str, Finding)]) {
    findings.sort_by_key(|(_, finding)| finding.severity);
}

/// The most memory that this configuration can use on this machine. It tries and measures nothing.
pub fn memory_sum(config: &Config) -> MemorySum {
    MemorySum::of(config, host::socket_memory(&Tree::machine()))
}

/// What the bounds of a configuration cannot have on this machine: the check of memory, in sentences. It
/// tries and measures nothing, so that `check` and `serve` can tell it, too.
pub fn memory_warning(config: &Config) -> Option<String> {
    memory_warning_of(&Host::memory_only(&Tree::machine()), config)
}

fn memory_warning_of(host: &Host, config: &Config) -> Option<String> {
    let finding = memory::check_memory(host, config).filter(|found| found.severity == Severity::Fails)?;
    let cures: Vec<&str> = finding.cure.iter().map(|line| line.trim_start_matches("# ")).collect();
    Some(format!("{}. {} To cure it, {}", finding.value, finding.why, cures.join(", or ")))
}

/// Whether something will fail.
pub fn will_fail(findings: &[(&str, Finding)]) -> bool {
    findings.iter().any(|(_, finding)| finding.severity == Severity::Fails)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides() {
        let config = Config::embedded_default();
        let mut host = Host { open_files_max: Some(1024), ..Host::default() };
        let findings = examine(&host, &config);
        assert!(findings.iter().any(|(name, _)| *name == "open files") && will_fail(&findings));
        assert!(findings.is_sorted_by_key(|(_, finding)| finding.severity), "{findings:?}");
        host.open_files_max = None;
        assert!(!will_fail(&examine(&host, &config)));
    }

    #[test]
    fn memory_that_is_not_there_is_told_in_one_line() {
        let config = Config::embedded_default();
        let cgroup = Cgroup { memory_bytes_max: Some(64 << 20), cores_max: None };
        let text = memory_warning_of(&Host { cgroup, ..Host::default() }, &config).expect("a warning");
        assert!(text.contains("its control group 64 MiB. When it is all in use"), "{text}");
        assert!(
            text.contains(". To cure it, lower connections_max, buffers") && !text.contains('\n'),
            "{text}"
        );
        // What others use now is no fault of the configuration.
        let host = Host { memory_available_bytes: Some(1), ..Host::default() };
        assert_eq!(memory_warning_of(&host, &config), None);
    }

    #[test]
    fn each_check_has_a_name_of_its_own() {
        for (index, (name, _)) in CHECKS.iter().enumerate() {
            assert!(CHECKS.iter().skip(index + 1).all(|(other, _)| other != name), "{name}");
        }
    }
}

//! Memory: the sum of all bounds against what there is.

use super::{mib, sysctl_line};
use crate::config::Config;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
use crate::memory_sum::MemorySum;

/// All bounds together must fit, or a busy hour ends with the kernel's out-of-memory killer.
pub(in crate::doctor) fn check_memory(host: &Host, config: &Config) -> Option<Finding> {
    let sum = MemorySum::of(config, host.socket_memory);
    let (most, process) = (sum.all_bytes(), sum.process_bytes());
    let cure = "# lower connections_max, buffers or block_memory in [shards], receive_buffer of listeners, or message_size_max in [limits]";
    let finding = |severity, have: String, why: &str| {
        let value =
            format!("ringmx may use {}, and the kernel for it {}, {have}", mib(process), mib(most - process));
        Some(Finding::new(severity, value, why).cure(cure))
    };
    let killed = "When it is all in use, the kernel kills a process; nothing that was answered 250 is lost, but receiving stops.";
    match host.cgroup.memory_bytes_max {
        Some(limit) if limit < most => {
            return finding(Severity::Fails, format!("its control group {}", mib(limit)), killed);
        }
        _ => {}
    }
    match (host.memory_total_bytes, host.memory_available_bytes) {
        (Some(total), _) if total < most => {
            finding(Severity::Fails, format!("the machine has {}", mib(total)), killed)
        }
        (_, Some(available)) if available < most => finding(
            Severity::Limits,
            format!("{} are available now", mib(available)),
            "Others of this machine would be swapped out, or killed, when it is all in use.",
        ),
        _ => None,
    }
}

/// Under strict accounting the whole pool counts from the start, used or not.
pub(in crate::doctor) fn check_overcommit(host: &Host, config: &Config) -> Option<Finding> {
    let (limit, committed) = host.commit_bytes.filter(|_| host.overcommit == Some(2))?;
    let left = limit.saturating_sub(committed);
    let most = MemorySum::of(config, host.socket_memory).process_bytes();
    (left < most).then(|| {
        Finding::new(
            Severity::Fails,
            format!(
                "vm.overcommit_memory is 2, {} may still be promised, the bounds are {}",
                mib(left),
                mib(most)
            ),
            "Mapping the receive buffers fails at the start, or an allocation later.",
        )
        .cure(sysctl_line("vm.overcommit_memory", 0))
    })
}

/// ringmx asks for huge pages where they help it, and only there. It can do so where the machine lets
/// programs ask.
pub(in crate::doctor) fn check_huge_pages(host: &Host, config: &Config) -> Option<Finding> {
    const SLOWER: &str = "A spool on ext4 or XFS takes messages of 1 MiB a quarter slower than with the few that it would ask for.";
    let writes_directly = config.sink.facts().writes_directly();
    // Before 6.18 a process has all the huge pages that the kernel gives it, or none of them.
    let can_choose = host.kernel.is_none_or(|kernel| kernel >= (6, 18));
    let cure = "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled";
    match host.huge_pages.as_deref() {
        Some("always") if writes_directly && !can_choose => Some(
            Finding::new(
                Severity::Note,
                "transparent huge pages are on for all memory, so ringmx declines them all (it can choose from Linux 6.18 on)",
                SLOWER,
            )
            .cure(cure),
        ),
        Some("always") => Some(Finding::new(
            Severity::Note,
            "transparent huge pages are on for all memory",
            "ringmx declines them for most of its own (prctl): on memory of which little is touched they only cost. Nothing to do.",
        )),
        Some("never") if writes_directly => Some(
            Finding::new(Severity::Note, "there are no transparent huge pages", SLOWER).cure(cure),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, SinkKind};
    use crate::doctor::Cgroup;

    const GIB: u64 = 1 << 30;

    #[test]
    fn all_bounds_have_to_fit() {
        let config = Config::embedded_default();
        let severity = |total, available, group| {
            let cgroup = Cgroup { memory_bytes_max: group, cores_max: None };
            let (memory_total_bytes, memory_available_bytes) = (Some(total), Some(available));
            let host = Host { cgroup, memory_total_bytes, memory_available_bytes, ..Host::default() };
            check_memory(&host, &config).map(|finding| finding.severity)
        };
        assert_eq!(severity(1 << 20, 1 << 20, None), Some(Severity::Fails));
        assert_eq!(severity(1024 * GIB, 1 << 20, None), Some(Severity::Limits));
        assert_eq!(severity(1024 * GIB, 1024 * GIB, Some(1 << 20)), Some(Severity::Fails));
        assert_eq!(severity(1024 * GIB, 1024 * GIB, Some(1024 * GIB)), None);
    }

    #[test]
    fn strict_accounting_counts_the_pool() {
        let config = Config::embedded_default();
        let host = |overcommit| Host {
            overcommit: Some(overcommit),
            commit_bytes: Some((GIB, GIB - 1)),
            ..Host::default()
        };
        assert!(check_overcommit(&host(2), &config).is_some());
        assert_eq!(check_overcommit(&host(0), &config), None);
    }

    #[test]
    fn huge_pages_are_a_note() {
        let mut config = Config::embedded_default();
        let host =
            |mode: &str| Host { huge_pages: Some(mode.to_owned()), kernel: Some((6, 18)), ..Host::default() };
        let old = || Host { kernel: Some((6, 12)), ..host("always") };
        let finding = check_huge_pages(&host("always"), &config);
        assert_eq!(finding.map(|finding| finding.severity), Some(Severity::Note));
        assert_eq!(check_huge_pages(&host("madvise"), &config), None);
        assert_eq!(check_huge_pages(&host("never"), &config), None, "a maildir writes by the page cache");
        config.sink.kind = SinkKind::Spool(config::Spool {
            path: "/spool".into(),
            segment_bytes: 1 << 26,
            direct_writes: true,
        });
        let is_cured =
            |host| check_huge_pages(&host, &config).expect("a finding").cure != Vec::<String>::new();
        assert_eq!([host("never"), host("always"), old()].map(is_cured), [true, false, true]);
    }
}

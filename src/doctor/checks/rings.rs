//! io_uring: whether it can be used, by this user and by others.

use super::{sysctl_line, unit_line};
use crate::config::Config;
use crate::doctor::{Finding, Host, Severity};

/// Without io_uring nothing starts.
pub(in crate::doctor) fn check_io_uring(host: &Host, _: &Config) -> Option<Finding> {
    let disabled = host.io_uring_disabled.filter(|value| *value != 0);
    let allow = sysctl_line("kernel.io_uring_disabled", 0);
    match (&host.io_uring, disabled) {
        (Some(Err(unusable)), _) => {
            let finding = Finding::new(
                Severity::Fails,
                unusable.what(),
                "The shards receive with io_uring; without it ringmx does not start.",
            );
            let finding = finding.cure(format!("# {}", unusable.cure()));
            Some(if disabled.is_some() { finding.cure(allow) } else { finding })
        }
        (_, Some(value)) => Some(
            Finding::new(
                Severity::Limits,
                format!("works for this user, but kernel.io_uring_disabled is {value}"),
                "Users without CAP_SYS_ADMIN get no ring, unless it is 1 and they are in the group kernel.io_uring_group.",
            )
            .cure(allow),
        ),
        (_, None) => None,
    }
}

/// Kernels before 5.12 charged rings to RLIMIT_MEMLOCK; later ones charge only registered buffers, of which there are none.
pub(in crate::doctor) fn check_memlock(host: &Host, config: &Config) -> Option<Finding> {
    /// A submission entry with its place in the array, and four completions of 16 octets.
    const ENTRY_BYTES: u64 = 64 + 4 + 4 * 16;
    let limit = host.memlock_bytes_max.filter(|_| host.kernel.is_some_and(|version| version < (5, 12)))?;
    let wanted: u64 = config.shards.iter().map(|shard| u64::from(shard.ring_entries) * ENTRY_BYTES).sum();
    (limit < wanted).then(|| {
        Finding::new(
            Severity::Fails,
            format!("{limit} octets may be locked, the rings take {wanted}"),
            "This kernel charges rings to RLIMIT_MEMLOCK (Linux 5.12 and later do not).",
        )
        .cure(unit_line("LimitMEMLOCK=infinity"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::probe::explain_os_error;

    #[test]
    fn a_ring_that_cannot_be_made_fails() {
        let config = Config::embedded_default();
        let refused = Some(Err(explain_os_error("io_uring_setup", libc::EPERM)));
        let host = Host { io_uring: refused, io_uring_disabled: Some(2), ..Host::default() };
        let finding = check_io_uring(&host, &config).expect("a finding");
        assert_eq!(finding.severity, Severity::Fails);
        assert!(
            finding.cure.last().is_some_and(|line| line.starts_with("sysctl -w kernel.io_uring_disabled=0"))
        );
        let host = Host { io_uring: Some(Ok(())), io_uring_disabled: Some(0), ..Host::default() };
        assert_eq!(check_io_uring(&host, &config), None);
    }

    #[test]
    fn a_ring_that_only_this_user_gets_is_told() {
        let host = Host { io_uring: Some(Ok(())), io_uring_disabled: Some(1), ..Host::default() };
        let finding = check_io_uring(&host, &Config::embedded_default()).expect("a finding");
        assert_eq!(finding.severity, Severity::Limits);
    }

    #[test]
    fn locked_memory_matters_to_old_kernels_only() {
        let config = Config::embedded_default();
        let host =
            |version| Host { memlock_bytes_max: Some(65536), kernel: Some(version), ..Host::default() };
        assert_eq!(check_memlock(&host((6, 1)), &config), None);
        assert!(check_memlock(&host((5, 11)), &config).is_some());
        let unlimited = Host { kernel: Some((5, 11)), ..Host::default() };
        assert_eq!(check_memlock(&unlimited, &config), None);
    }
}

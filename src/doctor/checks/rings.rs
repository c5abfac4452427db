//! io_uring: whether it can be used, by this user and by others.

use super::{sysctl_line, unit_line};
use crate::config::Config;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
use crate::ring::locked_memory;

/// Without io_uring nothing starts.
pub(in crate::doctor) fn check_io_uring(host: &Host, _: &Config) -> Option<Finding> {
    let disabled = host.io_uring_disabled.filter(|value| *value != 0);
    let allow = sysctl_line("kernel.io_uring_disabled", 0);
    match (&host.io_uring, disabled) {
        (Some(Err(unusable)), _) => {
            let finding = Finding::new(
                Severity::Fails,
                match &host.service_user {
                    Some(user) => format!("user {user}: {}", unusable.what()),
                    None => unusable.what().to_owned(),
                },
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

/// Kernels before 5.12 charged rings to RLIMIT_MEMLOCK, and newer ones do so again (seen on 6.18; from 6.14
/// on, as far as is known). Between them only registered buffers were charged, and we have none. A process
/// with CAP_IPC_LOCK is not charged. If the rings could be made although the limit is too low, this kernel
/// may also be one that does not charge them.
pub(in crate::doctor) fn check_memlock(host: &Host, config: &Config) -> Option<Finding> {
    let is_charged = |version| !((5, 12)..(6, 14)).contains(&version);
    let limit = host.memlock_bytes_max.filter(|_| host.kernel.is_some_and(is_charged))?;
    let of_workers = config.sink.facts().rings(config.sink.workers) as u64 * locked_memory::of_worker();
    let wanted = of_workers + config.shards.iter().map(locked_memory::of_shard).sum::<u64>();
    let (severity, why) = match &host.io_uring {
        Some(Ok(())) if host.service_user.is_some() => (
            Severity::Limits,
            "The user of [run_as] got the shards' rings all the same, but it may have other processes: all of a user are charged together.",
        ),
        Some(Ok(())) => (
            Severity::Limits,
            "This user got its rings all the same: root is not charged for them, another user may be.",
        ),
        Some(Err(_)) | None => {
            (Severity::Fails, "The kernel charges rings to RLIMIT_MEMLOCK, all of a user together.")
        }
    };
    (limit < wanted).then(|| {
        Finding::new(severity, format!("{limit} octets may be locked, the rings take up to {wanted}"), why)
            .cure("# in the unit; without systemd `ulimit -l unlimited` as root in the shell that starts ringmx")
            .cure(unit_line("LimitMEMLOCK=infinity"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SinkKind;
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
    fn locked_memory_matters_to_kernels_that_charge_rings() {
        let config = Config::embedded_default();
        let host =
            |version| Host { memlock_bytes_max: Some(65536), kernel: Some(version), ..Host::default() };
        assert_eq!(check_memlock(&host((6, 1)), &config), None);
        assert_eq!(check_memlock(&host((6, 13)), &config), None);
        for version in [(5, 11), (6, 14), (6, 18), (7, 0)] {
            let finding = check_memlock(&host(version), &config).expect("a finding");
            assert_eq!(finding.severity, Severity::Fails);
            assert!(finding.cure.iter().any(|line| line.contains("LimitMEMLOCK=infinity")), "{finding:?}");
        }
        let root = Host { io_uring: Some(Ok(())), ..host((6, 18)) };
        assert_eq!(check_memlock(&root, &config).map(|finding| finding.severity), Some(Severity::Limits));
        let unlimited = Host { kernel: Some((6, 18)), ..Host::default() };
        assert_eq!(check_memlock(&unlimited, &config), None);
    }

    #[test]
    fn sixteen_shards_do_not_fit_the_usual_limit() {
        let mut config = Config::embedded_default();
        config.sink.kind = SinkKind::Discard;
        let shard = config.shards[0].clone();
        let host = Host { memlock_bytes_max: Some(8 << 20), kernel: Some((6, 18)), ..Host::default() };
        config.shards = vec![shard.clone(); 14];
        assert_eq!(check_memlock(&host, &config), None);
        config.shards = vec![shard; 16];
        assert!(check_memlock(&host, &config).is_some());
    }
}

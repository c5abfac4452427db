//! What of the sandbox this machine has, and as whom ringmx will serve.

use crate::config::Config;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
use crate::sandbox::Account;

/// From this version on no TCP connection can be made (Linux 6.7).
const WITH_TCP: u32 = 4;

/// From this version on no other process can be sent a signal or be reached by an abstract socket (Linux
/// 6.12).
const WITH_SCOPES: u32 = 6;

/// The user of `[run_as]` has to be there, and this process has to be able to become it.
pub(in crate::doctor) fn check_user(host: &Host, config: &Config) -> Option<Finding> {
    let error = match (Account::to_become(&config.run_as), &host.not_the_user) {
        (Err(error), _) => error.to_string(),
        (Ok(_), Some(why)) => format!("run_as.user: {why}"),
        (Ok(_), None) => return None,
    };
    let why = "`serve` does not start: to serve as somebody else than was asked for would be worse.";
    Some(Finding::new(Severity::Fails, error, why))
}

/// Files and connections are restricted by Landlock.
pub(in crate::doctor) fn check_landlock(host: &Host, config: &Config) -> Option<Finding> {
    if !config.run_as.sandbox {
        return None;
    }
    let why = "Whoever takes the process over by a fault of it can reach what its user can.";
    let (value, cure) = match host.landlock? {
        Ok(WITH_SCOPES..) => return None,
        Ok(version) if version < WITH_TCP => (
            format!("version {version}: files are restricted, TCP connections by seccomp only"),
            "# Linux 6.7 has it",
        ),
        Ok(version) => (
            format!("version {version}: signals to other processes are restricted by seccomp only"),
            "# Linux 6.12 has it",
        ),
        Err(libc::EOPNOTSUPP) => (
            "this kernel has Landlock, but it is not in use: files are not restricted".to_owned(),
            "# add landlock to the list `lsm=` of the kernel's command line",
        ),
        Err(libc::EPERM | libc::EACCES) => (
            "Landlock is forbidden here: files are not restricted".to_owned(),
            "# allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self in the seccomp profile of the container",
        ),
        Err(_) => (
            "this kernel has no Landlock: files are not restricted".to_owned(),
            "# a kernel with CONFIG_SECURITY_LANDLOCK, or a container's profile that does not hide it",
        ),
    };
    let severity = if host.landlock?.is_ok() { Severity::Note } else { Severity::Hint };
    Some(Finding::new(severity, value, why).cure(cure))
}

/// System calls are restricted by seccomp.
pub(in crate::doctor) fn check_seccomp(host: &Host, config: &Config) -> Option<Finding> {
    (config.run_as.sandbox && host.seccomp == Some(false)).then(|| {
        Finding::new(
            Severity::Hint,
            "this kernel has no filters for system calls: they are not restricted",
            "Whoever takes the process over by a fault of it can make any system call.",
        )
        .cure("# a kernel with CONFIG_SECCOMP_FILTER")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_told_unless_it_is_not_wanted() {
        let mut config = Config::embedded_default();
        let host = |landlock| Host { landlock: Some(landlock), seccomp: Some(false), ..Host::default() };
        let value = |host: &Host, config: &Config| {
            check_landlock(host, config).map(|found| (found.severity, found.value))
        };
        assert_eq!(value(&host(Ok(7)), &config), None);
        for (found, severity, word) in [
            (Ok(2), Severity::Note, "seccomp only"),
            (Ok(5), Severity::Note, "signals"),
            (Err(libc::EOPNOTSUPP), Severity::Hint, "not in use"),
            (Err(libc::EPERM), Severity::Hint, "forbidden"),
            (Err(libc::ENOSYS), Severity::Hint, "no Landlock"),
        ] {
            let (told, text) = value(&host(found), &config).expect("a finding");
            assert!(told == severity && text.contains(word), "{text}");
        }
        assert!(check_seccomp(&host(Ok(7)), &config).is_some());
        assert_eq!(check_seccomp(&Host::default(), &config), None);
        config.run_as.sandbox = false;
        assert_eq!(value(&host(Err(libc::ENOSYS)), &config), None);
        assert_eq!(check_seccomp(&host(Ok(7)), &config), None);
    }

    #[test]
    fn a_user_that_is_not_there_fails() {
        let mut config = Config::embedded_default();
        assert_eq!(check_user(&Host::default(), &config), None);
        config.run_as.user = Some("no-such-user".to_owned());
        let found = check_user(&Host::default(), &config).expect("a finding");
        assert!(found.severity == Severity::Fails && found.value.contains("useradd"), "{found:?}");
        // Root without the capabilities, as in some containers.
        config.run_as.user = None;
        let host = Host { not_the_user: Some("it needs CAP_SETUID".to_owned()), ..Host::default() };
        let found = check_user(&host, &config).expect("a finding");
        assert!(found.severity == Severity::Fails && found.value.contains("CAP_SETUID"), "{found:?}");
    }
}

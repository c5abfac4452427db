//! What the configuration asks of the machine: its host name and its CPU cores.

use rustix::thread::{CpuSet, sched_getaffinity};

use super::names;

/// The largest number of a core that affinity can name.
pub(super) const CPU_MAX: usize = CpuSet::MAX_CPU - 1;

/// The system's host name, or `localhost` where it is not a domain.
pub(super) fn hostname() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().ok().and_then(|name| names::domain(name).ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}

/// The CPU cores that this process may run on, in rising order; at least one.
pub(super) fn allowed_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).map(|set| (0..=CPU_MAX).filter(|cpu| set.is_set(*cpu)).collect());
    // A kernel that was built for more cores than the set holds refuses to tell; then core 0 is a start.
    allowed.ok().filter(|cpus: &Vec<usize>| !cpus.is_empty()).unwrap_or_else(|| vec![0])
}

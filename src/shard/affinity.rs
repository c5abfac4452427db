//! Which CPU cores this process may use, and pinning a thread to one of them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPU cores that this thread may run on, in rising order.
pub fn allowed_cpus() -> std::io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Pins the calling thread to one CPU core.
pub fn pin_to(cpu: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL.into());
    }
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_its_core_only() {
        let cpu = *allowed_cpus().expect("affinity").last().expect("a core");
        let pinned =
            std::thread::spawn(move || pin_to(cpu).and_then(|()| allowed_cpus())).join().expect("thread");
        assert_eq!(pinned.expect("affinity"), [cpu]);
        assert!(pin_to(usize::MAX).is_err());
    }
}

//! Limits of the process that it may raise by itself: what holds, up to the most that it is allowed.
//!
//! A shell begins a process with 1,024 open files so that old programs with `select` do no harm; ringmx has
//! none.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limits of open files and of locked memory to the most that this process is allowed.
pub fn raise() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let Rlimit { maximum, .. } = getrlimit(resource);
        // It fails where a sysctl was lowered meanwhile (fs.nr_open). Then what holds stays.
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_holds() {
        raise();
        for resource in [Resource::Nofile, Resource::Memlock] {
            let limit = getrlimit(resource);
            assert_eq!(limit.current, limit.maximum);
        }
    }
}

//! What the control groups of this process allow it: memory and CPU time, the least of all groups above it.

use super::tree::Tree;

/// Limits of the groups; none where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cgroup {
    /// Octets of memory.
    pub memory_bytes_max: Option<u64>,
    /// CPU time a second, in cores.
    pub cores_max: Option<f64>,
}

/// Version 1 writes "no limit" as the largest multiple of a page; no machine has so much.
const NO_LIMIT_V1: u64 = 1 << 62;

impl Cgroup {
    pub(super) fn read(tree: &Tree) -> Self {
        let mut limits = Self::default();
        let groups = tree.text("proc/self/cgroup").unwrap_or_default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':');
            let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            for path in with_parents(path) {
                match controllers {
                    "" => limits.take_v2(tree, path),
                    _ => limits.take_v1(tree, controllers, path),
                }
            }
        }
        limits
    }

    fn take_v2(&mut self, tree: &Tree, path: &str) {
        // Beside version 1 it is mounted at `unified` and has no limits of these kinds.
        let memory = tree.number(&format!("sys/fs/cgroup{path}/memory.max"));
        let cores = tree.text(&format!("sys/fs/cgroup{path}/cpu.max")).and_then(|text| {
            let (quota, period) = text.split_once(' ')?;
            ratio(quota.parse().ok()?, period.parse().ok()?)
        });
        self.lower(memory, cores);
    }

    fn take_v1(&mut self, tree: &Tree, controllers: &str, path: &str) {
        for controller in controllers.split(',') {
            let number = |file| tree.number(&format!("sys/fs/cgroup/{controller}{path}/{file}"));
            match controller {
                "memory" => {
                    let limit = number("memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT_V1);
                    self.lower(limit, None);
                }
                "cpu" => {
                    // No quota is -1, which is no number of ours.
                    let quota = number("cpu.cfs_quota_us");
                    let cores = quota
                        .zip(number("cpu.cfs_period_us"))
                        .and_then(|(quota, period)| ratio(quota, period));
                    self.lower(None, cores);
                }
                _ => {}
            }
        }
    }

    fn lower(&mut self, memory: Option<u64>, cores: Option<f64>) {
        self.memory_bytes_max = self.memory_bytes_max.into_iter().chain(memory).min();
        self.cores_max = self.cores_max.into_iter().chain(cores).reduce(f64::min);
    }
}

fn ratio(quota: u64, period: u64) -> Option<f64> {
    (period > 0).then(|| quota as f64 / period as f64)
}

/// `/a/b`, `/a` and the root, which is empty. In a container only the root may be visible.
fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path.trim_end_matches('/')), |path| {
        path.rfind('/').and_then(|end| path.get(..end))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::fake;
    use super::*;

    #[test]
    fn the_least_of_all_groups_above_counts() {
        let (tree, _directory) = fake::tree(&[
            ("proc/self/cgroup", "0::/system.slice/ringmx.service\n"),
            ("sys/fs/cgroup/system.slice/ringmx.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/ringmx.service/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
        ]);
        let limits = Cgroup { memory_bytes_max: Some(1 << 30), cores_max: Some(1.5) };
        assert_eq!(Cgroup::read(&tree), limits);
    }

    #[test]
    fn version_1_is_read_too() {
        let (tree, _directory) = fake::tree(&[
            ("proc/self/cgroup", "4:memory:/a\n1:cpu,cpuacct:/b\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "-1"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ]);
        let limits = Cgroup { memory_bytes_max: Some(4096), cores_max: Some(0.5) };
        assert_eq!(Cgroup::read(&tree), limits);
    }

    #[test]
    fn no_group_is_no_limit() {
        let (tree, _directory) = fake::tree(&[]);
        assert_eq!(Cgroup::read(&tree), Cgroup::default());
    }
}

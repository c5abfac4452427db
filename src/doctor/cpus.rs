//! The CPU cores: which there are, which this process may use, and how fast they are told to run.

use std::collections::BTreeMap;

use super::tree::Tree;

/// Cores by number, in rising order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus {
    /// Those that are there and may be off.
    pub present: Vec<usize>,
    /// Those that run.
    pub online: Vec<usize>,
    /// Those that this process may run on: affinity and cpuset together.
    pub allowed: Vec<usize>,
    /// Those that the scheduler leaves alone (`isolcpus=`, isolated cpuset partitions).
    pub isolated: Vec<usize>,
    /// What decides on the clock of a core; nothing where the machine does not show it, as most virtual ones
    /// do not.
    pub governors: BTreeMap<usize, String>,
}

impl Cpus {
    pub(super) fn read(tree: &Tree) -> Self {
        let cpus = |path| tree.cpus(path).unwrap_or_default();
        let online = cpus("sys/devices/system/cpu/online");
        let allowed = tree.field("proc/self/status", "Cpus_allowed_list");
        let governor = |cpu: &usize| {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
            Some((*cpu, tree.text(&path)?))
        };
        Self {
            present: cpus("sys/devices/system/cpu/present"),
            allowed: allowed.map(|text| super::tree::cpu_list(&text)).unwrap_or_default(),
            isolated: cpus("sys/devices/system/cpu/isolated"),
            governors: online.iter().filter_map(governor).collect(),
            online,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::fake;
    use super::*;

    #[test]
    fn cores_and_their_governors_are_read() {
        let (tree, _directory) = fake::tree(&[
            ("sys/devices/system/cpu/present", "0-3\n"),
            ("sys/devices/system/cpu/online", "0-2\n"),
            ("sys/devices/system/cpu/isolated", "2\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n"),
            ("proc/self/status", "Name:\tringmx\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n"),
        ]);
        let cpus = Cpus::read(&tree);
        assert_eq!((cpus.present.len(), cpus.online.len()), (4, 3));
        assert_eq!((cpus.allowed, cpus.isolated), (vec![0, 1], vec![2]));
        assert_eq!(cpus.governors, BTreeMap::from([(1, "powersave".to_owned())]));
    }
}

use std::collections::BTreeMap;

use super::*;
use crate::doctor::{Cgroup, Cpus};

/// Shards on these cores, whatever this machine has.
fn shards_on(cpus: &[usize]) -> Config {
    let mut config = Config::embedded_default();
    let shard = config.shards[0].clone();
    config.shards = cpus.iter().map(|cpu| crate::config::Shard { cpu: *cpu, ..shard.clone() }).collect();
    config
}

fn host(cpus: Cpus) -> Host {
    Host { cpus, uptime_s: Some(10.0), ..Host::default() }
}

fn with_cores(online: &[usize]) -> Cpus {
    Cpus { present: online.to_vec(), online: online.to_vec(), allowed: online.to_vec(), ..Cpus::default() }
}

#[test]
fn a_shard_needs_its_core() {
    let finding = check_shard_cores(&host(with_cores(&[0, 1])), &shards_on(&[1, 2])).expect("a finding");
    assert_eq!(finding.severity, Severity::Fails);
    assert!(finding.value.starts_with("cores 2 are off"), "{finding:?}");
    assert_eq!(check_shard_cores(&host(with_cores(&[0, 1])), &shards_on(&[0, 1])), None);
}

#[test]
fn a_quota_below_the_shards_limits() {
    let limited =
        |cores_max| Host { cgroup: Cgroup { memory_bytes_max: None, cores_max }, ..Host::default() };
    let finding = check_quota(&limited(Some(1.5)), &shards_on(&[0, 1])).expect("a finding");
    assert!(finding.value.starts_with("1.50 cores for 2 shards"), "{finding:?}");
    assert_eq!(check_quota(&limited(Some(2.0)), &shards_on(&[0, 1])), None);
    assert_eq!(check_quota(&limited(None), &shards_on(&[0, 1])), None);
}

#[test]
fn isolated_cores_are_for_shards() {
    let cpus = Cpus { isolated: vec![2, 3], ..with_cores(&[0, 1, 2, 3]) };
    let finding = check_isolated(&host(cpus.clone()), &shards_on(&[2])).expect("a finding");
    assert!(finding.value.starts_with("cores 3 are isolated"), "{finding:?}");
    assert_eq!(check_isolated(&host(cpus), &shards_on(&[2, 3])), None);
}

#[test]
fn cores_that_are_off_or_left_out_are_told() {
    let cpus = Cpus { present: vec![0, 1, 2], ..with_cores(&[0, 1]) };
    let finding = check_unused(&host(cpus), &shards_on(&[0, 1])).expect("a finding");
    assert_eq!(finding.cure, ["echo 1 > /sys/devices/system/cpu/cpu2/online"]);
    let finding = check_unused(&host(with_cores(&[0, 1])), &shards_on(&[1])).expect("a finding");
    assert_eq!(finding.severity, Severity::Note);
    assert_eq!(check_unused(&host(with_cores(&[0, 1])), &shards_on(&[0, 1])), None);
}

#[test]
fn a_governor_that_saves_is_a_hint_and_none_a_note() {
    let governors = BTreeMap::from([(0, "performance".to_owned()), (1, "powersave".to_owned())]);
    let cpus = Cpus { governors, ..with_cores(&[0, 1]) };
    let finding = check_governor(&host(cpus.clone()), &shards_on(&[0, 1])).expect("a finding");
    assert_eq!(finding.cure, ["echo performance > /sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"]);
    assert_eq!(check_governor(&host(cpus), &shards_on(&[0])), None);
    let finding = check_governor(&host(with_cores(&[0])), &shards_on(&[0])).expect("a finding");
    assert_eq!((finding.severity, finding.value.as_str()), (Severity::Note, "not visible"));
}

fn interrupts(counts: &[[u64; 2]]) -> Vec<Interrupt> {
    let line = |(number, [a, b]): (usize, &[u64; 2])| Interrupt {
        number: 30 + u32::try_from(number).expect("few"),
        device: format!("nic-{number}"),
        counts: vec![(0, *a), (1, *b)],
    };
    counts.iter().enumerate().map(line).collect()
}

#[test]
fn interrupts_go_to_cores_without_shards() {
    let host = Host { interrupts: interrupts(&[[0, 50_000], [0, 10]]), ..host(with_cores(&[0, 1])) };
    let finding = check_interrupts(&host, &shards_on(&[1])).expect("a finding");
    assert_eq!(finding.cure[1..], ["echo 0 > /proc/irq/30/smp_affinity_list"]);
    assert!(finding.value.contains("core 1 5001; by device: nic-0 (irq 30) 5000"), "{finding:?}");
    assert_eq!(check_interrupts(&host, &shards_on(&[0])), None);
}

#[test]
fn interrupts_are_spread_where_every_core_has_a_shard() {
    let with = |counts: &[[u64; 2]]| {
        let host = Host { interrupts: interrupts(counts), ..host(with_cores(&[0, 1])) };
        check_interrupts(&host, &shards_on(&[0, 1]))
    };
    let finding = with(&[[0, 50_000], [0, 40_000]]).expect("a finding");
    let lines = ["echo 0 > /proc/irq/30/smp_affinity_list", "echo 1 > /proc/irq/31/smp_affinity_list"];
    assert_eq!(finding.cure[1..], lines);
    let finding = with(&[[0, 50_000]]).expect("a finding");
    assert!(finding.cure[0].contains("[[shard]] cpu = 1"), "{finding:?}");
    assert_eq!(with(&[[50_000, 40_000]]), None);
    assert_eq!(with(&[[0, 500]]), None);
}

//! The cores of the shards: whether they are there, whole, and their own.

use super::unit_line;
use crate::config::Config;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
use crate::doctor::interrupts::Interrupt;
use crate::doctor::tree::cpu_list_text;

/// Fewer interrupts a second on a core are no load: one costs a few microseconds.
const RATE_MIN: f64 = 100.0;

fn shard_cores(config: &Config) -> Vec<usize> {
    config.shards.iter().map(|shard| shard.cpu).collect()
}

/// A shard is pinned to its core and cannot start without it.
pub(in crate::doctor) fn check_shard_cores(host: &Host, config: &Config) -> Option<Finding> {
    let there = |cpu: &usize| host.cpus.online.contains(cpu) && host.cpus.allowed.contains(cpu);
    if host.cpus.online.is_empty() || host.cpus.allowed.is_empty() {
        return None;
    }
    let missing: Vec<usize> = shard_cores(config).into_iter().filter(|cpu| !there(cpu)).collect();
    (!missing.is_empty()).then(|| {
        let (online, allowed) = (cpu_list_text(&host.cpus.online), cpu_list_text(&host.cpus.allowed));
        Finding::new(
            Severity::Fails,
            format!(
                "cores {} are off or not allowed; online are {online}, allowed {allowed}",
                cpu_list_text(&missing)
            ),
            "A shard is pinned to its core: ringmx does not start.",
        )
        .cure(format!("# [shards] cpus = [{}]", cpu_list_text(&host.cpus.allowed).replace(',', ", ")))
        .cure(unit_line(&format!("AllowedCPUs={}", cpu_list_text(&shard_cores(config)))))
    })
}

/// A group that used up its share stands still until the next period: all its threads, in the middle of
/// anything.
pub(in crate::doctor) fn check_quota(host: &Host, config: &Config) -> Option<Finding> {
    let quota = host.cgroup.cores_max.filter(|quota| *quota < config.shards.len() as f64)?;
    let finding = Finding::new(
        Severity::Limits,
        format!("{quota:.2} cores for {} shards and the sink", config.shards.len()),
        "When the quota of a period is used up, all threads stand still until the next one. Fewer cores do the same work \
         without the pauses.",
    );
    Some(finding.cure("# fewer cores in [shards] cpus, or:").cure(unit_line("CPUQuota=")))
}

/// Cores that were kept free of other programs should have the shards.
pub(in crate::doctor) fn check_isolated(host: &Host, config: &Config) -> Option<Finding> {
    let shards = shard_cores(config);
    let idle: Vec<usize> = host.cpus.isolated.iter().copied().filter(|cpu| !shards.contains(cpu)).collect();
    (!idle.is_empty()).then(|| {
        Finding::new(
            Severity::Hint,
            format!("cores {} are isolated and run no shard", cpu_list_text(&idle)),
            "The scheduler puts nothing there by itself; a pinned shard would have such a core to itself.",
        )
        .cure(format!(
            "# [shards] cpus = [{}], where they are meant for ringmx",
            cpu_list_text(&idle).replace(',', ", ")
        ))
    })
}

/// Cores that nobody uses for mail.
pub(in crate::doctor) fn check_unused(host: &Host, config: &Config) -> Option<Finding> {
    let off: Vec<usize> =
        host.cpus.present.iter().copied().filter(|cpu| !host.cpus.online.contains(cpu)).collect();
    if !off.is_empty() && !host.cpus.online.is_empty() {
        let finding = Finding::new(
            Severity::Hint,
            format!("cores {} are there and off", cpu_list_text(&off)),
            "They could run shards, unless they were switched off on purpose (hyper-threads).",
        );
        let line = |cpu: &usize| format!("echo 1 > /sys/devices/system/cpu/cpu{cpu}/online");
        return Some(off.iter().map(line).fold(finding, Finding::cure));
    }
    let shards = config.shards.len();
    (shards < host.cpus.online.len()).then(|| {
        Finding::new(
            Severity::Note,
            format!(
                "{} of {} cores run a shard ({} are allowed)",
                shards,
                host.cpus.online.len(),
                host.cpus.allowed.len()
            ),
            "Good where the sink, TLS handshakes of other programs or interrupts have the others.",
        )
    })
}

/// The clock of a core that is saved on comes up late in a burst.
pub(in crate::doctor) fn check_governor(host: &Host, config: &Config) -> Option<Finding> {
    if host.cpus.governors.is_empty() {
        return (!host.cpus.online.is_empty()).then(|| {
            Finding::new(
                Severity::Note,
                "not visible",
                "This machine does not show it (most virtual ones do not): the host decides.",
            )
        });
    }
    let slow = |cpu: &usize| host.cpus.governors.get(cpu).filter(|governor| *governor != "performance");
    let cores: Vec<usize> = shard_cores(config).into_iter().filter(|cpu| slow(cpu).is_some()).collect();
    let governor = slow(cores.first()?)?;
    let finding = Finding::new(
        Severity::Hint,
        format!("{governor} on cores {}", cpu_list_text(&cores)),
        "The clock follows the load with a delay; latency and throughput of short bursts suffer.",
    );
    let line =
        |cpu: &usize| format!("echo performance > /sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    Some(cores.iter().map(line).fold(finding, Finding::cure))
}

/// A core that takes the interrupts of a busy device has less time for its shard.
pub(in crate::doctor) fn check_interrupts(host: &Host, config: &Config) -> Option<Finding> {
    let uptime = host.uptime_s.filter(|uptime| *uptime > 0.0)?;
    let shards = shard_cores(config);
    let rate = |count: u64| count as f64 / uptime;
    let on_core = |cpu: usize| rate(host.interrupts.iter().map(|interrupt| interrupt.count_on(cpu)).sum());
    let rates: Vec<(usize, f64)> = shards.iter().map(|cpu| (*cpu, on_core(*cpu))).collect();
    let (busiest, most) = rates.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let least = rates.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let others: Vec<usize> = host.cpus.online.iter().copied().filter(|cpu| !shards.contains(cpu)).collect();
    // Where every core runs a shard they can only be shared evenly.
    if most < RATE_MIN || (others.is_empty() && most <= 2.0 * least) {
        return None;
    }
    let busy = busy_lines(&host.interrupts, &shards, RATE_MIN * uptime);
    let named = |(interrupt, count): &(&Interrupt, u64)| {
        format!("{} (irq {}) {:.0}", interrupt.device, interrupt.number, rate(*count))
    };
    let value = format!(
        "a second since the start, by core of a shard: {}; by device: {}",
        rates.iter().map(|(cpu, rate)| format!("core {cpu} {rate:.0}")).collect::<Vec<_>>().join(", "),
        busy.iter().map(named).collect::<Vec<_>>().join(", ")
    );
    let why =
        "Interrupts, and the work of the network stack behind them, take time of the shard on that core.";
    let finding = Finding::new(Severity::Hint, value, why);
    let move_to = |number: u32, cpus: &[usize]| {
        format!("echo {} > /proc/irq/{number}/smp_affinity_list", cpu_list_text(cpus))
    };
    Some(if !others.is_empty() {
        let finding =
            finding.cure("# to cores without a shard; stop irqbalance before, or it moves them back");
        busy.iter().map(|(interrupt, _)| move_to(interrupt.number, &others)).fold(finding, Finding::cure)
    } else if busy.len() > 1 {
        let finding = finding.cure("# in turn to all cores; stop irqbalance before, or it moves them back");
        let lines = busy.iter().zip(shards.iter().cycle());
        lines.map(|((interrupt, _), cpu)| move_to(interrupt.number, &[*cpu])).fold(finding, Finding::cure)
    } else {
        finding.cure(format!(
            "# one line cannot be spread. For a network card see RPS in tuning/README.md; else give that core less: \
             [[shard]] cpu = {busiest} with a lower connections_max"
        ))
    })
}

/// Interrupt lines that the shards' cores took at least so often, the busiest first.
fn busy_lines<'a>(
    interrupts: &'a [Interrupt],
    shards: &[usize],
    count_min: f64,
) -> Vec<(&'a Interrupt, u64)> {
    /// More would be no list to read.
    const LINES_MAX: usize = 16;
    let count = |interrupt: &Interrupt| shards.iter().map(|cpu| interrupt.count_on(*cpu)).sum::<u64>();
    let mut busy: Vec<_> = interrupts.iter().map(|interrupt| (interrupt, count(interrupt))).collect();
    busy.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    // Many slow lines may make one busy core: the first few are named even then.
    let named = busy.iter().filter(|(_, count)| *count as f64 >= count_min).count();
    busy.truncate(named.clamp(1, LINES_MAX));
    busy
}

#[cfg(test)]
mod tests;

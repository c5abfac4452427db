//! The tables `[shards]` and `[[shard]]`: one shard for each CPU core in use, and what differs on some.

use std::time::Duration;

use super::document::Fallback;
use super::host;
use super::section::Section;
use super::units::{GIB, KIB, MIB, size_text};

use crate::limits::{BLOCK_BYTES, BUFFERS_MAX, HELD_BUFFERS_MAX};

/// Beyond that a reply would wait longer here than on its way to the client.
const BATCH_WAIT_MAX: Duration = Duration::from_millis(100);

/// io_uring gives no larger submission queue (IORING_MAX_ENTRIES).
const RING_ENTRIES_MAX: u32 = 32 * 1024;

/// Connections of one shard, at most.
const CONNECTIONS_MAX: usize = 1_000_000;

/// Block memory beyond one message of the largest size: one that waited in as many receive buffers as it may
/// hold is copied while another one comes in.
const BLOCK_BYTES_SPARE: usize = HELD_BUFFERS_MAX * BLOCK_BYTES;

/// One core's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The CPU core it is pinned to.
    pub cpu: usize,
    /// Entries of the submission queue.
    pub ring_entries: u32,
    /// How long it lets events gather before it looks at them.
    pub batch_wait: Duration,
    /// Receive buffers.
    pub buffers: usize,
    /// Octets of one receive buffer.
    pub buffer_bytes: usize,
    /// Octets of mail data that may be copied out of receive buffers at a time.
    pub block_bytes_max: usize,
    /// Connections at a time.
    pub connections_max: usize,
}

/// The shards in the order of their cores.
pub(super) fn read(root: &mut Section<'_>, message_size_max: u64) -> Vec<Shard> {
    let ours = host::allowed_cpus();
    let allowed = if root.serves() { ours.clone() } else { (0..=host::CPU_MAX).collect() };
    let mut section =
        root.table("shards", "The shards: one thread, one ring and one pool of buffers for each CPU core.");
    section.needs_restart_but(&["connections_max"]);
    let listed =
        section.all_or_list("cpus", "The CPU cores to use; \"all\" are those that this process may run on.");
    let cpus = listed.map_or_else(|| ours, |listed| cpus(&mut section, listed, &allowed));
    let defaults = settings(&mut section, &DEFAULTS);

    let mut shards: Vec<Shard> = cpus.iter().map(|cpu| Shard { cpu: *cpu, ..defaults.clone() }).collect();
    let mut seen = Vec::new();
    let mut own_memory = Vec::new();
    for mut own_section in
        root.tables("shard", "What differs on one core; as many of these tables as wanted.")
    {
        own_section.inherits("[shards]");
        // The core says which shard is meant, and changes nothing by itself.
        own_section.needs_restart_but(&["cpu", "connections_max"]);
        let cpu = own_section.optional_integer(
            "cpu",
            0..=host::CPU_MAX,
            Fallback::Required { example: "0" },
            "The core; one of those that `cpus` names.",
        );
        own_section.is_for(cpu.map_or_else(|| "no core".to_owned(), |cpu| format!("core {cpu}")));
        let own = settings(&mut own_section, &defaults);
        if own_section.given("block_memory") {
            block_rule(&mut own_section, &own, message_size_max);
            own_memory.extend(cpu);
        }
        if let Some(cpu) = cpu {
            let place = shards.iter_mut().find(|shard| shard.cpu == cpu);
            match place {
                _ if seen.contains(&cpu) => {
                    own_section.problem("cpu", format!("there is another [[shard]] for core {cpu}"));
                }
                Some(shard) => *shard = Shard { cpu, ..own },
                None if section.faulty("cpus") => {}
                None => own_section.problem("cpu", not_among(cpu, &allowed, &cpus)),
            }
            seen.push(cpu);
        }
        own_section.finish();
    }
    if cpus.iter().any(|cpu| !own_memory.contains(cpu)) {
        block_rule(&mut section, &defaults, message_size_max);
    }
    section.finish();
    shards
}

fn cpus(section: &mut Section<'_>, listed: Vec<(usize, usize)>, allowed: &[usize]) -> Vec<usize> {
    let mut cpus = Vec::new();
    if listed.is_empty() && !section.faulty("cpus") {
        section.problem("cpus", "the list is empty; write \"all\" or at least one core".to_owned());
    }
    for (line, cpu) in listed {
        if cpus.contains(&cpu) {
            section.problem_at(line, "cpus", format!("core {cpu} is listed twice"));
        } else if allowed.contains(&cpu) {
            cpus.push(cpu);
        } else {
            section.problem_at(line, "cpus", unknown(cpu, allowed));
        }
    }
    cpus.sort_unstable();
    cpus
}

fn unknown(cpu: usize, allowed: &[usize]) -> String {
    format!("this process cannot run on core {cpu}; it can on {}", list_text(allowed))
}

fn not_among(cpu: usize, allowed: &[usize], cpus: &[usize]) -> String {
    if allowed.contains(&cpu) {
        format!("core {cpu} is not in use; shards.cpus names {}", list_text(cpus))
    } else {
        unknown(cpu, allowed)
    }
}

/// `0-3, 8`.
fn list_text(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    if ranges.is_empty() { "none".to_owned() } else { ranges.iter().map(text).collect::<Vec<_>>().join(", ") }
}

const DEFAULTS: Shard = Shard {
    cpu: 0,
    ring_entries: 4096,
    batch_wait: Duration::ZERO,
    buffers: 1024,
    buffer_bytes: 32 * 1024,
    block_bytes_max: 64 * 1024 * 1024,
    connections_max: 20_000,
};

fn settings(section: &mut Section<'_>, defaults: &Shard) -> Shard {
    Shard {
        cpu: defaults.cpu,
        ring_entries: section.power_of_two(
            "ring_entries",
            defaults.ring_entries,
            64..=RING_ENTRIES_MAX,
            "Entries of the submission queue.",
        ),
        batch_wait: section.duration(
            "batch_wait",
            defaults.batch_wait,
            Duration::ZERO..=BATCH_WAIT_MAX,
            "How long events gather before they are looked at (Linux 6.12): less CPU time a message, later replies.",
        ),
        buffers: section.power_of_two("buffers", defaults.buffers, 16..=BUFFERS_MAX, "Receive buffers."),
        buffer_bytes: octets(
            section,
            "buffer_size",
            defaults.buffer_bytes,
            4 * KIB,
            MIB,
            "One receive buffer.",
        ),
        block_bytes_max: octets(
            section,
            "block_memory",
            defaults.block_bytes_max,
            MIB,
            1024 * GIB,
            "Mail data copied out of receive buffers, at a time; more than `message_size_max`.",
        ),
        connections_max: section.integer(
            "connections_max",
            defaults.connections_max,
            1..=CONNECTIONS_MAX,
            "Connections at a time.",
        ),
    }
}

/// A size that is used as a length in memory.
fn octets(
    section: &mut Section<'_>,
    key: &'static str,
    default: usize,
    least: u64,
    most: u64,
    doc: &'static str,
) -> usize {
    let default_octets = u64::try_from(default).unwrap_or(most);
    usize::try_from(section.size(key, default_octets, least..=most, doc)).unwrap_or(default)
}

/// One message of the largest size must fit, or it could never be received: a half-received message waits for
/// no memory.
fn block_rule(section: &mut Section<'_>, shard: &Shard, message_size_max: u64) {
    if let Some(text) = too_little_block_memory(shard, message_size_max)
        && !section.faulty("block_memory")
    {
        section.problem("block_memory", text);
    }
}

/// That the block memory of a shard cannot hold such a message, if so.
pub(super) fn too_little_block_memory(shard: &Shard, message_size_max: u64) -> Option<String> {
    let needed = message_size_max.saturating_add(u64::try_from(BLOCK_BYTES_SPARE).unwrap_or(u64::MAX));
    let given = u64::try_from(shard.block_bytes_max).unwrap_or(u64::MAX);
    (given < needed).then(|| {
        let needed = size_text(needed.div_ceil(MIB) * MIB);
        let (given, message) = (size_text(given), size_text(message_size_max));
        format!("{given} cannot hold one message of limits.message_size_max = {message}; at least {needed}")
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn cores_are_listed_as_ranges() {
        assert_eq!(super::list_text(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(super::list_text(&[]), "none");
    }
}

//! Everything that the checks know of the machine, read once.

use super::cgroup::Cgroup;
use super::cpus::Cpus;
use super::interrupts::{self, Interrupt};
use super::store::Store;
use super::sync_time;
use super::tree::Tree;
use crate::config::Config;
use crate::memory_sum::SocketMemory;
use crate::resource_limits;
use crate::ring::probe::{self, Unusable};
use crate::sandbox::{self, Account};

/// Facts of the host. What the machine does not show is none, and no check complains of that.
#[derive(Debug, Default)]
pub struct Host {
    /// Whether io_uring does what shards need, tried out; none when it was not.
    pub io_uring: Option<Result<(), Unusable>>,
    /// The user of `[run_as]`, as whom that was tried; none where it was this one.
    pub service_user: Option<String>,
    /// Why this process, which is root, cannot become that user; none where it can or need not.
    pub not_the_user: Option<String>,
    /// The version of Landlock, or the error number of the kernel; none when it was not tried.
    pub landlock: Option<Result<u32, i32>>,
    /// Whether the kernel was built with filters for system calls.
    pub seccomp: Option<bool>,
    /// The sysctl kernel.io_uring_disabled.
    pub io_uring_disabled: Option<u64>,
    /// Major and minor version of the kernel.
    pub kernel: Option<(u32, u32)>,
    /// RLIMIT_NOFILE, the most that it may be: `serve` raises what holds to that.
    pub open_files_max: Option<u64>,
    /// RLIMIT_FSIZE in octets as it holds: nobody raises it.
    pub file_bytes_max: Option<u64>,
    /// The most that any limit of open files may be: the sysctl fs.nr_open.
    pub nr_open: Option<u64>,
    /// RLIMIT_MEMLOCK in octets, the most that it may be.
    pub memlock_bytes_max: Option<u64>,
    /// The sysctl net.core.somaxconn.
    pub somaxconn: Option<u64>,
    /// The sysctl net.ipv4.tcp_max_syn_backlog.
    pub syn_backlog: Option<u64>,
    /// The sysctl net.ipv4.tcp_syncookies.
    pub syncookies: Option<u64>,
    /// The sysctl net.core.rmem_max.
    pub receive_buffer_max: Option<u64>,
    /// The cores.
    pub cpus: Cpus,
    /// Interrupts of devices.
    pub interrupts: Vec<Interrupt>,
    /// Seconds since the start of the machine.
    pub uptime_s: Option<f64>,
    /// What control groups allow.
    pub cgroup: Cgroup,
    /// What the kernel may keep for TCP sockets.
    pub socket_memory: SocketMemory,
    /// Octets of memory in the machine.
    pub memory_total_bytes: Option<u64>,
    /// Octets of memory that can be had without swapping.
    pub memory_available_bytes: Option<u64>,
    /// Octets that may be promised and octets that are, under strict accounting.
    pub commit_bytes: Option<(u64, u64)>,
    /// The sysctl vm.overcommit_memory.
    pub overcommit: Option<u64>,
    /// Which memory is given huge pages.
    pub huge_pages: Option<String>,
    /// Where a disk sink stores.
    pub store: Option<Store>,
}

impl Host {
    /// Reads a tree of /proc and /sys, and the file system of the sink's directory. Tries and measures
    /// nothing.
    pub fn read(tree: &Tree, config: &Config) -> Self {
        let sysctl = |name: &str| tree.number(&format!("proc/sys/{}", name.replace('.', "/")));
        let limit = |name: &str, which| limit(&tree.text("proc/self/limits")?, name, which);
        let memory = |key: &str| memory(tree, key);
        Self {
            io_uring: None,
            service_user: None,
            not_the_user: None,
            landlock: None,
            seccomp: None,
            io_uring_disabled: sysctl("kernel.io_uring_disabled"),
            kernel: tree.text("proc/sys/kernel/osrelease").and_then(|text| version(&text)),
            open_files_max: limit("Max open files", Which::Most),
            file_bytes_max: limit("Max file size", Which::Holds),
            nr_open: sysctl("fs.nr_open"),
            memlock_bytes_max: limit("Max locked memory", Which::Most),
            somaxconn: sysctl("net.core.somaxconn"),
            syn_backlog: sysctl("net.ipv4.tcp_max_syn_backlog"),
            syncookies: sysctl("net.ipv4.tcp_syncookies"),
            receive_buffer_max: sysctl("net.core.rmem_max"),
            cpus: Cpus::read(tree),
            interrupts: interrupts::read(tree),
            uptime_s: tree.text("proc/uptime").and_then(|text| text.split(' ').next()?.parse().ok()),
            cgroup: Cgroup::read(tree),
            socket_memory: socket_memory(tree),
            memory_total_bytes: memory("MemTotal"),
            memory_available_bytes: memory("MemAvailable"),
            commit_bytes: memory("CommitLimit").zip(memory("Committed_AS")),
            overcommit: sysctl("vm.overcommit_memory"),
            huge_pages: tree
                .text("sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())),
            store: config.sink.facts().directory().map(|path| Store::read(tree, path)),
        }
    }

    /// Of a tree what the check of memory looks at, and nothing else.
    pub(super) fn memory_only(tree: &Tree) -> Self {
        let memory_total_bytes = memory(tree, "MemTotal");
        let socket_memory = socket_memory(tree);
        Self { cgroup: Cgroup::read(tree), memory_total_bytes, socket_memory, ..Self::default() }
    }

    /// Tries what cannot be read: io_uring as the shards use it, and the sync of the sink's disk, which takes
    /// about a second and writes a temporary file into the sink's directory.
    #[must_use]
    pub fn tried_out(mut self, config: &Config) -> Self {
        // As `serve` does.
        resource_limits::raise();
        let tried = || probe::probe().and_then(|()| probe::probe_rings(&config.shards));
        // Root is charged for nothing.
        let account = Account::to_become(&config.run_as).ok().flatten();
        self.io_uring = Some(match account.as_ref().map(|account| (account, account.act(tried))) {
            Some((account, Ok(found))) => {
                self.service_user = Some(account.to_string());
                found
            }
            Some((account, Err(error))) => {
                self.not_the_user = Some(sandbox::cannot_become(account, &error));
                tried()
            }
            None => tried(),
        });
        let version = sandbox::landlock_version();
        self.landlock = Some(version.map_err(|error| error.raw_os_error().unwrap_or_default()));
        self.seccomp = Some(std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists());
        if let Some(store) = &mut self.store {
            store.sync = Some(sync_time::measure(&store.directory));
        }
        self
    }
}

/// The most for all TCP sockets, in pages, and for what one has received, in octets: the last of three
/// numbers each.
pub(super) fn socket_memory(tree: &Tree) -> SocketMemory {
    let last = |name: &str| -> Option<u64> {
        tree.text(&format!("proc/sys/net/ipv4/{name}"))?.split_whitespace().nth(2)?.parse().ok()
    };
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    SocketMemory {
        all_bytes_max: last("tcp_mem").and_then(|pages| pages.checked_mul(page)),
        receive_bytes_max: last("tcp_rmem"),
    }
}

/// A line of /proc/meminfo in octets.
fn memory(tree: &Tree, key: &str) -> Option<u64> {
    tree.field("proc/meminfo", key)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// One of the two numbers of a limit.
#[derive(Clone, Copy)]
enum Which {
    /// The one that holds.
    Holds,
    /// The most it may be raised to, as `serve` does with some (`resource_limits`).
    Most,
}

/// A line of /proc/self/limits: the name, the limit that holds, the most it may be raised to, a unit. None
/// for no limit.
fn limit(limits: &str, name: &str, which: Which) -> Option<u64> {
    let mut numbers = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    let (holds, most) = (numbers.next()?, numbers.next()?);
    match which {
        Which::Holds => holds.parse().ok(),
        Which::Most => most.parse().ok(),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|octet: char| !octet.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::tree::fake;
    use super::*;

    #[test]
    fn a_tree_becomes_facts() {
        let (tree, _directory) = fake::tree(&[
            ("proc/sys/kernel/io_uring_disabled", "1\n"),
            ("proc/sys/kernel/osrelease", "6.18.44-fc-v657\n"),
            (
                "proc/self/limits",
                "Max open files            1024                 524288               files\n\
                 Max file size             1048576              unlimited            bytes\n\
                 Max locked memory         unlimited            unlimited            bytes\n",
            ),
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/net/core/rmem_max", "212992\n"),
            ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
            ("proc/uptime", "100.5 30.0\n"),
            ("proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    500 kB\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ]);
        let host = Host::read(&tree, &Config::embedded_default());
        assert_eq!((host.io_uring_disabled, host.kernel), (Some(1), Some((6, 18))));
        assert_eq!((host.open_files_max, host.memlock_bytes_max), (Some(524_288), None));
        assert_eq!(host.file_bytes_max, Some(1 << 20));
        assert_eq!(host.receive_buffer_max, Some(212_992));
        assert_eq!((host.somaxconn, host.syncookies, host.syn_backlog), (Some(128), Some(1), None));
        assert_eq!(host.memory_available_bytes, Some(512_000));
        assert_eq!(host.huge_pages.as_deref(), Some("madvise"));
        assert!(host.uptime_s.is_some_and(|seconds| seconds > 100.0) && host.store.is_some());
    }

    #[test]
    fn an_empty_tree_is_no_reason_to_complain() {
        let (tree, _directory) = fake::tree(&[]);
        let config = Config::embedded_default();
        let host = Host::read(&tree, &config);
        assert!(!super::super::will_fail(&super::super::examine(&host, &config)));
    }
}

//! The sum: the most memory that the process and its kernel buffers can use, by part.
//!
//! Each part is a bound of `limits` or of the configuration, times what it bounds. Where a bound counts
//! things and not octets, what one of them takes was measured, rounded up, and is measured again by
//! `tests/costs/memory_sum.rs`. Whoever adds something that can grow adds a part here. Reads nothing of the
//! machine but the lines of the file of recipients; what the kernel allows is given.

use std::fmt::{self, Display};

use crate::config::{Config, Filter, FilterKind, Listener, RecipientMap, Shard, recipients};
use crate::dns::lookup::{KEPT_ANSWERS_MAX, KEPT_BYTES_MAX, OUT_MAX, SOCKETS_MAX};
use crate::dns::table::{ANSWERS_BYTES_MAX, ANSWERS_MAX, QUESTIONS_OUT_MAX};
use crate::filter::{self, rspamd};
use crate::front::checks::Greylisting;
use crate::front::{clients, siblings};
use crate::limits::{
    ALIAS_TARGETS_MAX, BATCH_FILES_MAX, BATCH_LOADED_BYTES_MAX, CHECKS_BYTES_MAX, ENVELOPE_BYTES_FREE,
    ENVELOPES_BYTES_MAX, GREYLIST_PLACES, HANDOFF_MESSAGES_MAX, HANDSHAKE_BYTES_FREE, HELD_BYTES_MAX,
    INQUIRIES_AWAY_MAX, KEYS_BYTES_MAX, LISTEN_BACKLOG, MAILBOXES_READY_MAX, MAILDIRS_DOUBTED_MAX,
    MAILDIRS_KNOWN_MAX, MAILDIRS_TROUBLED_MAX, MAP_INQUIRIES_AWAY_MAX, MAP_LATE_MAX, MAP_LISTED_MAX,
    MAP_UNLISTED_MAX, OLD_TABLES_BYTES_MAX, ORDERS_MAX, PROXY_V2_BYTES_MAX, REFUSED_CONNECTIONS_MAX,
    REPLY_BYTES_MAX, RESULTS_BYTES_MAX, SEND_BUFFER_BYTES, SPARE_REPLIES_MAX, SPILLS_AWAY_MAX, STAGING_BYTES,
    STATION_MESSAGES_MAX, TLS_SESSION_BYTES_MAX, TLS_SESSIONS_MAX, ZEROS_BYTES,
};
use crate::ring::locked_memory;
use crate::smtp::settings::TlsPolicy;
use crate::{admin, log};

/// A connection with its slot, its session, its EHLO name and its place in every table. Measured: 1.2 KiB.
pub const CONNECTION_BYTES: u64 = 2 * 1024;

/// A connection under TLS besides: the library's state and keys, and certificates that are not counted.
/// Measured: 6.5 KiB with TLS 1.3, 8 KiB with TLS 1.2.
pub const TLS_BYTES: u64 = 10 * 1024 + HANDSHAKE_BYTES_FREE as u64;

/// A connection in a handshake besides: its state, and what of it is not counted. Measured: 13.5 KiB.
pub const TLS_HANDSHAKE_BYTES: u64 = 16 * 1024 + HANDSHAKE_BYTES_FREE as u64;

/// A message without its mail data: itself, `Received:`, two envelopes with what each may have for nothing.
/// One envelope is the session's, the other that of the message before.
pub const MESSAGE_BYTES: u64 = 2 * 1024 + 2 * ENVELOPE_BYTES_FREE as u64;

/// Replies of a connection: those that are on their way and those that come after.
pub const REPLIES_BYTES: u64 = 2 * REPLY_BYTES_MAX as u64;

// A connection in a handshake has no transaction.
const _: () = assert!(TLS_HANDSHAKE_BYTES <= TLS_BYTES + MESSAGE_BYTES);

/// The program, its libraries and what it reads at the start. Measured: 7 MiB, 15 MiB as the tests build it
/// (docs/performance.md).
pub const PROGRAM_BYTES: u64 = 20 * 1024 * 1024;

/// What a thread touches of its stack, and what the allocator keeps for it.
pub const THREAD_BYTES: u64 = 512 * 1024;

/// Threads besides shards, sink workers and the one that keeps the file of clients: control, log, signals,
/// admin, spill, mailboxes, space, and the one that makes segments.
const OTHER_THREADS: u64 = 8;

/// A message, an errand or a question on its way between threads: its place in a channel.
const PLACE_BYTES: u64 = 128;

/// A name of a maildir that is remembered, with its place in a table; usual ones are a tenth of it.
const NAME_BYTES: u64 = 512;

/// What a plan holds for each file that it makes: names and operations.
const PLANNED_FILE_BYTES: u64 = 4 * 1024;

/// Reading the file of aliases and making the table takes at most so many times its length, where a line has
/// 16 octets.
const ALIASES_FACTOR: u64 = 48;

/// An answer of the DNS that is kept takes besides what its table counts: places that the table has grown
/// for. Measured: 220 octets.
pub const ANSWER_PLACE_BYTES: u64 = 384;

/// A question to the DNS that is out: its name where it is waited for, and who waits.
const QUESTION_BYTES: u64 = 2 * 1024;

/// A message that is with a next hop: a portion of it, its commands and its replies.
const NEXT_HOP_VISIT_BYTES: u64 = 256 * 1024;

/// A message that is with rspamd: what is said of it, a portion of it, the answer and what is read of that.
const RSPAMD_VISIT_BYTES: u64 = (2 * rspamd::BODY_BYTES_MAX + 256 * 1024) as u64;

/// A message that is with a milter: its header section as it is and as packets, a chunk of its body, and what
/// comes back.
const MILTER_VISIT_BYTES: u64 = 1536 * 1024;

/// A recipient of it, which is in the commands that it is told by, with its macros.
const MILTER_RECIPIENT_BYTES: u64 = 512;

/// What a filter found of a message, for the log.
const FILTERED_TEXT_BYTES: u64 = 1024;

/// Octets of messages that are on their way to a cluster (`UNITS_OUT_MAX` of `nats/publisher.rs`), which are
/// in the buffers of its connection, too.
const CLUSTER_BYTES: u64 = 64 << 20;

/// Envelope and header of a message that waits for its acknowledgement: each has 64 KiB at most.
const PUBLISHED_BYTES: u64 = 2 * 64 * 1024;

/// Each connection may wait for answers to some tens of them.
const WAITER_BYTES: u64 = 1024;

/// An answer over UDP that waits in its socket, as the kernel counts it.
const DATAGRAM_BYTES: u64 = 8 * 1024;

/// A question that is with name servers, and an answer of the largest size.
const LOOKUP_BYTES: u64 = 80 * 1024;

/// A name that a map was asked about, with its place in a table, usual ones twice over.
const MAP_NAME_BYTES: u64 = 256;

/// What a session that can be resumed takes besides its own octets.
const TLS_SESSION_PLACE_BYTES: u64 = 256;

/// The kernel's structures of one socket, and of its descriptor. Measured by /proc/slabinfo, on Linux 6.18:
/// 4.2 KiB.
pub const SOCKET_BYTES: u64 = 6 * 1024;

/// The kernel's stack of a thread, with its other structures.
const KERNEL_THREAD_BYTES: u64 = 32 * 1024;

/// Memory has one entry of eight octets in the page tables for each page.
const PAGE_TABLE_SHARE: u64 = 512;

/// The allocator rounds up and keeps what was freed for a while: one part in so many of what it gave.
const ALLOCATOR_SHARE: u64 = 8;

/// What a part is for, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Messages under way.
    Mail,
    /// Connections, whatever they do.
    Connections,
    /// The program itself.
    Program,
    /// What the kernel keeps for it. Control groups count it, the resident memory of the process does not
    /// hold it.
    Kernel,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mail, Self::Connections, Self::Program, Self::Kernel];

    const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Connections => "connections",
            Self::Program => "the program",
            Self::Kernel => "the kernel, for ringmx",
        }
    }
}

/// One part of the sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is for.
    pub purpose: Purpose,
    /// What it is.
    pub name: &'static str,
    /// Octets, at most.
    pub bytes: u64,
    /// The key or the rule that bounds it.
    pub bound: String,
}

/// What the machine allows the kernel to keep for sockets. None where it does not show it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketMemory {
    /// The most for all TCP sockets of the machine, in octets: the last number of the sysctl
    /// net.ipv4.tcp_mem, in pages there.
    pub all_bytes_max: Option<u64>,
    /// The most for what one socket has received, in octets: the last number of net.ipv4.tcp_rmem. It holds
    /// where no size is set.
    pub receive_bytes_max: Option<u64>,
}

/// The sum and its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySum {
    parts: Vec<Part>,
}

impl MemorySum {
    /// The sum of a configuration on a machine that allows this.
    pub fn of(config: &Config, sockets: SocketMemory) -> Self {
        let mut sum = Self { parts: Vec::new() };
        let counts = Counts::of(config);
        sum.add_mail(config, &counts);
        sum.add_connections(config, &counts);
        sum.add_program(config, &counts);
        sum.add_kernel(config, &counts, sockets);
        sum
    }

    /// The parts, those of one purpose together.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Octets of all parts for this.
    pub fn bytes_for(&self, purpose: Purpose) -> u64 {
        let parts = self.parts.iter().filter(|part| part.purpose == purpose);
        parts.fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    /// Octets of the process: what its resident memory comes to at most.
    pub fn process_bytes(&self) -> u64 {
        self.all_bytes() - self.bytes_for(Purpose::Kernel)
    }

    /// Octets of the process and of the kernel for it: what a control group must allow.
    pub fn all_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    fn add(&mut self, purpose: Purpose, name: &'static str, bytes: u64, bound: impl Into<String>) {
        if bytes > 0 {
            self.parts.push(Part { purpose, name, bytes, bound: bound.into() });
        }
    }

    fn add_mail(&mut self, config: &Config, counts: &Counts) {
        let mut add = |name, bytes, bound: &str| self.add(Purpose::Mail, name, bytes, bound);
        let shards = config.shards.iter();
        let buffers = shards.clone().map(|shard| octets(shard.buffers) * octets(shard.buffer_bytes)).sum();
        add("receive buffers", buffers, "buffers x buffer_size, each shard");
        add(
            "mail data copied out of them",
            shards.map(|shard| octets(shard.block_bytes_max)).sum(),
            "block_memory, each shard",
        );
        let envelopes = counts.shards * octets(ENVELOPES_BYTES_MAX);
        add("envelopes", envelopes, "32 MiB each shard");
        if counts.workers > 0 {
            // What was read back from spill files, and what is made of the messages of one batch: other line
            // ends, base 64, one envelope written out for each.
            let loaded = BATCH_LOADED_BYTES_MAX.saturating_add(config.limits.message_size_max);
            let files = octets(BATCH_FILES_MAX.max(config.limits.recipients_max + ALIAS_TARGETS_MAX))
                * PLANNED_FILE_BYTES;
            let each = loaded
                .saturating_add(config.sink.facts().converted_bytes(config.limits.message_size_max))
                .saturating_add(files);
            let all = counts.workers.saturating_mul(each).saturating_add(envelopes);
            add("batches of sink workers", all, "message_size_max and recipients_max, each worker");
        }
        if config.sink.facts().writes_directly() {
            add(
                "direct writes of the spool",
                2 * octets(STAGING_BYTES) + octets(ZEROS_BYTES),
                "direct_writes",
            );
        }
        if config.sink.facts().has_mailboxes() {
            let of_worker = MAILDIRS_KNOWN_MAX + MAILDIRS_DOUBTED_MAX + MAILDIRS_TROUBLED_MAX;
            let names = counts.workers * octets(of_worker)
                + counts.shards * octets(MAILBOXES_READY_MAX)
                + octets(MAILDIRS_TROUBLED_MAX);
            add("names of maildirs", names * NAME_BYTES, "each worker and shard");
        }
    }

    fn add_connections(&mut self, config: &Config, counts: &Counts) {
        let each = "connections_max and 256, each shard";
        let mut add = |name, bytes, bound: &str| self.add(Purpose::Connections, name, bytes, bound);
        add("sessions", counts.connections * CONNECTION_BYTES, each);
        let is_behind_front = config.listeners.iter().any(|listener| !listener.gate.proxy_from.is_empty());
        let line = config.limits.line_bytes_max.max(if is_behind_front { PROXY_V2_BYTES_MAX } else { 0 });
        add(
            "command lines that have begun",
            counts.connections * 2 * octets(line),
            "2 x line_length_max a connection",
        );
        add("replies", counts.connections * REPLIES_BYTES, "8 KiB a connection");
        // Those whose connection is gone are on their way to a sink.
        let messages = counts.connections + counts.shards * octets(HANDOFF_MESSAGES_MAX);
        add("transactions", messages * MESSAGE_BYTES, "10 KiB a connection");
        if let Some(rules) = &config.auth {
            // The header section that is read, how some readers see it, and what is left of it.
            let shard = CHECKS_BYTES_MAX + KEYS_BYTES_MAX + 3 * rules.header_bytes_max;
            let all = messages * octets(RESULTS_BYTES_MAX) + counts.shards * octets(shard);
            add("checks of messages", all, "8 KiB a connection, 3 x header_bytes_max and 9 MiB each shard");
        }
        add("clients that are counted", octets(clients::bytes(config.client_places)), "clients_max");
        add("octets that cannot be read yet", counts.shards * octets(HELD_BYTES_MAX), "32 MiB each shard");
        let spares = octets(SPARE_REPLIES_MAX) * 2 * octets(REPLY_BYTES_MAX);
        add("memory of replies that were sent", counts.shards * spares, "8 MiB each shard");
        if config.listeners.iter().any(|listener| listener.tls != TlsPolicy::Off) {
            add("TLS", counts.connections * TLS_BYTES, "14 KiB a connection");
            let session = octets(TLS_SESSION_BYTES_MAX) + TLS_SESSION_PLACE_BYTES;
            add("TLS sessions to be resumed", octets(TLS_SESSIONS_MAX) * session, "32,768 sessions");
        }
    }

    /// Where something asks it.
    fn add_dns(&mut self, counts: &Counts) {
        let table = |answers: usize, bytes: usize| octets(bytes) + octets(answers) * ANSWER_PLACE_BYTES;
        let shard = table(ANSWERS_MAX, ANSWERS_BYTES_MAX) + octets(QUESTIONS_OUT_MAX) * QUESTION_BYTES;
        let waiting = counts.connections * WAITER_BYTES;
        let thread = table(KEPT_ANSWERS_MAX, KEPT_BYTES_MAX) + octets(OUT_MAX) * LOOKUP_BYTES;
        let mut add = |name, bytes, bound: &str| self.add(Purpose::Program, name, bytes, bound);
        if counts.lookup_threads > 0 {
            add(
                "answers of the DNS",
                counts.shards * shard + waiting,
                "22 MiB each shard, 1 KiB a connection",
            );
            let bound = "136 MiB each thread of [dns]";
            add("threads that ask the DNS", counts.lookup_threads * thread, bound);
        }
    }

    fn add_program(&mut self, config: &Config, counts: &Counts) {
        self.add_dns(counts);
        // Of what the allocator gives; receive buffers and the memory of direct writes are mapped.
        let heap = self.process_bytes() - self.mapped_bytes();
        let mut add = |name, bytes, bound: &str| self.add(Purpose::Program, name, bytes, bound);
        add("program and libraries", PROGRAM_BYTES, "");
        add("threads", counts.threads * THREAD_BYTES, "cpus, workers");
        let threads = usize::try_from(counts.threads).unwrap_or(usize::MAX / 2);
        add("lines of the log", octets(log::bytes_max(threads)), "64 chunks each kind");
        if config.admin.is_some() {
            add("administration", admin::bytes_max(counts.shards), "32 connections");
        }
        let places = 2
            * (HANDOFF_MESSAGES_MAX + SPILLS_AWAY_MAX + INQUIRIES_AWAY_MAX + MAP_INQUIRIES_AWAY_MAX)
            + if config.stations() > 0 { 2 * STATION_MESSAGES_MAX } else { 0 }
            + ORDERS_MAX;
        let places_of_dns = if counts.lookup_threads > 0 { counts.shards + counts.lookup_threads } else { 0 };
        let places = counts.shards * octets(places) + places_of_dns * octets(QUESTIONS_OUT_MAX);
        add("channels between threads", places * PLACE_BYTES, "cpus");
        if let Some(file) = &config.recipients {
            let (reading, table) = recipients::bytes_max(file);
            add("recipients", table, "10.7 octets a line");
            add("reading the file of recipients", reading, "its length, and 54 octets a line");
            let before = octets(OLD_TABLES_BYTES_MAX).max(2 * table);
            add("recipients of before a reload", before, "twice as much, or 16 MiB, for open sessions");
        }
        if config.recipient_map.is_some() {
            let names = octets(MAP_LISTED_MAX + MAP_UNLISTED_MAX + MAP_LATE_MAX) * MAP_NAME_BYTES;
            add("what a map said of recipients", counts.shards * names, "81 Ki names each shard");
        }
        let visits = octets(config.cut_through_connections_max());
        add("messages with next hops", visits * NEXT_HOP_VISIT_BYTES, "connections_max of each");
        let of_filter = |filter: &Filter| {
            let each = match filter.kind {
                FilterKind::Rspamd(_) => RSPAMD_VISIT_BYTES,
                FilterKind::Milter(_) => {
                    MILTER_VISIT_BYTES + octets(config.limits.recipients_max) * MILTER_RECIPIENT_BYTES
                }
            };
            octets(filter.connections_max) * each
        };
        let with_filters = config.filters.iter().map(of_filter).sum();
        add("messages with filters", with_filters, "connections_max of each");
        // Those that are at other stations or at the sink.
        let filtered = counts.shards * octets(HANDOFF_MESSAGES_MAX + STATION_MESSAGES_MAX);
        let added = octets(filter::FIELDS_BYTES_MAX) + FILTERED_TEXT_BYTES;
        let all = octets(config.filters.len()) * filtered * added;
        add("what filters found", all, "17 KiB a message and filter, 5,120 messages each shard");
        if let Some(cluster) = &config.nats {
            let waits = octets(cluster.window) * PUBLISHED_BYTES;
            add("messages with the cluster", 2 * CLUSTER_BYTES + waits, "128 MiB, and 128 KiB x window");
        }
        if let Some(file) = &config.aliases {
            let length = std::fs::metadata(file).map_or(0, |facts| facts.len());
            // While another generation of them is read.
            add("aliases", 2 * ALIASES_FACTOR * length, "96 times the length of the file");
        }
        let rules = &config.front.rules;
        if rules.greylisting != Greylisting::Off {
            add("greylisting", octets(8 * GREYLIST_PLACES), "a million envelopes");
        }
        if !rules.lists.is_empty() {
            add("neighbours of IPv6 clients", counts.shards * octets(siblings::BYTES_MAX), "cpus");
        }
        let networks = rules.access.iter().filter_map(|rule| rule.networks.as_ref());
        let networks = networks.map(|networks| octets(networks.bytes())).sum::<u64>();
        if networks > 0 {
            add("networks of access rules", 2 * networks, "twice, while others are read");
        }
        add("what the allocator keeps", heap / ALLOCATOR_SHARE, "an eighth of what it gave");
    }

    fn mapped_bytes(&self) -> u64 {
        let is_mapped = |part: &&Part| matches!(part.name, "receive buffers" | "direct writes of the spool");
        self.parts.iter().filter(is_mapped).map(|part| part.bytes).sum()
    }

    fn add_kernel(&mut self, config: &Config, counts: &Counts, allowed: SocketMemory) {
        let process = self.process_bytes();
        let mut add = |name, bytes, bound: &str| self.add(Purpose::Kernel, name, bytes, bound);
        // Those that nobody has accepted yet receive, too.
        let waiting =
            counts.shards * octets(config.listeners.len()) * u64::from(LISTEN_BACKLOG.unsigned_abs());
        let sockets = counts.connections + waiting;
        add("sockets", sockets * SOCKET_BYTES, "connections_max, and 4096 each listener and shard");
        let receive = |listener: &Listener| match listener.receive_buffer_bytes {
            0 => allowed.receive_bytes_max.unwrap_or(0),
            bytes => 2 * octets(bytes),
        };
        let receive = config.listeners.iter().map(receive).max().unwrap_or(0);
        let each = receive + 2 * octets(SEND_BUFFER_BYTES);
        let all = sockets.saturating_mul(each);
        match allowed.all_bytes_max {
            Some(machine) if machine < all => {
                add("octets in sockets", machine, "the sysctl net.ipv4.tcp_mem, all of the machine");
            }
            Some(_) | None => add("octets in sockets", all, "2 x receive_buffer and 64 KiB a socket"),
        }
        let to_name_servers = counts.lookup_threads * octets(SOCKETS_MAX);
        let each = SOCKET_BYTES + DATAGRAM_BYTES;
        add("sockets to name servers", to_name_servers * each, "2,048 each thread of [dns]");
        let to_stations = octets(config.station_connections_max());
        add("sockets to filters and next hops", to_stations * SOCKET_BYTES, "connections_max of each");
        let rings: u64 = config.shards.iter().map(locked_memory::of_shard).sum();
        add("rings", rings + counts.workers * locked_memory::of_worker(), "ring_entries and buffers");
        let tables = process / PAGE_TABLE_SHARE + counts.threads * KERNEL_THREAD_BYTES;
        add("page tables and threads", tables, "a 512th of the process");
    }
}

/// The table that `check` prints: each part, the sum for each purpose, and all.
impl Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Memory at most, in MiB:")?;
        for purpose in Purpose::ALL {
            writeln!(f, "{:>8}  {}", mib(self.bytes_for(purpose)), purpose.name())?;
            for part in self.parts.iter().filter(|part| part.purpose == purpose) {
                let bound = if part.bound.is_empty() { String::new() } else { format!(": {}", part.bound) };
                writeln!(f, "{:>14}  {}{bound}", mib(part.bytes), part.name)?;
            }
        }
        writeln!(f, "{:>8}  the process", mib(self.process_bytes()))?;
        writeln!(
            f,
            "{:>8}  with what the kernel keeps: the least limit of a control group",
            mib(self.all_bytes())
        )
    }
}

/// How many there are of what parts are counted by.
struct Counts {
    shards: u64,
    /// Connections of all shards, and those that are being turned away.
    connections: u64,
    /// Sink workers that run.
    workers: u64,
    /// Threads that ask the DNS.
    lookup_threads: u64,
    threads: u64,
}

impl Counts {
    fn of(config: &Config) -> Self {
        let shards = octets(config.shards.len());
        let of_shard = |shard: &Shard| octets(shard.connections_max + REFUSED_CONNECTIONS_MAX);
        let workers = octets(config.sink.facts().workers(config.sink.workers)).min(shards);
        let lookup_threads = octets(config.lookup_threads());
        let of_map = config.recipient_map.as_ref().map(RecipientMap::thread_groups);
        let of_map = of_map.map_or(0, |(groups, each)| octets(groups * each));
        Self {
            shards,
            connections: config.shards.iter().map(of_shard).sum(),
            workers,
            lookup_threads,
            threads: shards
                + workers
                + lookup_threads
                + of_map
                + octets(config.stations())
                + OTHER_THREADS
                + u64::from(config.state().is_some()),
        }
    }
}

fn octets(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Whole MiB, rounded up.
fn mib(octets: u64) -> u64 {
    octets.div_ceil(1 << 20)
}

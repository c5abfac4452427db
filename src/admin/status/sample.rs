//! Statuses for tests, in which each figure is another one.

use super::forward::{
    Destination, ForwardRates, ForwardState, ForwardStatus, ForwardThroughput, Host, Queue,
};
use super::{
    Bucket, Certificate, Check, Cluster, Event, Filter, Latency, Memory, Problem, Rates, Refusal, Room,
    SHAPE, Severity, Shard, Sink, Spool, State, Status, Throughput,
};

/// A status in which each figure is another one.
pub(crate) fn full() -> Status {
    Status {
        shape: SHAPE,
        version: "0.1.0-a".to_owned(),
        hostname: "mx1.example.org".to_owned(),
        pid: 4_711,
        at_unix_ms: 1_796_083_200_000,
        uptime_seconds: 275_000,
        generation: 17,
        state: State::Receiving,
        ready: Check { ok: true, reasons: vec![] },
        healthy: Check { ok: true, reasons: vec![] },
        problems: vec![Problem {
            severity: Severity::Warning,
            what: "something slow".to_owned(),
            cure: "See it.".to_owned(),
        }],
        throughput: throughput(),
        latency: vec![Latency {
            phase: "tls_handshake".to_owned(),
            count: 161,
            p50_us: Some(171),
            p90_us: Some(1_810),
            p99_us: Some(19_100),
            curve: vec![Bucket { up_to_us: 171, count: 100 }, Bucket { up_to_us: 19_100, count: 61 }],
        }],
        shards: vec![Shard {
            shard: 3,
            connections_open: 201,
            messages_per_second: 211.0,
            busy: Some(0.22),
            turn_max_us: 231,
        }],
        refusals: vec![Refusal {
            what: "recipient".to_owned(),
            reason: "unknown-recipient".to_owned(),
            minute: 241,
            total: 251,
        }],
        filters: vec![filter()],
        cluster: Some(cluster()),
        sinks: vec![Sink {
            sink: "spool".to_owned(),
            queue_messages: 261,
            oldest_wait_seconds: 0.271,
            batch_messages: Some(281.0),
            sync_p50_us: Some(291),
            sync_p99_us: Some(3_010),
            failures_total: 311,
        }],
        memory: Memory {
            buffers_pinned: 321,
            buffers: 331,
            blocks_used_bytes: 341 << 10,
            spill_files: 351,
            spill_bytes: 361 << 10,
            back_pressure_seconds: 0.371,
        },
        room: Some(Room { free_bytes: 421 << 30, full_in_seconds: Some(431 * 86_400 / 2) }),
        spool: Some(Spool {
            segments: 381,
            bytes: 391 << 20,
            unconsumed_bytes: 401 << 20,
            consumer_lag_seconds: 0.411,
        }),
        certificates: vec![Certificate {
            name: "mx.example".to_owned(),
            expires_unix: 1_798_000_000,
            days_left: 44,
        }],
        events: vec![Event {
            at_unix_ms: 1_796_083_100_000,
            level: "error".to_owned(),
            event: "store_full".to_owned(),
            text: "an event".to_owned(),
        }],
    }
}

fn throughput() -> Throughput {
    let rates = |first: f64| Rates {
        messages_per_second: first,
        bytes_per_second: (first + 1.0) * 1024.0,
        connections_per_second: first + 2.0,
        refusals_per_second: first + 3.0,
    };
    Throughput {
        now: rates(101.0),
        minute: rates(111.0),
        quarter_hour: rates(121.0),
        connections_open: 131,
        messages_total: 5_000_141,
        message_bytes_total: 151 << 20,
        messages_by_second: (0..900).map(|second| second % 77).collect(),
        refusals_by_second: (0..900).map(|second| second % 3).collect(),
    }
}

fn filter() -> Filter {
    Filter {
        filter: "rspamd".to_owned(),
        up: true,
        in_flight: 253,
        answered_total: 254,
        refused_total: 255,
        unanswered_total: 256,
        p50_us: Some(257),
        p99_us: Some(2_580),
    }
}

fn cluster() -> Cluster {
    Cluster {
        up: true,
        in_flight: 262,
        acknowledged_total: 263,
        refused_total: 264,
        unanswered_total: 265,
        p50_us: Some(267),
        p99_us: Some(2_680),
    }
}

/// A status in which each figure is another one.
pub(crate) fn full_of_forwarder() -> ForwardStatus {
    let rates = |first: f64| ForwardRates {
        delivered_per_second: first,
        deferred_per_second: first + 1.0,
        undeliverable_per_second: first + 2.0,
    };
    let host = |name: &str, state: &str| Host {
        next_hop: name.to_owned(),
        state: state.to_owned(),
        state_seconds: 201,
        why: "Connection refused".to_owned(),
        next_probe_in_seconds: Some(37),
        concurrency: 211,
        connections_open: 221,
        busy: 231,
    };
    let of = |name: &str, down_seconds: Option<u64>| Destination {
        destination: name.to_owned(),
        up: down_seconds.is_none(),
        down_seconds,
        fresh: 301,
        due: 311,
        waiting: 321,
        busy: 331,
        moving: 341,
        held: 351,
        oldest_seconds: Some(7_800),
        connections_open: 361,
        delivered_total: 371,
        deferred_total: 381,
        undeliverable_total: 391,
        hosts: vec![host("smtp://one", if down_seconds.is_none() { "up" } else { "suspended" })],
    };
    ForwardStatus {
        version: "0.1.0-a".to_owned(),
        hostname: "mx1.example.org".to_owned(),
        pid: 4_711,
        at_unix_ms: 1_796_083_200_000,
        uptime_seconds: 275_000,
        state: ForwardState::Forwarding,
        ready: Check { ok: true, reasons: vec![] },
        healthy: Check { ok: true, reasons: vec![] },
        problems: vec![Problem {
            severity: Severity::Warning,
            what: "something slow".to_owned(),
            cure: "See it.".to_owned(),
        }],
        throughput: ForwardThroughput {
            now: rates(101.0),
            minute: rates(111.0),
            quarter_hour: rates(121.0),
            delivered_total: 131,
            undeliverable_total: 141,
            expired_total: 151,
            delivered_by_second: vec![1; 900],
            not_delivered_by_second: vec![2; 900],
            ..ForwardThroughput::default()
        },
        delays: vec![Latency {
            phase: "transmit".to_owned(),
            count: 161,
            p50_us: Some(171),
            p90_us: Some(1_810),
            p99_us: Some(19_100),
            curve: vec![],
        }],
        destinations: vec![of("smtp://a", None), of("smtp://b", Some(185))],
        queue: Queue {
            window_bytes: 401 << 20,
            later_bytes: 411 << 20,
            dead_bytes: 421 << 20,
            dead_messages: 431,
            notices_held: 481,
            unreadable_messages: 491,
            log_lag_seconds: 0.441,
            journal_sync_p50_us: Some(451),
            journal_sync_p99_us: Some(4_610),
            journal_failures_total: 471,
        },
        events: vec![Event {
            at_unix_ms: 1_796_083_100_000,
            level: "warning".to_owned(),
            event: "next-hop-down".to_owned(),
            text: "an event".to_owned(),
        }],
        ..ForwardStatus::default()
    }
}

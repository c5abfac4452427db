//! A status for tests, in which each figure is another one.

use super::{
    Bucket, Certificate, Check, Event, Filter, Latency, Memory, Problem, Rates, Refusal, Room, SHAPE,
    Severity, Shard, Sink, Spool, State, Status, Throughput,
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
        filters: vec![Filter {
            filter: "rspamd".to_owned(),
            up: true,
            in_flight: 253,
            answered_total: 254,
            refused_total: 255,
            unanswered_total: 256,
            p50_us: Some(257),
            p99_us: Some(2_580),
        }],
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

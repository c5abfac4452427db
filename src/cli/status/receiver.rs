//! The status of a receiver as lines of text: a pure function of its figures and of the width.

use super::lines::{
    Head, Line, Tone, fit, in_columns, latency, or_dash, row, shown, sparkline, table_row, titled,
};
use crate::admin::status::figures::{bytes, count, micros, rate, seconds, share, wait, whole};
use crate::admin::status::words::{day_count, phase_name, state_word};
use crate::admin::status::{State, Status};

/// All but the events.
pub(super) fn figures(status: &Status, width: usize) -> Vec<Line> {
    let head = Head {
        name: format!("ringmx {}", shown(&status.hostname)),
        about: vec![
            format!("version {}", shown(&status.version)),
            format!("generation {}", count(status.generation)),
            format!("up {}", seconds(status.uptime_seconds)),
        ],
        word: state_word(status.state),
        is_bad: status.state == State::NotReady,
        is_ending: status.state == State::Draining,
        problems: &status.problems,
        at_unix_ms: status.at_unix_ms,
    };
    let mut all = head.lines(width);
    all.extend(in_columns(|width| blocks(status, width), width));
    all
}

/// The figures, each block with its heading.
fn blocks(status: &Status, width: usize) -> Vec<Vec<Line>> {
    let mut all = vec![
        throughput(status, width),
        store(status, width),
        latency("Latency", &status.latency, phase_name, width),
    ];
    all.extend([shards(status, width), memory(status, width)]);
    let certificates = status
        .certificates
        .iter()
        .map(|certificate| row(&shown(&certificate.name), &day_count(certificate.days_left), width));
    let refusals = status.refusals.iter().map(|refusal| {
        let name = format!("{}: {}", shown(&refusal.what), shown(&refusal.reason).replace('-', " "));
        table_row(&name, &[count(refusal.minute), count(refusal.total)], width)
    });
    all.extend([
        titled(table_row("Refusals", &["1 min".into(), "all".into()], width), refusals.collect()),
        titled(fit("Certificates", width), certificates.collect()),
    ]);
    all
}

fn throughput(status: &Status, width: usize) -> Vec<Line> {
    let of = &status.throughput;
    let each = [&of.now, &of.minute, &of.quarter_hour];
    let heading = ["now", "1 min", "15 min"].map(str::to_owned);
    let rows = vec![
        table_row("messages", &each.map(|rates| rate(rates.messages_per_second)), width),
        table_row("mail data", &each.map(|rates| bytes(whole(rates.bytes_per_second))), width),
        table_row("connections", &each.map(|rates| rate(rates.connections_per_second)), width),
        table_row("refused", &each.map(|rates| rate(rates.refusals_per_second)), width),
        row("connections open", &count(of.connections_open), width),
        row("messages since the start", &count(of.messages_total), width),
    ];
    let mut block = titled(table_row("A second", &heading, width), rows);
    let curve = sparkline(&of.messages_by_second, width);
    if !curve.is_empty() {
        block.push(Line::new(Tone::Soft, curve));
    }
    block
}

fn store(status: &Status, width: usize) -> Vec<Line> {
    let mut rows = Vec::new();
    for filter in &status.filters {
        let state = if filter.up { "up" } else { "down" };
        rows.push(row(&format!("filter {}", shown(&filter.filter)), state, width));
        let messages = [filter.answered_total, filter.refused_total, filter.unanswered_total].map(count);
        rows.push(row("answered / refused / without answer", &messages.join(" / "), width));
        let time = [filter.p50_us, filter.p99_us].map(|figure| or_dash(figure.map(micros)));
        rows.push(row("time with it, half / 99 %", &time.join(" / "), width));
    }
    if let Some(cluster) = &status.cluster {
        rows.push(row("stream of the cluster", if cluster.up { "up" } else { "down" }, width));
        rows.push(row("messages that wait for it", &count(cluster.in_flight), width));
        rows.push(row("acknowledged", &count(cluster.acknowledged_total), width));
        let others = [cluster.refused_total, cluster.unanswered_total].map(count);
        rows.push(row("not taken / no answer", &others.join(" / "), width));
        let time = [cluster.p50_us, cluster.p99_us].map(|figure| or_dash(figure.map(micros)));
        rows.push(row("half / 99 %", &time.join(" / "), width));
    }
    for sink in &status.sinks {
        rows.push(row(
            &format!("messages that wait ({})", shown(&sink.sink)),
            &count(sink.queue_messages),
            width,
        ));
        rows.push(row("oldest wait", &wait(sink.oldest_wait_seconds), width));
        rows.push(row("messages a batch", &or_dash(sink.batch_messages.map(rate)), width));
        let sync = [sink.sync_p50_us, sink.sync_p99_us].map(|figure| or_dash(figure.map(micros)));
        rows.push(row("sync, half / 99 %", &sync.join(" / "), width));
        rows.push(row("failures since the start", &count(sink.failures_total), width));
    }
    if let Some(room) = &status.room {
        rows.push(row("room for mail", &bytes(room.free_bytes), width));
        rows.extend(room.full_in_seconds.map(|left| row("full in", &seconds(left), width)));
    }
    if let Some(spool) = &status.spool {
        rows.push(row("not yet consumed", &bytes(spool.unconsumed_bytes), width));
        rows.push(row("consumer stands still for", &wait(spool.consumer_lag_seconds), width));
    }
    titled(fit("Store", width), rows)
}

fn shards(status: &Status, width: usize) -> Vec<Line> {
    let rows = status.shards.iter().map(|shard| {
        let figures =
            [or_dash(shard.busy.map(share)), rate(shard.messages_per_second), count(shard.connections_open)];
        table_row(&format!("{}", shard.shard), &figures, width)
    });
    let heading = ["busy", "msg/s", "open"].map(str::to_owned);
    titled(table_row("Shard", &heading, width), rows.collect())
}

fn memory(status: &Status, width: usize) -> Vec<Line> {
    let memory = &status.memory;
    let pinned = format!("{} of {}", count(memory.buffers_pinned), count(memory.buffers));
    let spilled = format!("{} in {}", bytes(memory.spill_bytes), count(memory.spill_files));
    let rows = vec![
        row("receive buffers", &pinned, width),
        row("blocks of mail data", &bytes(memory.blocks_used_bytes), width),
        row("spill files", &spilled, width),
    ];
    titled(fit("Memory", width), rows)
}

//! The status as lines of text: a pure function of its figures and of the width.
//!
//! Blocks of figures stand beside each other where there is room, each as wide as the others. The order says
//! what matters: whether mail is received, what is wrong, then the figures, then the events.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::admin::status::figures::{bytes, count, micros, rate, seconds, share, wait, whole};
use crate::admin::status::words::{day_count, phase_name, state_word};
use crate::admin::status::{Severity, State, Status};
use crate::escape::is_seen;
use crate::timestamp::Rfc3339;

/// A block is readable from this width on.
const BLOCK_COLUMNS_MIN: usize = 36;
/// Figures further away from their names are hard to follow.
const BLOCK_COLUMNS_MAX: usize = 56;
/// Between blocks.
const GAP: usize = 3;

/// What a line is, for a terminal that has colours. The words say it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
    Soft,
}

/// A line, of parts in tones of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line(Vec<(Tone, String)>);

impl Line {
    pub(super) fn new(tone: Tone, text: String) -> Self {
        Self(vec![(tone, text)])
    }

    fn empty() -> Self {
        Self(Vec::new())
    }

    /// The text with its line end.
    pub(super) fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        format!("{}\n", text.trim_end())
    }

    /// The text without a line end, in colours or only in bold.
    pub(super) fn write(&self, has_colour: bool, out: &mut String) {
        for (tone, text) in &self.0 {
            let code = match (tone, has_colour) {
                (Tone::Plain, _) | (Tone::Soft, false) => "",
                (Tone::Heading, _) | (Tone::Good | Tone::Warning | Tone::Bad, false) => "\x1b[1m",
                (Tone::Good, true) => "\x1b[1;32m",
                (Tone::Warning, true) => "\x1b[1;33m",
                (Tone::Bad, true) => "\x1b[1;31m",
                (Tone::Soft, true) => "\x1b[2m",
            };
            out.push_str(code);
            out.push_str(text);
            if !code.is_empty() {
                out.push_str("\x1b[0m");
            }
        }
    }

    fn columns(&self) -> usize {
        self.0.iter().map(|(_, text)| columns(text)).sum()
    }
}

/// The status in lines of at most so many columns.
pub(super) fn lines(status: &Status, width: usize) -> Vec<Line> {
    let mut all = figures(status, width);
    all.push(Line::empty());
    all.extend(events(status, width));
    all
}

/// All but the events.
pub(super) fn figures(status: &Status, width: usize) -> Vec<Line> {
    let mut all = head(status, width);
    let beside = ((width + GAP) / (BLOCK_COLUMNS_MIN + GAP)).clamp(1, 4);
    let block = ((width + GAP) / beside).saturating_sub(GAP).min(BLOCK_COLUMNS_MAX);
    all.extend(beside_each_other(blocks(status, block), beside, block));
    all
}

fn head(status: &Status, width: usize) -> Vec<Line> {
    let name = format!("ringmx {}", shown(&status.hostname));
    let about = [
        format!("version {}", shown(&status.version)),
        format!("generation {}", count(status.generation)),
        format!("up {}", seconds(status.uptime_seconds)),
    ];
    // A line ends between them, never within one.
    let about = about.map(|part| part.replace(' ', "\u{a0}")).join(", ");
    let errors = status.problems.iter().any(|problem| problem.severity == Severity::Error);
    let tone = match status.state {
        State::Idle | State::Receiving if status.problems.is_empty() => Tone::Good,
        State::Idle | State::Receiving | State::Draining if !errors => Tone::Warning,
        State::Idle | State::Receiving | State::Draining | State::NotReady => Tone::Bad,
    };
    let state = match status.problems.len() {
        0 => format!("{}: nothing is wrong", state_word(status.state)),
        1 => format!("{}: 1 problem", state_word(status.state)),
        number => format!("{}: {number} problems", state_word(status.state)),
    };
    let mut all = apart(Tone::Heading, &name, &about, width);
    all.extend(apart(tone, &state, &clock(status.at_unix_ms), width));
    for problem in &status.problems {
        let (tone, word) = match problem.severity {
            Severity::Error => (Tone::Bad, "Error"),
            Severity::Warning => (Tone::Warning, "Warning"),
        };
        all.extend(wrapped(tone, &format!("{word}: {}.", shown(&problem.what)), width, 2));
        all.extend(wrapped(Tone::Plain, &shown(&problem.cure), width, 4));
    }
    all.push(Line::empty());
    all
}

/// Two texts at the ends of a line, or below each other where they do not fit one.
fn apart(tone: Tone, left: &str, right: &str, width: usize) -> Vec<Line> {
    let room = width.saturating_sub(columns(left) + columns(right));
    if room < 2 {
        let mut all = vec![Line::new(tone, fit(left, width))];
        all.extend(wrapped(Tone::Soft, right, width, 0));
        return all;
    }
    vec![Line(vec![(tone, left.to_owned()), (Tone::Soft, " ".repeat(room) + right)])]
}

/// The figures, each block with its heading. What is empty has no block.
fn blocks(status: &Status, width: usize) -> Vec<Vec<Line>> {
    let mut all = vec![throughput(status, width), store(status, width), latency(status, width)];
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
    all.retain(|block| block.len() > 1);
    all
}

fn titled(heading: String, rows: Vec<String>) -> Vec<Line> {
    let rows = rows.into_iter().map(|text| Line::new(Tone::Plain, text));
    std::iter::once(Line::new(Tone::Heading, heading)).chain(rows).collect()
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

/// Messages a second up to now, a column for as many seconds as fit into 15 minutes.
fn sparkline(by_second: &[u64], width: usize) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = by_second.iter().copied().max().unwrap_or_default();
    if most == 0 || width < 10 {
        return String::new();
    }
    // A server of another version may keep more.
    let step = by_second.len().max(900).div_ceil(width);
    let columns = by_second.rchunks(step).rev();
    let highest = columns.map(|seconds| seconds.iter().copied().max().unwrap_or_default());
    highest
        .map(|value| {
            if value == 0 {
                return ' ';
            }
            let place = (u128::from(value) * 8).div_ceil(u128::from(most)).saturating_sub(1);
            usize::try_from(place).ok().and_then(|place| STEPS.get(place)).copied().unwrap_or('█')
        })
        .collect()
}

fn latency(status: &Status, width: usize) -> Vec<Line> {
    let rows = status.latency.iter().map(|phase| {
        let figures = [phase.p50_us, phase.p90_us, phase.p99_us].map(|figure| or_dash(figure.map(micros)));
        table_row(&shown(&phase_name(&phase.phase)), &figures, width)
    });
    let heading = ["half", "90 %", "99 %"].map(str::to_owned);
    titled(table_row("Latency", &heading, width), rows.collect())
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

/// The events with their heading, newest first.
pub(super) fn events(status: &Status, width: usize) -> Vec<Line> {
    let mut all = vec![Line::new(Tone::Heading, fit("Events, newest first", width))];
    for event in &status.events {
        let tone = match event.level.as_str() {
            "error" => Tone::Bad,
            "warning" => Tone::Warning,
            _ => Tone::Plain,
        };
        let time = clock(event.at_unix_ms);
        let text = format!("{} {} {}", shown(&event.level), shown(&event.event), shown(&event.text));
        let room = width.saturating_sub(columns(&time) + 1);
        if room < 20 {
            all.push(Line::new(tone, fit(&text, width)));
        } else {
            all.push(Line(vec![(Tone::Soft, time + " "), (tone, fit(&text, room))]));
        }
    }
    if status.events.is_empty() {
        all.push(Line::new(Tone::Plain, fit("nothing notable happened", width)));
    }
    all
}

/// Blocks in so many columns, each put where there is the most room.
fn beside_each_other(blocks: Vec<Vec<Line>>, number: usize, width: usize) -> Vec<Line> {
    let mut stacks: Vec<Vec<Line>> = vec![Vec::new(); number];
    for block in blocks {
        if let Some(stack) = stacks.iter_mut().min_by_key(|stack| stack.len()) {
            if !stack.is_empty() {
                stack.push(Line::empty());
            }
            stack.extend(block);
        }
    }
    let rows = stacks.iter().map(Vec::len).max().unwrap_or_default();
    let row = |row: usize| {
        let mut parts = Vec::new();
        let mut wanted = 0_usize;
        let mut there = 0;
        for stack in &stacks {
            if let Some(line) = stack.get(row).filter(|line| !line.0.is_empty()) {
                parts.push((Tone::Plain, " ".repeat(wanted.saturating_sub(there))));
                parts.extend(line.0.iter().cloned());
                there = wanted + line.columns();
            }
            wanted += width + GAP;
        }
        Line(parts)
    };
    (0..rows).map(row).collect()
}

/// A name at the left and its figure at the right. A figure is never cut before its name is.
fn row(name: &str, figure: &str, width: usize) -> String {
    let room = width.saturating_sub(columns(figure) + 1);
    let name = fit(name, room);
    let space = width.saturating_sub(columns(&name) + columns(figure));
    fit(&format!("{name}{}{figure}", " ".repeat(space)), width)
}

/// A name and figures below each other with those of the other rows.
fn table_row(name: &str, figures: &[String], width: usize) -> String {
    const FIGURE: usize = 8;
    let mut right = String::new();
    for figure in figures {
        let space = (FIGURE + 1).saturating_sub(columns(figure)).max(1);
        right += &" ".repeat(space);
        right += figure;
    }
    row(name, right.trim_start(), width)
}

/// Text in lines of at most so many columns, which all begin with so many spaces.
fn wrapped(tone: Tone, text: &str, width: usize, indent: usize) -> Vec<Line> {
    let mut all = Vec::new();
    let mut line = String::new();
    let indent = " ".repeat(indent.min(width / 4));
    for word in text.split(' ') {
        if !line.is_empty() && columns(&indent) + columns(&line) + 1 + columns(word) > width {
            all.push(fit(&(indent.clone() + &line), width));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    all.push(fit(&(indent + &line), width));
    all.into_iter().map(|text| Line::new(tone, text)).collect()
}

/// Text cut to so many columns; what is cut ends in `…`.
pub(super) fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += column(character);
        if used > width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// Text from anybody without anything that a terminal would act on.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' | '\u{a0}' => out.push(character),
            _ if !character.is_ascii() && is_seen(character) => out.push(character),
            _ => {
                // A string takes all.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
        }
    }
    out
}

fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// The columns of a character: two where it may be a wide one.
fn column(character: char) -> usize {
    match character {
        '\0'..'\u{1100}' | '\u{2000}'..'\u{2e80}' => 1,
        _ => 2,
    }
}

/// A point in time in UTC, to the second.
pub(super) fn clock(unix_ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    let text = Rfc3339(at).to_string();
    let second = text.split('.').next().unwrap_or_default();
    second.replacen('T', " ", 1) + "Z"
}

fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests;

//! The status of a forwarder as lines of text: a pure function of its figures and of the width.

use super::lines::{
    Head, Line, Tone, fit, in_columns, latency, or_dash, row, shown, sparkline, table_row, titled, wrapped,
};
use crate::admin::status::figures::{bytes, count, micros, rate, seconds, wait};
use crate::admin::status::forward::{Destination, ForwardState, ForwardStatus, Host};
use crate::admin::status::words::{forward_state_word, takes, waits_for};

/// All but the events.
pub(super) fn figures(status: &ForwardStatus, width: usize) -> Vec<Line> {
    let head = Head {
        name: format!("ringmx forwarder {}", shown(&status.hostname)),
        about: vec![
            format!("version {}", shown(&status.version)),
            format!("process {}", status.pid),
            format!("up {}", seconds(status.uptime_seconds)),
        ],
        word: forward_state_word(status.state),
        is_bad: status.state == ForwardState::NotReady,
        is_ending: status.state == ForwardState::Draining,
        problems: &status.problems,
        at_unix_ms: status.at_unix_ms,
    };
    let mut all = head.lines(width);
    all.extend(destinations(status, width));
    let blocks = |width| {
        vec![
            throughput(status, width),
            queue(status, width),
            latency("Delay", &status.delays, str::to_owned, width),
        ]
    };
    all.extend(in_columns(blocks, width));
    all
}

/// Each destination over the whole width, because why a next hop failed is long; and an empty line.
fn destinations(status: &ForwardStatus, width: usize) -> Vec<Line> {
    let mut all = Vec::new();
    for one in &status.destinations {
        all.push(Line::new(if one.up { Tone::Good } else { Tone::Bad }, state_of(one, width)));
        let waits = format!("{}, {} delivered", waits_for(one), count(one.delivered_total));
        all.extend(wrapped(Tone::Plain, &waits, width, 2));
        all.extend(one.hosts.iter().flat_map(|host| next_hop(host, width)));
    }
    if all.is_empty() {
        all.push(Line::new(Tone::Plain, fit("there is no destination", width)));
    }
    all.push(Line::empty());
    all
}

fn state_of(one: &Destination, width: usize) -> String {
    row(&shown(&one.destination), &takes(one), width)
}

fn next_hop(host: &Host, width: usize) -> Vec<Line> {
    let uses = format!(
        "{} open, {} of {} busy",
        count(host.connections_open),
        count(host.busy),
        count(host.concurrency)
    );
    let mut all = vec![Line::new(Tone::Plain, row(&format!("  {}", shown(&host.next_hop)), &uses, width))];
    // Why it failed last is history where it is up.
    if host.state != "up" {
        let probe = host.next_probe_in_seconds;
        let probe = probe.map_or_else(String::new, |at| format!(", tried again in {}", seconds(at)));
        let (state, time) = (shown(&host.state), seconds(host.state_seconds));
        let text = format!("{state} for {time}{probe}: {}", shown(&host.why));
        all.extend(wrapped(Tone::Bad, &text, width, 4));
    }
    all
}

fn throughput(status: &ForwardStatus, width: usize) -> Vec<Line> {
    let of = &status.throughput;
    let each = [&of.now, &of.minute, &of.quarter_hour];
    let heading = ["now", "1 min", "15 min"].map(str::to_owned);
    let rows = vec![
        table_row("delivered", &each.map(|rates| rate(rates.delivered_per_second)), width),
        table_row("put off", &each.map(|rates| rate(rates.deferred_per_second)), width),
        table_row("undeliverable", &each.map(|rates| rate(rates.undeliverable_per_second)), width),
        row("delivered since the start", &count(of.delivered_total), width),
        row("refused for good", &count(of.undeliverable_total), width),
        row("expired", &count(of.expired_total), width),
    ];
    let mut block = titled(table_row("A second", &heading, width), rows);
    let curve = sparkline(&of.delivered_by_second, width);
    if !curve.is_empty() {
        block.push(Line::new(Tone::Soft, curve));
    }
    block
}

fn queue(status: &ForwardStatus, width: usize) -> Vec<Line> {
    let queue = &status.queue;
    let dead = format!("{} in {}", bytes(queue.dead_bytes), count(queue.dead_messages));
    let notes =
        [queue.journal_sync_p50_us, queue.journal_sync_p99_us].map(|figure| or_dash(figure.map(micros)));
    let rows = vec![
        row("new mail in memory", &bytes(queue.window_bytes), width),
        row("in later", &bytes(queue.later_bytes), width),
        row("dead", &dead, width),
        row("notices that nobody takes", &count(queue.notices_held), width),
        row("messages that cannot be read", &count(queue.unreadable_messages), width),
        row("behind the spool", &wait(queue.log_lag_seconds), width),
        row("time to note, half / 99 %", &notes.join(" / "), width),
        row("notes that failed", &count(queue.journal_failures_total), width),
    ];
    titled(fit("Queue and journal", width), rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::sample::full_of_forwarder;

    fn text(status: &ForwardStatus, width: usize) -> String {
        figures(status, width).iter().map(Line::plain).collect::<String>().replace('\u{a0}', " ")
    }

    #[test]
    fn each_width_holds_the_figures_and_no_line_is_wider() {
        for width in [40, 80, 200] {
            let text = text(&full_of_forwarder(), width);
            for figure in [
                "mx1.example.org",
                "process 4711",
                "Forwarding: 1 problem",
                "See it.",
                "101",
                "122",
                "131",
                "151",
                "171 \u{b5}s",
                "smtp://a",
                "takes mail",
                "takes no mail for 3 min 5 s",
                "221 open, 231 of 211 busy",
                "301 fresh",
                "351 held",
                "401 MiB",
                "421 MiB in 431",
                "481",
                "491",
            ] {
                assert!(text.contains(figure), "{figure:?} at {width}:\n{text}");
            }
            let words: Vec<&str> = text.split_whitespace().collect();
            let said = words.join(" ");
            assert!(said.contains("tried again in 37 s: Connection refused"), "{text}");
        }
        for width in 0..300 {
            for line in figures(&full_of_forwarder(), width) {
                assert!(line.columns() <= width, "{} columns at {width}: {line:?}", line.columns());
            }
        }
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_as_it_is() {
        let hostile = || "\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{202e}".to_owned();
        let mut status = full_of_forwarder();
        (status.hostname, status.version) = (hostile(), hostile());
        status.delays[0].phase = hostile();
        let one = &mut status.destinations[1];
        (one.destination, one.hosts[0].next_hop) = (hostile(), hostile());
        (one.hosts[0].why, one.hosts[0].state) = (hostile(), hostile());
        for line in figures(&status, 80) {
            let text = line.plain();
            let text = text.strip_suffix('\n').expect("a line end");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }

    #[test]
    fn without_destinations_or_figures_there_are_lines_still() {
        assert!(text(&ForwardStatus::default(), 80).contains("there is no destination"));
    }
}

//! What a terminal shows of a status, at every width.

use super::super::said::Said;
use super::*;
use crate::admin::status::Status;
use crate::admin::status::sample::full;

fn lines(status: &Status, width: usize) -> Vec<Line> {
    Said::Receiver(Box::new(status.clone())).lines(width)
}

fn text(status: &Status, width: usize) -> String {
    lines(status, width).iter().map(Line::plain).collect::<String>().replace('\u{a0}', " ")
}

/// The figures that a narrow terminal shows, too.
const FIGURES: [&str; 27] = [
    "mx1.example.org",
    "0.1.0-a",
    "generation 17",
    "3 d 4 h",
    "Receiving: 1 problem",
    "2026-12-01 00:00:00Z",
    "something slow",
    "See it.",
    "101",
    "102 KiB",
    "124",
    "131",
    "5 000 141",
    "171 µs",
    "19.1 ms",
    "22 %",
    "211",
    "201",
    "254",
    "261",
    "263",
    "281",
    "421 GiB",
    "215 d 12 h",
    "321 of 331",
    "44 days",
    "error store_full",
];

#[test]
fn each_width_holds_the_figures_and_no_line_is_wider() {
    for width in [40, 80, 200] {
        let text = text(&full(), width);
        for figure in FIGURES {
            assert!(text.contains(figure), "{figure:?} at {width}:\n{text}");
        }
    }
    for width in 0..300 {
        for line in lines(&full(), width) {
            assert!(line.columns() <= width, "{} columns at {width}: {line:?}", line.columns());
        }
    }
}

/// Of another version, or of no ringmx.
#[test]
fn figures_out_of_all_bounds_have_lines() {
    let mut status = full();
    status.throughput.messages_by_second = (1..5000).collect();
    for certificate in &mut status.certificates {
        certificate.name = "x".repeat(1000);
    }
    for shard in &mut status.shards {
        (shard.shard, shard.connections_open) = (usize::MAX as _, u64::MAX);
        shard.messages_per_second = f64::MAX;
    }
    for width in 0..300 {
        let curve = sparkline(&status.throughput.messages_by_second, width);
        assert!(columns(&curve) <= width, "{curve}");
        assert!(!lines(&status, width).is_empty());
    }
}

#[test]
fn nothing_from_outside_reaches_the_terminal_as_it_is() {
    let hostile = || "\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{202e}\u{200b}日本".to_owned();
    let mut status = full();
    status.hostname = hostile();
    status.version = hostile();
    status.problems = vec![Problem { severity: Severity::Error, what: hostile(), cure: hostile() }];
    status.latency[0].phase = hostile();
    status.refusals[0].what = hostile();
    status.refusals[0].reason = hostile();
    status.sinks[0].sink = hostile();
    status.certificates[0].name = hostile();
    status.events = vec![Event { at_unix_ms: u64::MAX, level: hostile(), event: hostile(), text: hostile() }];
    for width in [40, 80, 200] {
        for line in lines(&status, width) {
            let text = line.plain();
            let text = text.strip_suffix('\n').expect("a line end");
            assert!(!text.contains(|c: char| c.is_control() || "\u{202e}\u{200b}".contains(c)), "{text:?}");
            assert!(line.columns() <= width);
        }
    }
}

#[test]
fn colours_only_repeat_what_the_words_say() {
    let all = lines(&full(), 80);
    let written = |has_colour| {
        let mut out = String::new();
        for line in &all {
            line.write(has_colour, &mut out);
        }
        out
    };
    assert!(written(true).contains("\x1b[1;33mReceiving: 1 problem\x1b[0m"));
    assert!(!written(false).contains("\x1b[1;3"), "bold at most");
}

#[test]
fn the_curve_ends_with_now_and_is_as_tall_as_its_peak() {
    assert_eq!(sparkline(&[0; 900], 40), "");
    let mut seconds = vec![0; 900];
    seconds[899] = 8;
    seconds[0] = 1;
    let curve = sparkline(&seconds, 40);
    assert_eq!(curve.chars().count(), 40);
    assert!(curve.starts_with('▁') && curve.ends_with('█'), "{curve:?}");
    assert_eq!(sparkline(&[u64::MAX, 1], 40).chars().count(), 1);
}

#[test]
fn what_does_not_fit_ends_in_an_ellipsis() {
    assert_eq!(
        [fit("abcdef", 6), fit("abcdef", 4), fit("日本語", 4), fit("x", 0)],
        ["abcdef", "abc…", "日…", ""]
    );
    assert_eq!(row("a long name", "12", 8), "a lo… 12");
}

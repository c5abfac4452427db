//! `loadgen compare`: reports side by side, with ratios, and a mark at differences that may be noise.
//!
//! The rule for noise: each side has a range of values. It spans its runs and, while there are fewer than
//! `RUNS_MIN` of them, the parts of these runs as well (`parts` of a report). Where the ranges of both sides
//! meet, the difference is no larger than what one side does by itself.

mod side;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::arguments::compare::CompareArguments;
use crate::latency::Phase;
use crate::output;
use crate::paragraph::hanging;
use side::{Number, RUNS_MIN, Side};

/// A report cannot be read, or the table cannot be printed.
const USAGE: u8 = 2;

/// Reads the reports, and prints the table.
pub fn main(arguments: &CompareArguments) -> ExitCode {
    match compare(arguments).and_then(|table| output::print(&table)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            output::complain(errors);
            ExitCode::from(USAGE)
        }
    }
}

fn compare(arguments: &CompareArguments) -> Result<String, String> {
    let CompareArguments { files, with, all } = arguments;
    let (one, two) = match (&files[..], &with[..]) {
        ([one, two], []) => (std::slice::from_ref(one), std::slice::from_ref(two)),
        (_, []) => {
            return Err("compare takes two reports, or several --with several: \
                        compare before-*.json --with after-*.json"
                .into());
        }
        (one, two) => (one, two),
    };
    match (Side::read(one), Side::read(two)) {
        (Ok(one), Ok(two)) => Ok(table([&one, &two], *all)),
        (one, two) => {
            Err([one.err(), two.err()].into_iter().flatten().collect::<Vec<_>>().join("\nloadgen: "))
        }
    }
}

/// What runs were asked to do, and where: where it differs, ratios compare two things at once.
const CONFIGURATION: [&str; 20] = [
    "target",
    "scenario",
    "beside",
    "source",
    "rate",
    "connections",
    "message",
    "recipients",
    "messages_per_session",
    "pipelining",
    "pipelining_depth",
    "bdat_chunk_bytes",
    "tls",
    "tls_name",
    "tls_verified",
    "tls_resumption",
    "tls_negotiated",
    "host",
    "system",
    "version",
];

/// Those that are always shown.
const FIRST: [Number; 5] = [
    Number { name: "messages/s", path: &["messages_per_second"], part: Some(&["messages_per_second"]) },
    transaction(
        "latency p50, µs",
        &["latency_microseconds", "transaction", "p50"],
        &["transaction_microseconds", "p50"],
    ),
    transaction(
        "latency p99, µs",
        &["latency_microseconds", "transaction", "p99"],
        &["transaction_microseconds", "p99"],
    ),
    transaction(
        "latency p99.9, µs",
        &["latency_microseconds", "transaction", "p99.9"],
        &["transaction_microseconds", "p99.9"],
    ),
    transaction(
        "latency max, µs",
        &["latency_microseconds", "transaction", "max"],
        &["transaction_microseconds", "max"],
    ),
];

const fn transaction(
    name: &'static str,
    path: &'static [&'static str],
    part: &'static [&'static str],
) -> Number<'static> {
    Number { name, path, part: Some(part) }
}

/// Those of the whole run that `--all` adds.
const MORE: [Number; 7] = [
    Number { name: "MB/s", path: &["megabytes_per_second"], part: Some(&["megabytes_per_second"]) },
    Number { name: "refusals/s", path: &["refusals_per_second"], part: None },
    Number { name: "sessions/s", path: &["sessions_per_second"], part: None },
    Number { name: "connections/s", path: &["connections_per_second"], part: None },
    Number { name: "handshakes/s", path: &["handshakes_per_second"], part: None },
    Number { name: "handshakes resumed, %", path: &["handshakes_resumed_percent"], part: None },
    Number { name: "own CPU, µs a message", path: &["cpu_microseconds_per_message"], part: None },
];

const PERCENTILES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn table(sides: [&Side; 2], all: bool) -> String {
    let mut text = String::new();
    for (letter, side) in ["a: ", "b: "].into_iter().zip(sides) {
        text += &hanging(letter, 3, &side.describe());
    }
    for key in CONFIGURATION {
        if let [Some(one), Some(two)] = sides.map(|side| side.configuration(key))
            && (one != two || one.len() > 1)
        {
            let [one, two] = [one, two].map(|values| values.join(" and "));
            text += &hanging("differs: ", 4, &format!("{key}: {one} in a, {two} in b"));
        }
    }
    let _ = writeln!(text, "\n{:<26} {:>12} {:>12} {:>8}", "", "a", "b", "b/a");
    let mut marks = Vec::new();
    for number in FIRST {
        text += &line(number, sides, &mut marks);
    }
    if all {
        text.push('\n');
        for number in MORE {
            text += &line(number, sides, &mut marks);
        }
        for phase in Phase::ALL {
            for percentile in PERCENTILES {
                let shown = FIRST.iter().any(|first| first.path.ends_with(&[phase.name(), percentile]));
                if !shown {
                    let name = format!("{} {percentile}, µs", phase.name());
                    let path = ["latency_microseconds", phase.name(), percentile];
                    text += &line(Number { name: &name, path: &path, part: None }, sides, &mut marks);
                }
            }
        }
    }
    let runs = sides.map(Side::runs).into_iter().min().unwrap_or(0);
    let foot = [
        ("noise", "noise: the ranges of both sides meet, so the difference may be none."),
        ("?", "?: nothing tells how much this number varies by itself."),
    ];
    let mut foot: Vec<&str> =
        foot.into_iter().filter(|(mark, _)| marks.contains(mark)).map(|(_, words)| words).collect();
    if runs < RUNS_MIN {
        foot.push("Runs differ more than parts of a run: compare three or more of each side, made in turn.");
    }
    if !foot.is_empty() {
        text.push('\n');
    }
    for words in foot {
        text += &hanging("", 2, words);
    }
    text
}

/// The line of a number; empty where a side lacks the number, or both have 0.
fn line(number: Number<'_>, sides: [&Side; 2], marks: &mut Vec<&'static str>) -> String {
    let [Some(one), Some(two)] = sides.map(|side| side.value(number)) else { return String::new() };
    if one.median <= 0.0 && two.median <= 0.0 {
        return String::new();
    }
    let ratio = if one.median > 0.0 { format!("{:.3}", two.median / one.median) } else { "-".to_owned() };
    let mark = match (one.range, two.range) {
        (Some(one), Some(two)) if one.0 <= two.1 && two.0 <= one.1 => "noise",
        (Some(_), Some(_)) => "",
        _ => "?",
    };
    marks.push(mark);
    let line = format!("{:<26} {:>12.1} {:>12.1} {ratio:>8}  {mark}", number.name, one.median, two.median);
    format!("{}\n", line.trim_end())
}

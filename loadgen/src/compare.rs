//! `loadgen compare`: two reports side by side, with ratios.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

/// A report cannot be read.
const USAGE: u8 = 2;

/// Reads both, and prints the table.
pub fn main(a: &Path, b: &Path) -> ExitCode {
    match (read(a), read(b)) {
        (Ok(one), Ok(two)) => {
            print!("{}", table([&a.display().to_string(), &b.display().to_string()], [&one, &two]));
            ExitCode::SUCCESS
        }
        (one, two) => {
            for error in [one.err(), two.err()].into_iter().flatten() {
                eprintln!("loadgen: {error}");
            }
            ExitCode::from(USAGE)
        }
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("reading {}: {what}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    match report.get("result") {
        Some(Value::Object(_)) => Ok(report),
        Some(_) => Err(wrong(&"the run has no result, and nothing to compare")),
        None => Err(wrong(&"it is no report of loadgen --json")),
    }
}

/// What runs were asked to do: where it differs, ratios compare two things at once.
const CONFIGURATION: [&str; 15] = [
    "target",
    "scenario",
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
];

const NUMBERS: [(&str, &str); 6] = [
    ("messages/s", "messages_per_second"),
    ("MB/s", "megabytes_per_second"),
    ("connections/s", "connections_per_second"),
    ("handshakes/s", "handshakes_per_second"),
    ("handshakes resumed, %", "handshakes_resumed_percent"),
    ("own CPU, µs a message", "cpu_microseconds_per_message"),
];

const PERCENTILES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn table(names: [&str; 2], reports: [&Value; 2]) -> String {
    let mut text = format!("a: {}\nb: {}\n", names[0], names[1]);
    for key in CONFIGURATION {
        let [one, two] = reports.map(|report| report.get(key).unwrap_or(&Value::Null));
        if one != two {
            let _ = writeln!(text, "differs: {key}: {one} in a, {two} in b");
        }
    }
    let _ = writeln!(text, "\n{:<26} {:>12} {:>12} {:>8}", "", "a", "b", "b/a");
    let mut line = |name: &str, values: [Option<f64>; 2]| {
        if let [Some(one), Some(two)] = values
            && (one > 0.0 || two > 0.0)
        {
            let ratio = if one > 0.0 { format!("{:.3}", two / one) } else { "-".to_owned() };
            let _ = writeln!(text, "{name:<26} {one:>12.1} {two:>12.1} {ratio:>8}");
        }
    };
    let results = reports.map(|report| &report["result"]);
    for (name, key) in NUMBERS {
        line(name, results.map(|result| result[key].as_f64()));
    }
    for phase in crate::histogram::Phase::ALL {
        for percentile in PERCENTILES {
            let value = |result: &Value| result["latency_microseconds"][phase.name()][percentile].as_f64();
            line(&format!("{} {percentile}, µs", phase.name()), results.map(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_stand_side_by_side_and_differences_are_told() {
        let report = |rate: f64, p99: u64, connections: u64| {
            json!({
                "connections": connections,
                "result": {
                    "messages_per_second": rate,
                    "latency_microseconds": { "transaction": { "p99": p99 } },
                },
            })
        };
        let text = table(["x", "y"], [&report(1000.0, 400, 50), &report(1500.0, 200, 60)]);
        assert!(text.contains("differs: connections: 50 in a, 60 in b"), "{text}");
        let line = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).expect("a line");
            line[26..].split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(line("messages/s"), ["1000.0", "1500.0", "1.500"]);
        assert_eq!(line("transaction p99, µs")[2..], ["0.500"]);
    }
}

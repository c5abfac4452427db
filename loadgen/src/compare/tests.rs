use serde_json::{Value, json};

use super::*;
use crate::paragraph::COLUMNS;

/// A run with this rate and p99, in whose parts the rate varies by so many percent.
fn report(rate: f64, p99: f64, percent: Option<f64>) -> Value {
    let parts: Vec<Value> = percent.map_or(Vec::new(), |percent| {
        let part = |index: usize| {
            let by = 1.0 + percent / 100.0 * (index as f64 / 3.5 - 1.0);
            json!({ "messages_per_second": rate * by, "transaction_microseconds": { "p99": p99 * by } })
        };
        (0..8).map(part).collect()
    });
    json!({
        "connections": 50,
        "result": {
            "messages_per_second": rate,
            "cpu_microseconds_per_message": 12.5,
            "latency_microseconds": { "transaction": { "p99": p99, "p90": 9 }, "accepted": { "p50": 7 } },
            "parts": parts,
        },
    })
}

fn words(table: &str, start: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.starts_with(start)).expect("a line");
    line[start.len()..].split_whitespace().map(str::to_owned).collect()
}

#[test]
fn numbers_stand_side_by_side_and_differences_are_told() {
    let (one, mut two) = (report(1000.0, 400.0, Some(1.0)), report(1500.0, 200.0, Some(1.0)));
    two["connections"] = 60.into();
    two["version"] = "2".into();
    let sides = [Side::of(vec![one]), Side::of(vec![two])];
    let text = table([&sides[0], &sides[1]], false);
    assert!(text.contains("differs: connections: 50 in a, 60 in b"), "{text}");
    // A report of an older loadgen does not tell its version.
    assert!(!text.contains("version") && !text.contains("accepted") && !text.contains("CPU"), "{text}");
    assert_eq!(words(&text, "messages/s"), ["1000.0", "1500.0", "1.500"]);
    assert_eq!(words(&text, "latency p99, µs"), ["400.0", "200.0", "0.500"]);
    let text = table([&sides[0], &sides[1]], true);
    assert_eq!(words(&text, "own CPU, µs a message"), ["12.5", "12.5", "1.000", "?"]);
    assert_eq!(words(&text, "accepted p50, µs"), ["7.0", "7.0", "1.000", "?"]);
    assert_eq!(text.matches("p99, µs").count(), 1);
}

#[test]
fn a_difference_within_what_a_run_does_by_itself_is_noise() {
    let mark = |rate: f64, percent| {
        let sides =
            [Side::of(vec![report(1000.0, 400.0, percent)]), Side::of(vec![report(rate, 400.0, percent)])];
        words(&table([&sides[0], &sides[1]], false), "messages/s").get(3).cloned().unwrap_or_default()
    };
    assert_eq!(mark(1030.0, Some(2.0)), "noise");
    assert_eq!(mark(970.0, Some(2.0)), "noise");
    assert_eq!(mark(1030.0, Some(1.0)), "");
    assert_eq!(mark(970.0, Some(1.0)), "");
    assert_eq!(mark(1000.0, Some(0.0)), "noise");
    assert_eq!(mark(3000.0, None), "?");
}

#[test]
fn several_runs_are_their_median_and_their_range() {
    let side = |rates: &[f64]| Side::of(rates.iter().map(|rate| report(*rate, 400.0, Some(30.0))).collect());
    let line = |one: &[f64], two: &[f64]| words(&table([&side(one), &side(two)], false), "messages/s");
    // Three runs are judged by themselves, fewer with their parts, too.
    assert_eq!(line(&[1000.0, 1100.0, 1010.0], &[1200.0, 1190.0, 1300.0]), ["1010.0", "1200.0", "1.188"]);
    assert_eq!(
        line(&[1000.0, 1100.0, 1010.0], &[1200.0, 1090.0, 1300.0]),
        ["1010.0", "1200.0", "1.188", "noise"]
    );
    assert_eq!(line(&[1000.0, 1100.0], &[1200.0, 1190.0]), ["1050.0", "1195.0", "1.138", "noise"]);
    let even = table([&side(&[1.0, 2.0, 3.0]), &side(&[4.0, 5.0, 6.0])], false);
    assert!(even.contains("medians of 3") && !even.contains("Runs differ more"), "{even}");
}

#[test]
fn the_table_fits_a_terminal() {
    let mut long = report(12_345_678.9, 3_600_000_000.0, Some(1.0));
    long["target"] = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".into();
    let sides = [Side::of(vec![report(1000.0, 1.0, Some(1.0)); 9]), Side::of(vec![long; 9])];
    let text = table([&sides[0], &sides[1]], true);
    assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
}

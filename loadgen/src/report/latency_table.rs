//! The table of latencies, a line a phase, in 80 columns.

use std::fmt;

use crate::latency::Percentiles;

/// Latencies by phase, in a unit in which the longest one fits.
pub struct LatencyTable<'a>(pub &'a [(&'static str, Percentiles)]);

/// From this many microseconds on the table is in milliseconds.
const MICROSECONDS_COLUMN_MAX: u64 = 10_000_000;

impl fmt::Display for LatencyTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.0.iter().map(|(_, latency)| latency.max).max().unwrap_or(0);
        let (unit, told): (_, fn(u64) -> String) = if longest < MICROSECONDS_COLUMN_MAX {
            ("µs", |microseconds| microseconds.to_string())
        } else {
            ("ms", milliseconds)
        };
        writeln!(
            f,
            "  {:<12} {:>9} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
            format!("latency, {unit}"),
            "count",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "max"
        )?;
        for (name, latency) in self.0 {
            let Percentiles { count, p50, p90, p99, p999, p9999, max } = *latency;
            if count > 0 {
                write!(f, "  {name:<12} {count:>9}")?;
                for value in [p50, p90, p99, p999, p9999, max] {
                    write!(f, " {:>7}", told(value))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// Three significant digits: the histogram knows no more.
fn milliseconds(microseconds: u64) -> String {
    let value = microseconds as f64 / 1e3;
    let decimals = match value {
        value if value < 0.9995 => 3,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Phase;
    use crate::paragraph::COLUMNS;

    #[test]
    fn the_table_fits_whatever_the_numbers() {
        let of = |count, max: u64| Percentiles {
            count,
            p50: max / 20_000,
            p90: max / 5_000,
            p99: max / 300,
            p999: max / 20,
            p9999: max,
            max,
        };
        for (count, max) in
            [(1, 1), (9_999_999, 9_999_999), (99_999_999, 10_000_000), (1 << 40, 3_600_000_000)]
        {
            let phases = Phase::ALL.map(|phase| (phase.name(), of(count, max)));
            let table = LatencyTable(&phases).to_string();
            assert_eq!(table.lines().count(), 1 + Phase::ALL.len());
            assert!(table.lines().all(|line| line.chars().count() <= COLUMNS), "{table}");
            let words = table.lines().map(|line| line.split_whitespace().count());
            assert_eq!(
                words.collect::<Vec<_>>(),
                [[9].as_slice(), &[8; Phase::ALL.len()]].concat(),
                "{table}"
            );
        }
        assert_eq!(
            [150, 1_500, 12_345, 999_960, 3_600_000_000].map(milliseconds),
            ["0.150", "1.50", "12.3", "1000", "3600000"]
        );
    }
}

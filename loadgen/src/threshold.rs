//! `--fail-if`: a number of the report that must not be above, or below, a bound.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::histogram::{Percentiles, Phase};
use crate::report::Report;

/// Which number.
#[derive(Debug, Clone, Copy)]
enum Metric {
    /// A latency of a phase, in microseconds.
    Latency(Phase, Percentile),
    /// Messages a second.
    Rate,
    /// Megabytes a second.
    Megabytes,
    /// TLS handshakes a second.
    Handshakes,
    /// TLS handshakes of a hundred that resumed a session.
    Resumed,
    /// Failures.
    Errors,
    /// Messages begun late.
    Late,
    /// Messages due and not sent.
    Unsent,
}

/// A bound that was given.
#[derive(Debug, Clone)]
pub struct Threshold {
    text: String,
    metric: Metric,
    /// Whether it holds above the bound, or else below.
    above: bool,
    /// In the metric's unit.
    bound: f64,
}

/// Takes one percentile out of all.
type Percentile = fn(&Percentiles) -> u64;

/// Percentiles by name.
const PERCENTILES: [(&str, Percentile); 6] = [
    ("p50", |percentiles| percentiles.p50),
    ("p90", |percentiles| percentiles.p90),
    ("p99", |percentiles| percentiles.p99),
    ("p99.9", |percentiles| percentiles.p999),
    ("p99.99", |percentiles| percentiles.p9999),
    ("max", |percentiles| percentiles.max),
];

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (phase, name) = match text.split_once('.') {
            Some((phase, name)) if !phase.starts_with('p') => (phase, name),
            _ => ("transaction", text),
        };
        let phase = Phase::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(phase));
        let percentile = PERCENTILES.iter().find(|(known, _)| *known == name);
        match (text, phase, percentile) {
            ("rate", ..) => Ok(Self::Rate),
            ("mb", ..) => Ok(Self::Megabytes),
            ("handshakes", ..) => Ok(Self::Handshakes),
            ("resumed", ..) => Ok(Self::Resumed),
            ("errors", ..) => Ok(Self::Errors),
            ("late", ..) => Ok(Self::Late),
            ("unsent", ..) => Ok(Self::Unsent),
            (_, Some(phase), Some((_, value))) => Ok(Self::Latency(phase, *value)),
            _ => Err(format!(
                "{text:?} is no metric; there are rate, mb, handshakes, resumed, errors, late, unsent, and p50 p90 p99 p99.9 \
                 p99.99 max, of a phase if it stands in front (accepted.p99)"
            )),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or("a threshold is METRIC>BOUND or METRIC<BOUND")?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
        let metric: Metric = name.parse()?;
        let bound = if let Metric::Latency(..) = metric {
            let time = humantime::parse_duration(bound).map_err(|error| format!("{bound:?}: {error}"))?;
            time.as_secs_f64() * 1e6
        } else {
            bound
                .trim_end_matches("/s")
                .trim_end_matches('%')
                .parse()
                .map_err(|_| format!("{bound:?} is no number"))?
        };
        Ok(Self { text: text.to_owned(), metric, above: text[at..].starts_with('>'), bound })
    }
}

impl Threshold {
    fn value(&self, report: &Report<'_>) -> f64 {
        let tally = &report.outcome.tally;
        match self.metric {
            Metric::Latency(phase, value) => value(&report.latency(phase)) as f64,
            Metric::Rate => report.rate(),
            Metric::Megabytes => report.megabytes_rate(),
            Metric::Handshakes => report.handshakes_rate(),
            Metric::Resumed => tally.handshakes.resumed_percent(),
            Metric::Errors => tally.failures.count as f64,
            Metric::Late => tally.late as f64,
            Metric::Unsent => tally.unsent as f64,
        }
    }

    /// Whether the run is to fail for it.
    pub fn holds(&self, report: &Report<'_>) -> bool {
        self.is_beyond(self.value(report))
    }

    fn is_beyond(&self, value: f64) -> bool {
        if self.above { value > self.bound } else { value < self.bound }
    }

    /// The threshold and the number it was held against.
    pub fn describe(&self, report: &Report<'_>) -> impl fmt::Display {
        let value = self.value(report);
        match self.metric {
            Metric::Latency(..) => {
                let time = Duration::from_secs_f64(value / 1e6);
                format!("--fail-if '{}': it is {time:?}, and so the threshold", self.text)
            }
            _ => format!("--fail-if '{}': it is {value:.1}, and so the threshold", self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_have_a_metric_a_side_and_a_unit() {
        let parse = |text: &str| text.parse::<Threshold>();
        let p99 = parse("p99>5ms").expect("a threshold");
        assert!(p99.is_beyond(5001.0) && !p99.is_beyond(5000.0));
        let rate = parse("rate < 20000/s").expect("a threshold");
        assert!(rate.is_beyond(19_999.0) && !rate.is_beyond(20_000.0));
        for good in [
            "accepted.p99.9>1s",
            "tls.max>1s",
            "handshakes<900/s",
            "resumed<95%",
            "errors>0",
            "unsent>0",
            "late>10",
            "mb<5",
            "p99.99>1us",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for wrong in ["", "p99", "p98>1ms", "p99>5", "rate>x", "nothing.p99>1s", "p99=1s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

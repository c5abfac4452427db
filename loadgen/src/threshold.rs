//! `--fail-if`: a number of the report that must not be above, or below, a bound.

use std::str::FromStr;

use crate::latency::{Percentiles, Phase};
use crate::units::{time, time_chosen, trimmed};

/// Which number of a run.
#[derive(Debug, Clone, Copy)]
pub enum Metric {
    /// A latency of a phase, in microseconds.
    Latency(Phase, Percentile),
    /// Messages a second.
    Rate,
    /// Megabytes a second.
    Megabytes,
    /// TLS handshakes a second.
    Handshakes,
    /// RCPT refused a second, of those that are to be.
    Refusals,
    /// Sessions a second: of bots those that went as their kind means to, of others those that went to QUIT.
    Sessions,
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
    /// As it was given.
    pub text: String,
    /// The metric, as it was given.
    pub name: String,
    /// What is measured.
    pub metric: Metric,
    /// Whether a run fails above the bound; otherwise it fails below.
    above: bool,
    /// In the metric's unit. Finite, and not below zero.
    bound: f64,
}

/// Takes one percentile out of all.
pub type Percentile = fn(&Percentiles) -> u64;

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
            ("refusals", ..) => Ok(Self::Refusals),
            ("sessions", ..) => Ok(Self::Sessions),
            ("errors", ..) => Ok(Self::Errors),
            ("late", ..) => Ok(Self::Late),
            ("unsent", ..) => Ok(Self::Unsent),
            (_, Some(phase), Some((_, value))) => Ok(Self::Latency(phase, *value)),
            _ => Err(format!(
                "{text:?} is no metric; there are rate, mb, handshakes, resumed, refusals, sessions, errors, late, unsent, \
                 and p50 p90 p99 p99.9 p99.99 max, of a phase if it stands in front (accepted.p99)"
            )),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or("a threshold is METRIC>BOUND or METRIC<BOUND")?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
        if bound.starts_with('=') {
            return Err("a threshold is METRIC>BOUND or METRIC<BOUND; the bound itself is good".into());
        }
        let metric: Metric = name.parse()?;
        let bound = if let Metric::Latency(..) = metric {
            let time = humantime::parse_duration(bound).map_err(|error| format!("{bound:?}: {error}"))?;
            time.as_secs_f64() * 1e6
        } else {
            let number = bound.strip_suffix(metric.unit()).unwrap_or(bound).trim().parse().ok();
            // No value is above or below a bound that is not a number.
            number.filter(|bound: &f64| bound.is_finite() && *bound >= 0.0).ok_or_else(|| {
                let or = if metric.unit().is_empty() { "" } else { ", or with its unit: " };
                let example = if or.is_empty() { String::new() } else { format!("20{}", metric.unit()) };
                format!("{bound:?} is no bound such as 20{or}{example}")
            })?
        };
        Ok(Self {
            text: text.to_owned(),
            name: name.to_owned(),
            metric,
            above: text[at..].starts_with('>'),
            bound,
        })
    }
}

impl Metric {
    /// What follows its numbers.
    fn unit(self) -> &'static str {
        match self {
            Self::Rate | Self::Megabytes | Self::Handshakes | Self::Refusals | Self::Sessions => "/s",
            Self::Resumed => "%",
            Self::Latency(..) | Self::Errors | Self::Late | Self::Unsent => "",
        }
    }

    /// Whether it says something about a run without a result, too.
    pub fn is_count(self) -> bool {
        match self {
            Self::Errors | Self::Late | Self::Unsent => true,
            Self::Latency(..)
            | Self::Rate
            | Self::Megabytes
            | Self::Handshakes
            | Self::Resumed
            | Self::Refusals
            | Self::Sessions => false,
        }
    }
}

impl Threshold {
    /// Whether a run with this value is to fail.
    pub fn is_beyond(&self, value: f64) -> bool {
        if self.above { value > self.bound } else { value < self.bound }
    }

    /// The number and the bound, in words.
    pub fn describe(&self, value: f64) -> String {
        let not = if self.is_beyond(value) { "" } else { "not " };
        let side = if self.above { "over" } else { "under" };
        let (shown, bound) = if let Metric::Latency(..) = self.metric {
            // Where rounding would hide the difference all digits are shown.
            let close = time(value) == time(self.bound);
            let shown = if close { format!("{} µs", trimmed(value)) } else { time(value) };
            (shown, time_chosen(self.bound))
        } else {
            let close = (value - self.bound).abs() < 1.0;
            let shown = if close || value < 100.0 { trimmed(value) } else { format!("{value:.0}") };
            let unit = self.metric.unit();
            (format!("{shown}{unit}"), format!("{}{unit}", trimmed(self.bound)))
        };
        format!("{} is {shown}, {not}{side} {bound}", self.name)
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
            "resumed < 95 %",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "p99",
            "p98>1ms",
            "p99>5",
            "rate>x",
            "nothing.p99>1s",
            "p99=1s",
            "p99>=1s",
            "rate<NaN",
            "rate>inf",
            "errors>-1",
            "errors>0/s",
            "rate<5/s/s",
            "late>1%",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_judgement_tells_the_number_the_side_and_the_bound() {
        let describe =
            |text: &str, value: f64| text.parse::<Threshold>().expect("a threshold").describe(value);
        for (threshold, value, words) in [
            ("p99>1ms", 25_100.0, "p99 is 25.1 ms, over 1 ms"),
            ("p99>1ms", 812.0, "p99 is 812 µs, not over 1 ms"),
            ("accepted.p99.9 < 1500us", 900.0, "accepted.p99.9 is 900 µs, under 1.5 ms"),
            ("p50>5ms", 5_001.0, "p50 is 5001 µs, over 5 ms"),
            ("max>5ms", 5_000.0, "max is 5000 µs, not over 5 ms"),
            ("rate<20000/s", 18_500.4, "rate is 18500/s, under 20000/s"),
            ("rate<20000", 19_999.7, "rate is 19999.7/s, under 20000/s"),
            ("rate<20000", 31_000.0, "rate is 31000/s, not under 20000/s"),
            ("resumed<95%", 0.0, "resumed is 0%, under 95%"),
            ("errors>0", 3.0, "errors is 3, over 0"),
            ("mb<5", 4.25, "mb is 4.25/s, under 5/s"),
        ] {
            assert_eq!(describe(threshold, value), words);
        }
    }
}

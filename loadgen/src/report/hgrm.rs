//! A report for the tools of HdrHistogram.

use std::fmt::Write as _;

use super::Report;
use crate::latency::Percentiles;

impl Report<'_> {
    /// The latency of transactions, or of sessions where no mail was accepted, in HdrHistogram's percentile
    /// format, in milliseconds.
    pub fn hgrm(&self) -> String {
        let latencies = &self.outcome.tally.latencies;
        let mut text = format!(
            "{:>12} {:>14} {:>10} {:>14}\n\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        for (quantile, microseconds, count) in latencies.curve(self.subject()) {
            let value = microseconds as f64 / 1e3;
            let _ = write!(text, "{value:12.3} {quantile:2.12} {count:10}");
            let _ = if quantile < 1.0 {
                writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile))
            } else {
                writeln!(text)
            };
        }
        let (mean, deviation) = latencies.mean_and_deviation(self.subject());
        let Percentiles { count, max, .. } = self.latency(self.subject());
        let [mean, deviation, max] = [mean, deviation, max as f64].map(|microseconds| microseconds / 1e3);
        let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
        let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
        text
    }
}

//! Histograms of latency, one a phase.

use std::time::Duration;

use crate::latency::{Percentiles, Phase};

/// One histogram a phase. Each thread records into its own; they are added up at the end.
#[derive(Debug)]
pub struct Latencies([hdrhistogram::Histogram<u64>; Phase::ALL.len()]);

impl Latencies {
    /// Longer ones are recorded as this.
    const MICROSECONDS_MAX: u64 = 3600 * 1_000_000;
    const SIGNIFICANT_DIGITS: u8 = 3;

    /// Empty histograms.
    pub fn new() -> Self {
        let empty = || {
            hdrhistogram::Histogram::new_with_max(Self::MICROSECONDS_MAX, Self::SIGNIFICANT_DIGITS)
                .expect("constants in range")
        };
        Self(std::array::from_fn(|_| empty()))
    }

    /// Adds one.
    pub fn record(&mut self, phase: Phase, latency: Duration) {
        self.0[phase as usize].saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Points of the curve of a phase: quantile, latency in microseconds, count up to there.
    pub fn curve(&self, phase: Phase) -> Vec<(f64, u64, u64)> {
        /// Points each time that what is missing to 100 % is halved.
        const TICKS: u32 = 5;
        let mut count = 0;
        let point = |value: hdrhistogram::iterators::IterationValue<u64>| {
            count += value.count_since_last_iteration();
            (value.quantile_iterated_to(), value.value_iterated_to(), count)
        };
        self.0[phase as usize].iter_quantiles(TICKS).map(point).collect()
    }

    /// Mean and standard deviation of a phase, in microseconds.
    pub fn mean_and_deviation(&self, phase: Phase) -> (f64, f64) {
        let histogram = &self.0[phase as usize];
        (histogram.mean(), histogram.stdev())
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            ours.add(theirs).expect("all have the same bounds");
        }
    }

    /// What the report shows of a phase.
    pub fn percentiles(&self, phase: Phase) -> Percentiles {
        let histogram = &self.0[phase as usize];
        let at = |quantile| histogram.value_at_quantile(quantile);
        Percentiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max(),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_the_longest_saturates() {
        let (mut one, mut two) = (Latencies::new(), Latencies::new());
        for microseconds in 1..=990 {
            one.record(Phase::Accepted, Duration::from_micros(microseconds));
        }
        for _ in 0..10 {
            two.record(Phase::Accepted, Duration::MAX);
        }
        one.merge(&two);
        let all = one.percentiles(Phase::Accepted);
        assert_eq!((all.count, all.p50, all.p99), (1000, 500, 990));
        assert!(all.p999 >= Latencies::MICROSECONDS_MAX && all.max >= Latencies::MICROSECONDS_MAX);
        assert_eq!(one.percentiles(Phase::Connect), Percentiles::default());
    }
}

//! Latency of transactions over time: percentiles of each interval of a run, in bounded memory.
//!
//! A load thread records into one small histogram and puts its counts away at the end of each interval. There
//! are few intervals: when there are many, each two become one.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::latency::Percentiles;

/// How long an interval is at first.
const INTERVAL: Duration = Duration::from_millis(100);

/// `Intervals::list` stays shorter than this. The number is even, so that intervals that become one begin
/// together.
const INTERVALS_MAX: usize = 120;

/// Longer latencies count as this, in microseconds.
const MICROSECONDS_MAX: u64 = 3600 * 1_000_000;

/// Parts of a run that are compared with each other, to know its spread.
pub const PARTS: usize = 8;

fn empty_histogram() -> Histogram<u32> {
    // Two digits: an error below 1 %, in 13 KiB, of which a run touches little.
    Histogram::new_with_max(MICROSECONDS_MAX, 2).expect("constants in range")
}

/// What a load thread records into.
#[derive(Debug)]
pub struct Recorder {
    current: Histogram<u32>,
    /// The longest of the interval, in microseconds: the histogram knows it less well.
    longest: u64,
    /// Octets of the messages of the interval.
    octets: u64,
    done: Intervals,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { current: empty_histogram(), longest: 0, octets: 0, done: Intervals::default() }
    }
}

impl Recorder {
    /// Adds a message accepted: its latency in microseconds, and its octets.
    pub fn record(&mut self, microseconds: u64, octets: u64) {
        self.current.saturating_record(microseconds);
        self.longest = self.longest.max(microseconds);
        self.octets += octets;
    }

    /// Messages that are recorded from now on came so long after the start of the run. Gives when to call
    /// this again.
    pub fn advance(&mut self, since_start: Duration) -> Duration {
        while since_start >= self.done.end() {
            self.close();
        }
        self.done.end()
    }

    fn close(&mut self) {
        let counts = self.current.iter_recorded().map(|bucket| {
            let value = u32::try_from(bucket.value_iterated_to()).unwrap_or(u32::MAX);
            (value, bucket.count_at_value())
        });
        let interval = Interval { counts: counts.collect(), longest: self.longest, octets: self.octets };
        self.done.push(interval);
        if !self.current.is_empty() {
            self.current.reset();
        }
        (self.longest, self.octets) = (0, 0);
    }

    /// The end of the run.
    pub fn end(mut self) -> Intervals {
        self.close();
        self.done
    }
}

/// What came in one interval.
#[derive(Debug, Clone, Default)]
struct Interval {
    /// Latencies in microseconds and how often they came, in ascending order.
    counts: Vec<(u32, u32)>,
    longest: u64,
    octets: u64,
}

impl Interval {
    fn merge(&mut self, other: &Self) {
        self.longest = self.longest.max(other.longest);
        self.octets += other.octets;
        self.counts.extend_from_slice(&other.counts);
        self.counts.sort_unstable_by_key(|(value, _)| *value);
        self.counts.dedup_by(|again, kept| {
            let same = again.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(again.1);
            }
            same
        });
    }

    fn percentiles(&self) -> Percentiles {
        let count: u64 = self.counts.iter().map(|(_, count)| u64::from(*count)).sum();
        let at = |quantile: f64| {
            let wanted = quantile * count as f64;
            let mut seen = 0;
            let value = self.counts.iter().find(|(_, count)| {
                seen += u64::from(*count);
                seen as f64 >= wanted
            });
            value.map_or(0, |(value, _)| u64::from(*value).min(self.longest))
        };
        Percentiles {
            count,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.longest,
        }
    }
}

/// The intervals of a run, one after another from its start.
#[derive(Debug, Clone)]
pub struct Intervals {
    period: Duration,
    list: Vec<Interval>,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { period: INTERVAL, list: Vec::new() }
    }
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slice {
    /// Since the start of the run.
    pub from: Duration,
    /// Since the start of the run. `from < to`
    pub to: Duration,
    /// Messages accepted, and their latencies in microseconds.
    pub latency: Percentiles,
    /// Octets of these messages.
    pub octets: u64,
}

impl Slice {
    /// Messages accepted a second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.latency.count as f64)
    }

    /// The rate of what was counted so often in this part.
    pub fn per_second(&self, count: f64) -> f64 {
        count / self.to.saturating_sub(self.from).as_secs_f64()
    }
}

impl Intervals {
    /// When the next interval ends, since the start of the run.
    fn end(&self) -> Duration {
        self.start_of(self.list.len() + 1)
    }

    fn start_of(&self, index: usize) -> Duration {
        self.period * u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn push(&mut self, interval: Interval) {
        self.list.push(interval);
        if self.list.len() >= INTERVALS_MAX {
            self.fold();
        }
    }

    /// Each two become one.
    fn fold(&mut self) {
        self.period *= 2;
        let pair = |pair: &[Interval]| {
            let mut whole = Interval::default();
            for interval in pair {
                whole.merge(interval);
            }
            whole
        };
        self.list = self.list.chunks(2).map(pair).collect();
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.period < other.period {
            self.fold();
        }
        while other.period < self.period {
            other.fold();
        }
        self.list.resize(self.list.len().max(other.list.len()), Interval::default());
        for (ours, theirs) in self.list.iter_mut().zip(&other.list) {
            ours.merge(theirs);
        }
    }

    /// The intervals of a run that ended then. The last one may be shorter than the others by half, or
    /// longer.
    pub fn slices(&self, end: Duration) -> Vec<Slice> {
        let whole = (end + self.period / 2).as_millis() / self.period.as_millis();
        let count = usize::try_from(whole).unwrap_or(usize::MAX).max(1).min(self.list.len());
        (0..count).map(|index| self.slice(index, index + 1, count, end)).collect()
    }

    /// A run that ended then in [`PARTS`] parts; no part if it was too short.
    pub fn parts(&self, end: Duration) -> Vec<Slice> {
        let count = self.slices(end).len();
        if count < PARTS {
            return Vec::new();
        }
        let at = |part: usize| part * count / PARTS;
        (0..PARTS).map(|part| self.slice(at(part), at(part + 1), count, end)).collect()
    }

    /// Of `count` intervals those from `first` up to `after`; what came later belongs to the last one.
    fn slice(&self, first: usize, after: usize, count: usize, end: Duration) -> Slice {
        let last = after == count;
        let after = if last { self.list.len() } else { after };
        let mut whole = Interval::default();
        for interval in self.list.iter().take(after).skip(first) {
            whole.merge(interval);
        }
        let from = self.start_of(first);
        let to = if last { end.max(from + Duration::from_millis(1)) } else { self.start_of(after) };
        Slice { from, to, latency: whole.percentiles(), octets: whole.octets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A message each `step` ms, whose latency in µs is the time of its end in ms.
    fn recorded(from: u64, to: u64, step: usize) -> Intervals {
        let mut recorder = Recorder::default();
        for at in (from..to).step_by(step) {
            recorder.advance(millis(at));
            recorder.record(at, 10);
        }
        recorder.end()
    }

    #[test]
    fn intervals_follow_each_other_and_keep_all_messages() {
        for (to, end) in
            [(50, 49), (150, 149), (1_000, 999), (11_950, 11_949), (12_001, 12_000), (3_000_000, 2_999_990)]
        {
            let slices = recorded(0, to, 10).slices(millis(end));
            assert!(!slices.is_empty() && slices.len() < INTERVALS_MAX, "{to}: {}", slices.len());
            assert_eq!(slices.iter().map(|slice| slice.latency.count).sum::<u64>(), to.div_ceil(10), "{to}");
            assert_eq!(slices.iter().map(|slice| slice.octets).sum::<u64>(), to.div_ceil(10) * 10);
            assert_eq!((slices[0].from, slices[slices.len() - 1].to), (millis(0), millis(end)));
            assert!(slices.windows(2).all(|pair| pair[0].to == pair[1].from));
            for slice in slices {
                let [from, to] =
                    [slice.from, slice.to].map(|at| u64::try_from(at.as_millis()).expect("short"));
                assert!((from..=to).contains(&slice.latency.max), "{slice:?}");
                assert!(slice.latency.p50 <= slice.latency.p99 && slice.latency.p99 <= slice.latency.max);
            }
        }
    }

    #[test]
    fn percentiles_of_an_interval_are_right_within_a_hundredth() {
        let slices = recorded(0, 100_000, 1).slices(millis(99_999));
        for slice in &slices[1..] {
            let (from, to) = (slice.from.as_millis() as f64, slice.to.as_millis() as f64);
            for (value, quantile) in
                [(slice.latency.p50, 0.5), (slice.latency.p99, 0.99), (slice.latency.p999, 0.999)]
            {
                let right = from + (to - from) * quantile;
                assert!((value as f64 / right - 1.0).abs() < 0.01, "{value} for {right}");
            }
        }
    }

    #[test]
    fn threads_of_unlike_lengths_add_up() {
        let mut whole = recorded(0, 1_000, 10);
        whole.merge(&recorded(0, 60_000, 10));
        whole.merge(&recorded(300, 500, 10));
        let slices = whole.slices(millis(59_990));
        assert_eq!(slices.iter().map(|slice| slice.latency.count).sum::<u64>(), 100 + 6_000 + 20);
        assert_eq!(slices[0].latency.count, 80 + 80 + 20);
    }

    #[test]
    fn an_interval_in_which_nothing_came_is_there() {
        let mut recorder = Recorder::default();
        recorder.record(7, 1);
        assert_eq!(recorder.advance(millis(1_050)), millis(1_100));
        recorder.record(9, 1);
        let slices = recorder.end().slices(millis(1_100));
        assert_eq!(slices.len(), 11);
        assert_eq!(slices[5].latency, Percentiles::default());
        assert_eq!((slices[0].latency.max, slices[10].latency.p50), (7, 9));
    }

    #[test]
    fn a_run_has_parts_unless_it_is_short() {
        assert!(recorded(0, 700, 10).parts(millis(690)).is_empty());
        let parts = recorded(0, 30_000, 10).parts(millis(29_990));
        assert_eq!(parts.len(), PARTS);
        assert_eq!(parts.iter().map(|part| part.latency.count).sum::<u64>(), 3_000);
        assert!(parts.iter().all(|part| (90.0..110.0).contains(&part.rate())), "{parts:?}");
        assert!(Intervals::default().slices(millis(500)).is_empty());
    }
}

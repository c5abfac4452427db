//! How values are spread: four counters an octave, from 1 to 2^30. Of durations in microseconds that is from
//! 1 µs to 1,073 s; of sizes in octets to 1 GiB.
//!
//! One writer, two plain adds a value (its counter, and the sum). A reader never waits: it reads the counters
//! one by one and takes their sum for the count, so that a count and its parts always agree, however many
//! values come meanwhile.

use std::time::Duration;

use crate::counter::Counter;

/// Counters an octave.
const PARTS: usize = 4;

/// Octaves.
const OCTAVES: u32 = 30;

/// Counters of a histogram: one for 0 and 1, and those of the octaves.
const BUCKETS: usize = 1 + PARTS * OCTAVES as usize;

/// How the values of one thread are spread.
#[derive(Debug)]
#[repr(align(128))]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { Counter::new() }; BUCKETS], sum: Counter::new() }
    }
}

impl Histogram {
    /// Counts a value; only the thread that owns the histogram may.
    pub fn add(&self, value: u64) {
        // The index is within the array by construction; `get` costs nothing that can be measured.
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.add(1);
        }
        self.sum.add(value);
    }

    /// Counts a duration, in microseconds.
    pub fn add_duration(&self, duration: Duration) {
        self.add(micros(duration));
    }

    /// What was counted so far. The sum is read first: at worst it lacks what the counters have already.
    pub fn spread(&self) -> Spread {
        let sum = self.sum.value();
        let mut buckets = [0; BUCKETS];
        for (read, bucket) in buckets.iter_mut().zip(&self.buckets) {
            *read = bucket.value();
        }
        Spread { buckets, sum }
    }
}

/// What a histogram had counted at a moment, or several of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    buckets: [u64; BUCKETS],
    /// Of all values.
    pub sum: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl Spread {
    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted since `earlier`, which was read from the same histograms.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (bucket, before) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        since.sum = self.sum.wrapping_sub(earlier.sum);
        since
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many of them were at most 2^`exponent`.
    pub fn count_to(&self, exponent: u32) -> u64 {
        let buckets = exponent as usize * PARTS + 1;
        self.buckets.iter().take(buckets).sum()
    }

    /// A value that this share of all values do not exceed (0.99: all but one of a hundred). It is at most a
    /// quarter too large. None while there are no values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut so_far = 0;
        let place = self.buckets.iter().position(|bucket| {
            so_far += bucket;
            so_far >= rank
        })?;
        Some(most_in(place))
    }

    /// The counters with something in them: the largest value that each counts, and how many there were.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(place, count)| (most_in(place), *count))
    }
}

/// Microseconds of a duration, a begun one whole: what is told as "at most 64 µs" then is.
pub fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_nanos().div_ceil(1000).into())
}

/// Counter 0 takes 0 and 1; counter `4 k + 1 + p` what is more than `2^k (1 + p/4)` and at most
/// `2^k (1 + (p+1)/4)`. So a power of two is the largest value of its counter, as the edges (`le`) of
/// Prometheus want it. The last one takes larger values, too.
fn bucket_of(value: u64) -> usize {
    let below = value.saturating_sub(1).min((1 << OCTAVES) - 1);
    let Some(octave) = below.checked_ilog2() else { return 0 };
    let part = ((below << 2) >> octave) & 3;
    // At most 120.
    octave as usize * PARTS + part as usize + 1
}

/// The largest value that a counter takes.
fn most_in(place: usize) -> u64 {
    let Some(place) = place.checked_sub(1) else { return 1 };
    let (octave, part) = (place / PARTS, place % PARTS);
    ((1_u64 << octave) * (PARTS + part + 1) as u64).div_ceil(PARTS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_counter_whose_bounds_it_lies_between() {
        let powers = (0..=OCTAVES).flat_map(|octave| [-1, 0, 1].map(|by| (1_i64 << octave) + by));
        for value in (0..5000).chain(powers).map(|value| u64::try_from(value).unwrap_or_default()) {
            let place = bucket_of(value);
            let above = place.checked_sub(1).map_or(0, most_in);
            let is_last = place == BUCKETS - 1;
            assert!(value <= most_in(place) || is_last, "{value} in {place}");
            assert!(value == 0 || value > above || place == 0, "{value} in {place}, above {above}");
            assert!(place < BUCKETS);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!((1..BUCKETS).all(|place| most_in(place) >= most_in(place - 1)));
    }

    #[test]
    fn a_power_of_two_is_at_most_itself_and_the_next_value_is_not() {
        for exponent in 0..OCTAVES {
            let histogram = Histogram::default();
            histogram.add(1 << exponent);
            histogram.add((1 << exponent) + 1);
            assert_eq!(histogram.spread().count_to(exponent), 1, "2^{exponent}");
            assert_eq!(histogram.spread().count(), 2);
        }
    }

    #[test]
    fn a_begun_microsecond_counts_whole() {
        let histogram = Histogram::default();
        histogram.add_duration(Duration::from_micros(64));
        histogram.add_duration(Duration::from_nanos(64_001));
        assert_eq!((histogram.spread().count_to(6), histogram.spread().sum), (1, 129));
        assert_eq!(micros(Duration::MAX), u64::MAX);
    }

    #[test]
    fn quantiles_are_at_most_a_quarter_too_large() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value));
        let spread = histogram.spread();
        for (share, is) in [(0.5, 500), (0.99, 990), (1.0, 1000), (0.001, 1)] {
            let told = spread.quantile(share).expect("there are values");
            assert!(told >= is && told <= is + is / 4 + 1, "{share}: {told}");
        }
        assert_eq!(Spread::default().quantile(0.5), None);
        let twice = &mut spread.clone();
        twice.merge(&spread);
        assert_eq!((twice.count(), twice.since(&spread)), (2000, spread));
    }

    #[test]
    fn count_and_parts_agree_while_values_come() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200_000).for_each(|value| histogram.add(value)));
            let mut before = 0;
            for _ in 0..200 {
                let spread = histogram.spread();
                assert!(spread.count() >= before, "counts only grow");
                assert_eq!(spread.count_to(OCTAVES), spread.count());
                before = spread.count();
            }
        });
        assert_eq!(histogram.spread().count(), 200_000);
    }
}

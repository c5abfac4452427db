//! What is random in the schedule: a generator from a seed, and times that are spread by a quarter.

use std::time::Duration;

/// SplitMix64: the same seed gives the same times.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The time, 25 % less to 25 % more: what failed together does not come back together.
    pub(super) fn around(&mut self, time: Duration) -> Duration {
        // A fraction of 2^16, from three quarters to five quarters.
        let part = (3 << 14) + (self.next() >> 49);
        let nanoseconds = (time.as_nanos() * u128::from(part)) >> 16;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// Spreads the bits of a number over all of it.
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_over_a_quarter_and_no_further() {
        let mut jitter = Jitter::new(1);
        let times: Vec<_> = (0..10_000).map(|_| jitter.around(Duration::from_mins(1)).as_secs()).collect();
        assert_eq!(times.iter().min(), Some(&45));
        assert_eq!(times.iter().max(), Some(&74));
        for second in 45..75 {
            let count = times.iter().filter(|time| **time == second).count();
            assert!((250..420).contains(&count), "{count} of 10,000 in second {second}");
        }
    }
}

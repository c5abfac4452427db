//! The open loop's rate, and the intended time of every message. A message's time depends on its index alone,
//! never on how the receiver does: so a stall stays visible.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Messages a second: constant, or a ramp over the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// At the start. `0 < first`
    pub first: f64,
    /// At the end. `0 < last`
    pub last: f64,
}

impl Rate {
    /// More than any receiver takes; keeps times finite.
    const MAX: f64 = 1e8;

    /// Whether it changes over the run.
    pub fn is_ramp(&self) -> bool {
        self.first.to_bits() != self.last.to_bits()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
            number
                .filter(|rate| (1e-3..=Self::MAX).contains(rate))
                .ok_or_else(|| format!("{text:?} is no rate such as 20000/s"))
        };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        Ok(Self { first: one(first)?, last: one(last)? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ramp() {
            write!(f, "{}/s..{}/s", self.first, self.last)
        } else {
            write!(f, "{}/s", self.first)
        }
    }
}

/// Intended times of one thread's messages: of all messages of the run it has every `threads`-th.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The run's rate.
    pub rate: Rate,
    /// How long the ramp takes; the last rate goes on after it.
    pub ramp: Duration,
    /// This thread, from 0.
    pub thread: u64,
    /// Threads of the run.
    pub threads: u64,
}

impl Schedule {
    /// When the thread's message of this index is due, since the start of the run.
    pub fn due(&self, index: u64) -> Duration {
        let number = (index * self.threads + self.thread) as f64;
        let Rate { first, last } = self.rate;
        let ramp = self.ramp.as_secs_f64();
        let in_ramp = f64::midpoint(first, last) * ramp;
        let seconds = if number <= in_ramp {
            // The count by time t is first·t + slope·t²/2; this form of its inverse holds for a slope of 0,
            // too.
            let slope = (last - first) / ramp;
            2.0 * number / (first + (first * first + 2.0 * slope * number).max(0.0).sqrt())
        } else {
            ramp + (number - in_ramp) / last
        };
        Duration::from_secs_f64(seconds)
    }

    /// Messages of this thread that are due by then.
    pub fn due_by(&self, time: Duration) -> u64 {
        // `due` grows with the index: a search by halves needs no second formula that could disagree.
        let mut most = 1;
        while self.due(most) <= time {
            most *= 2;
        }
        let (mut low, mut high) = (0, most);
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.due(middle) <= time { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: &str, ramp: u64, thread: u64, threads: u64) -> Schedule {
        Schedule { rate: rate.parse().expect("a rate"), ramp: Duration::from_secs(ramp), thread, threads }
    }

    #[test]
    fn a_constant_rate_is_even_and_threads_interleave() {
        assert_eq!(schedule("1000/s", 10, 0, 1).due(2500), Duration::from_millis(2500));
        assert_eq!(schedule("1000", 10, 1, 2).due(10), Duration::from_millis(21));
        assert_eq!(schedule("1000/s", 10, 0, 1).due_by(Duration::from_millis(99)), 100);
    }

    #[test]
    fn a_ramp_has_the_mean_rate_and_never_goes_back() {
        for (rate, by_half) in [("100/s..300/s", 750), ("300/s..100/s", 1250)] {
            let schedule = schedule(rate, 10, 0, 1);
            let by_end = schedule.due_by(Duration::from_secs(10));
            assert!((2000..=2001).contains(&by_end), "{rate}: {by_end}");
            let half = schedule.due_by(Duration::from_secs(5));
            assert!((by_half..=by_half + 1).contains(&half), "{rate}: {half}");
            let times: Vec<Duration> = (0..3000).map(|index| schedule.due(index)).collect();
            assert!(times.is_sorted());
        }
    }

    #[test]
    fn what_is_no_rate_is_told() {
        for wrong in ["", "0/s", "-1", "x", "1..", "1e99", "NaN", "10/min"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        assert_eq!("10/s..20".parse::<Rate>().expect("a ramp").to_string(), "10/s..20/s");
    }
}

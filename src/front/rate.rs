//! How often something may happen: so many times in a second, a minute or an hour.
//!
//! The generic cell rate algorithm (ITU-T I.371): of each client one moment is kept, the one at which it will
//! have paid for all that it had. Each event moves it on by the time that one event is worth. A client whose
//! moment is no further ahead than the period has had no more than its number in any period.

use super::moment::{TICKS_PER_SECOND, Ticks};
use super::prefix::SHARES;

/// A number of events in a period. Made by [`Rate::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    /// In ticks; at most an hour.
    period: u32,
}

/// Events a second, at most.
const PER_SECOND_MAX: u32 = 1600;

// Each is worth a tick, also where a network may have several times as many.
const _: () = assert!(PER_SECOND_MAX * SHARES[SHARES.len() - 1] <= TICKS_PER_SECOND);

impl Rate {
    /// So many in a minute.
    pub const fn per_minute(count: u32) -> Self {
        Self { count, period: 60 * TICKS_PER_SECOND }
    }

    /// Reads `60/min`, `5/s` or `100/hour`. The error is for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate; write for example \"60/min\", \"5/s\" or \"1000/hour\"");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            "hour" => 3600,
            _ => return Err(wrong()),
        };
        let is_number = !count.is_empty() && count.bytes().all(|octet| octet.is_ascii_digit());
        let count = count.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        let count_max = PER_SECOND_MAX * seconds;
        if !(1..=count_max).contains(&count) {
            return Err(format!("{text:?}: allowed is 1/{unit} to {count_max}/{unit}"));
        }
        Ok(Self { count, period: seconds * TICKS_PER_SECOND })
    }

    /// In one word, which is never 0.
    pub fn to_word(self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.period)
    }

    /// What [`Rate::to_word`] gave; none of any other word.
    pub fn from_word(word: u64) -> Option<Self> {
        let count = u32::try_from(word >> 32).ok().filter(|count| *count > 0)?;
        let period = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        let is_known = [1, 60, 3600].iter().any(|seconds| seconds * TICKS_PER_SECOND == period);
        is_known.then_some(Self { count, period })
    }

    /// What an event costs where this many times the rate is allowed, rounded down: nobody is refused what is
    /// allowed.
    fn cost(self, share: u32) -> u32 {
        // Both fit: a period is an hour at most, and a tick is worth no more than one of them.
        (self.period / self.count.saturating_mul(share)).max(1)
    }

    /// The moment of a client after `count` events more, where `share` times the rate is allowed; none when
    /// they are more than it may have now.
    pub(super) fn pay(self, paid_until: Ticks, now: Ticks, count: u32, share: u32) -> Option<Ticks> {
        let ahead = u64::from(paid_until.ahead_of(now)) + u64::from(count) * u64::from(self.cost(share));
        // One that may have a single event in a period may have it at once.
        let bound = u64::from(self.period.max(self.cost(share)));
        (ahead <= bound).then(|| now.plus(u32::try_from(ahead).unwrap_or(u32::MAX)))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.period / TICKS_PER_SECOND {
            1 => "s",
            60 => "min",
            _ => "hour",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events that are granted, one tried each `step` ticks for `ticks`.
    fn granted(rate: Rate, share: u32, step: u32, ticks: u32) -> u32 {
        let (mut until, mut granted) = (Ticks::from_raw(7), 0);
        for at in (0..ticks).step_by(step as usize) {
            let now = Ticks::from_raw(7).plus(at);
            if let Some(next) = rate.pay(until, now, 1, share) {
                (until, granted) = (next, granted + 1);
            }
        }
        granted
    }

    #[test]
    fn so_many_come_at_once_and_then_one_at_a_time() {
        let rate = Rate::parse("60/min").expect("a rate");
        let minute = 60 * TICKS_PER_SECOND;
        assert_eq!(granted(rate, 1, 1, TICKS_PER_SECOND / 2), 60, "a whole minute's at once");
        assert_eq!(granted(rate, 1, 100, minute), 60 + 59, "then one a second");
        assert!((9 * 60 + 9 * 60 - 1..=9 * 60 + 9 * 60).contains(&granted(rate, 9, 100, minute)));
    }

    #[test]
    fn who_was_away_for_long_owes_nothing() {
        let rate = Rate::parse("2/min").expect("a rate");
        let now = Ticks::from_raw(u32::MAX - 5);
        let first = rate.pay(now, now, 2, 1).expect("two at once");
        assert_eq!(rate.pay(first, now, 1, 1), None);
        let later = now.plus(61 * TICKS_PER_SECOND);
        assert!(rate.pay(first, later, 2, 1).is_some(), "over the end of the numbers, too");
    }

    #[test]
    fn rates_are_read_as_operators_write_them() {
        for text in ["60/min", "5/s", "100/hour", "96000/min", "5760000/hour"] {
            let rate = Rate::parse(text).expect("a rate");
            assert_eq!((rate.to_string().as_str(), Rate::from_word(rate.to_word())), (text, Some(rate)));
        }
        for text in ["", "60", "/min", "60/", "60/day", "+6/min", "6.5/min", "60 /min", "99999999999/s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        assert_eq!((Rate::from_word(0), Rate::from_word(1 << 32 | 7)), (None, None));
        assert!(Rate::parse("0/min").is_err_and(|why| why.contains("1/min to 96000/min")));
    }
}

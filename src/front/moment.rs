//! Time as the table of clients keeps it: ticks of a clock that never goes back, for rates; hours of the wall
//! clock, for what is remembered across restarts.

use std::time::{Duration, Instant, SystemTime};

/// Ticks of a second: fine enough for a million events a minute, and half of all ticks are 37 hours.
pub(super) const TICKS_PER_SECOND: u32 = 16_000;

/// A tick of the clock, modulo 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks(u32);

/// How far ahead of the present a tick can be at most, as the longest period and one event more are; one that
/// seems to be further ahead is from long ago.
const AHEAD_MAX: u32 = 2 * 3600 * TICKS_PER_SECOND;

impl Ticks {
    pub(super) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    pub(super) const fn raw(self) -> u32 {
        self.0
    }

    /// How far it is ahead; 0 for one that has passed.
    pub(super) fn ahead_of(self, now: Self) -> u32 {
        let ahead = self.0.wrapping_sub(now.0);
        if ahead <= AHEAD_MAX { ahead } else { 0 }
    }

    pub(super) fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }
}

/// An hour of the wall clock since 1970, modulo 2^16: seven years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hour(u16);

impl Hour {
    pub(super) const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    pub(super) const fn raw(self) -> u16 {
        self.0
    }

    /// Hours from `earlier` to this one; 0 where the clock went back.
    pub(super) fn since(self, earlier: Self) -> u16 {
        let hours = self.0.wrapping_sub(earlier.0);
        if hours <= u16::MAX / 2 { hours } else { 0 }
    }
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub(super) ticks: Ticks,
    pub(super) hour: Hour,
}

/// Makes moments: both clocks' beginnings.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    /// Ticks are counted from here.
    pub fn new(now: Instant) -> Self {
        Self(now)
    }

    /// The moment that both clocks show.
    pub fn moment(self, now: Instant, wall_clock: SystemTime) -> Moment {
        let since = now.saturating_duration_since(self.0);
        let of_second = u64::from(since.subsec_nanos()) * u64::from(TICKS_PER_SECOND) / 1_000_000_000;
        let ticks = since.as_secs().wrapping_mul(u64::from(TICKS_PER_SECOND)).wrapping_add(of_second);
        let hours =
            wall_clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / 3600;
        // Both are kept modulo their width.
        #[expect(clippy::cast_possible_truncation)]
        let moment = Moment { ticks: Ticks(ticks as u32), hour: Hour(hours as u16) };
        moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_ahead_or_it_has_passed() {
        let now = Ticks(3);
        assert_eq!((now.plus(10).ahead_of(now), Ticks(u32::MAX).ahead_of(now)), (10, 0));
        assert_eq!(Ticks(3).ahead_of(Ticks(u32::MAX)), 4, "over the end of the numbers");
        assert_eq!(now.plus(AHEAD_MAX + 1).ahead_of(now), 0);
    }

    #[test]
    fn hours_pass_and_a_clock_that_goes_back_is_no_time() {
        assert_eq!(
            (Hour(5).since(Hour(2)), Hour(2).since(Hour(5)), Hour(1).since(Hour(u16::MAX))),
            (3, 0, 2)
        );
    }

    #[test]
    fn moments_follow_their_clocks() {
        let start = Instant::now();
        let epoch = Epoch::new(start);
        let moment = epoch
            .moment(start + Duration::from_millis(500), SystemTime::UNIX_EPOCH + Duration::from_secs(7201));
        assert_eq!((moment.ticks, moment.hour), (Ticks(TICKS_PER_SECOND / 2), Hour(2)));
        let before = epoch.moment(start, SystemTime::UNIX_EPOCH - Duration::from_secs(9));
        assert_eq!((before.ticks, before.hour), (Ticks(0), Hour(0)));
    }
}

//! Time-outs shrink as memory and places get scarce: whoever has been silent longest, in the middle of mail
//! data or without having sent any mail, gives way before anybody new is refused.
//!
//! ```text
//!   in use       0 % ─────── 25 % ────────────────────────────────────── 90 % ── 100 %
//!   silence      as configured │ falls in a straight line                  10 s
//! ```
//!
//! It is looked at once a second, and only above a quarter.

use std::time::Duration;

/// Below this share of memory or places in use, in per cent, nobody gives way.
const BEGINS_AT: usize = 25;

/// From this share on nobody may be silent for longer than [`SILENCE_MIN`].
const ENDS_AT: usize = 90;

/// What a client on a bad line needs to go on: a lost segment is sent again several times within it.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// How scarce what connections share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scarcity {
    /// Of memory for mail data, in per cent.
    pub(super) memory: usize,
    /// Of places for connections, in per cent.
    pub(super) places: usize,
}

impl Scarcity {
    /// Whether anybody has to give way.
    pub(super) fn is_felt(self) -> bool {
        self.memory.max(self.places) > BEGINS_AT
    }

    /// How much of a time-out is taken away from a client that receives mail data, or from one that does not.
    pub(super) fn taken(self, timeout: Duration, in_data: bool) -> Duration {
        let share = if in_data { self.memory.max(self.places) } else { self.places };
        timeout.saturating_sub(allowed(timeout, share))
    }
}

/// The silence that is allowed with this share in use.
fn allowed(timeout: Duration, share: usize) -> Duration {
    let least = SILENCE_MIN.min(timeout);
    let steps = u32::try_from(share.clamp(BEGINS_AT, ENDS_AT) - BEGINS_AT).unwrap_or(u32::MAX);
    let all = u32::try_from(ENDS_AT - BEGINS_AT).unwrap_or(u32::MAX);
    timeout.saturating_sub(timeout.saturating_sub(least) / all * steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_shrink_in_a_straight_line() {
        let five_minutes = Duration::from_mins(5);
        assert_eq!(allowed(five_minutes, 0), five_minutes);
        assert_eq!(allowed(five_minutes, BEGINS_AT), five_minutes);
        let middle = allowed(five_minutes, usize::midpoint(BEGINS_AT, ENDS_AT));
        assert!(middle > Duration::from_secs(150) && middle < Duration::from_secs(165), "{middle:?}");
        for share in [ENDS_AT, 100] {
            let least = allowed(five_minutes, share);
            assert!(least >= SILENCE_MIN && least < SILENCE_MIN + Duration::from_millis(1), "{least:?}");
        }
        assert_eq!(allowed(Duration::from_secs(3), 100), Duration::from_secs(3), "a shorter one stays");
    }

    #[test]
    fn scarce_memory_concerns_mail_data_and_scarce_places_everybody() {
        let timeout = Duration::from_mins(5);
        let memory = Scarcity { memory: 100, places: 0 };
        assert!(memory.taken(timeout, true) > Duration::from_secs(280));
        assert_eq!(memory.taken(timeout, false), Duration::ZERO);
        let places = Scarcity { memory: 0, places: 100 };
        assert!(places.taken(timeout, false) > Duration::from_secs(280) && places.is_felt());
        assert!(!Scarcity { memory: 20, places: 25 }.is_felt());
    }
}

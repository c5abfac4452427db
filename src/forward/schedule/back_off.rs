//! How long a message waits that a next hop deferred.

use std::time::Duration;

use super::jitter::Jitter;

/// The wait after the first 4yz; each further one doubles it.
pub const RETRY_FIRST: Duration = Duration::from_mins(1);

/// The longest wait.
pub const RETRY_LONGEST: Duration = Duration::from_hours(1);

/// The wait after so many attempts that the next hop deferred, this one among them; each is spread by 25 %.
pub(super) fn back_off(attempts: u8, jitter: &mut Jitter) -> Duration {
    let doublings = u32::from(attempts.saturating_sub(1)).min(16);
    jitter.around((RETRY_FIRST * (1 << doublings)).min(RETRY_LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let mut jitter = Jitter::new(7);
        let minutes = [1, 2, 4, 8, 16, 32, 60, 60];
        for (attempts, minutes) in (1..).zip(minutes) {
            let wait = back_off(attempts, &mut jitter);
            let plain = Duration::from_mins(minutes);
            assert!(wait >= plain * 3 / 4 && wait <= plain * 5 / 4, "{wait:?} after {attempts}");
        }
        assert!(back_off(u8::MAX, &mut jitter) <= RETRY_LONGEST * 5 / 4);
    }
}

//! How long a message may take: from DATA or the first BDAT on, however evenly its octets trickle.

use std::time::{Duration, Instant};

use crate::limits::{DATA_RATE_MIN, MESSAGE_RATE_MIN, MESSAGE_TIME_MIN};

/// The time of a message under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageClock {
    /// Then the message is given up.
    end: Instant,
    /// Octets of mail data since that was put off last.
    unearned: u64,
}

impl MessageClock {
    /// Mail data begins.
    pub(super) fn new(now: Instant) -> Self {
        Self { end: now + MESSAGE_TIME_MIN, unearned: 0 }
    }

    /// When the message is given up.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Octets of mail data came, those of refused mail data included.
    pub(super) fn take(&mut self, octets: u64) {
        self.unearned += octets;
    }

    /// Puts the end off by what the octets that came earn. Gives the deadline of the next read, which they
    /// put off, too.
    pub(super) fn earn(&mut self, deadline: Instant) -> Instant {
        let octets = std::mem::take(&mut self.unearned);
        self.end = later(self.end, octets, MESSAGE_RATE_MIN);
        later(deadline, octets, DATA_RATE_MIN)
    }

    /// The client has to wait for us for so long: that is not its time.
    pub(super) fn stand_still(&mut self, time: Duration) {
        self.end += time;
    }

    /// We need so much less time than was allowed for.
    pub(super) fn go_on_early(&mut self, unused: Duration) {
        self.end = self.end.checked_sub(unused).unwrap_or(self.end);
    }
}

/// A credit that `rate` octets raise by a second.
fn later(end: Instant, octets: u64, rate: u64) -> Instant {
    end + Duration::from_micros(octets.saturating_mul(1_000_000) / rate)
}

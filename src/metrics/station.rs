//! What a station counts: what became of messages that were with another program before the sink.

use std::time::Duration;

use super::histogram::{Histogram, Spread};
use crate::counter::Counter;

/// What a station is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StationName {
    /// The content filter of this name.
    Filter(String),
    /// The next hops that get mail at once.
    NextHops,
    /// The stream of a cluster.
    Nats,
}

/// What became of a message at a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StationAction {
    /// It went on.
    Passed,
    /// It went on, marked as suspicious.
    Marked,
    /// It was refused for good.
    Refused,
    /// It was refused for now.
    PutOff,
    /// Its client was asked to come back, as by greylisting.
    Greylisted,
    /// It was answered 250, and nobody gets it.
    Discarded,
    /// A next hop has taken it.
    Delivered,
    /// There was no answer.
    Unanswered,
}

impl StationAction {
    /// All of them, each at its number.
    pub const ALL: [Self; 8] = [
        Self::Passed,
        Self::Marked,
        Self::Refused,
        Self::PutOff,
        Self::Greylisted,
        Self::Discarded,
        Self::Delivered,
        Self::Unanswered,
    ];

    /// In metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Marked => "mark",
            Self::Refused => "refuse",
            Self::PutOff => "put_off",
            Self::Greylisted => "greylist",
            Self::Discarded => "discard",
            Self::Delivered => "deliver",
            Self::Unanswered => "none",
        }
    }
}

/// The counters of one station, which its thread alone writes. On cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct StationMetrics {
    actions: [Counter; StationAction::ALL.len()],
    /// How long a message was there.
    pub duration: Histogram,
    /// Messages that are with the other program (gauge).
    pub in_flight: Counter,
    /// Other programs that are down (gauge).
    pub down: Counter,
}

impl Default for StationMetrics {
    fn default() -> Self {
        Self {
            actions: [const { Counter::new() }; _],
            duration: Histogram::default(),
            in_flight: Counter::new(),
            down: Counter::new(),
        }
    }
}

impl StationMetrics {
    /// A message leaves.
    pub fn note(&self, action: StationAction, took: Duration) {
        if let Some(counter) = self.actions.get(action as usize) {
            counter.add(1);
        }
        self.duration.add_duration(took);
    }

    /// What was counted so far.
    pub fn read(&self) -> StationValues {
        let count = |action: StationAction| self.actions.get(action as usize).map_or(0, Counter::value);
        StationValues {
            actions: StationAction::ALL.map(|action| (action, count(action))),
            duration: self.duration.spread(),
            in_flight: self.in_flight.value(),
            down: self.down.value(),
        }
    }
}

/// What a station had counted at a moment.
#[derive(Debug, Clone)]
pub struct StationValues {
    /// Messages by what became of them.
    pub actions: [(StationAction, u64); StationAction::ALL.len()],
    /// How long a message was there, in microseconds.
    pub duration: Spread,
    /// Messages that are with the other program.
    pub in_flight: u64,
    /// Other programs that are down: of a filter one, or none.
    pub down: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_its_place() {
        let metrics = StationMetrics::default();
        for (place, action) in StationAction::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, place);
            for _ in 0..=place {
                metrics.note(action, Duration::from_millis(1));
            }
        }
        let values = metrics.read();
        for (place, (action, count)) in values.actions.into_iter().enumerate() {
            assert_eq!((action as usize, count), (place, place as u64 + 1));
        }
        assert_eq!(values.duration.count(), 36);
    }
}

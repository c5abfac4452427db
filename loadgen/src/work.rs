//! The messages that a thread has still to send; its clients share them. In the open loop a message is given
//! out once its time has come, in order.

use std::time::{Duration, Instant};

use crate::rate::Schedule;

/// One message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub number: u64,
    /// Its intended time, in the open loop: latency counts from here.
    pub due: Option<Instant>,
}

/// See the file's head.
#[derive(Debug)]
pub struct Work {
    /// Number of the next message.
    next: u64,
    left: u64,
    /// Given back by sessions that ended before they began them.
    returned: Vec<Message>,
    open_loop: Option<OpenLoop>,
}

#[derive(Debug)]
struct OpenLoop {
    schedule: Schedule,
    started: Instant,
    /// Index of the next message among those of this thread.
    index: u64,
    /// Its time.
    due: Instant,
}

impl Work {
    /// `count` messages (`None`: without end) whose numbers begin at `first`.
    pub fn new(first: u64, count: Option<u64>) -> Self {
        Self { next: first, left: count.unwrap_or(u64::MAX), returned: Vec::new(), open_loop: None }
    }

    /// The same with intended times, from `started` on.
    #[must_use]
    pub fn at_times(mut self, schedule: Schedule, started: Instant) -> Self {
        let due = started + schedule.due(0);
        self.open_loop = Some(OpenLoop { schedule, started, index: 0, due });
        self
    }

    /// Whether messages have intended times.
    pub fn is_open_loop(&self) -> bool {
        self.open_loop.is_some()
    }

    /// Whether nothing will ever be given out again, unless something is given back.
    pub fn is_over(&self) -> bool {
        self.left == 0 && self.returned.is_empty()
    }

    /// When the next message becomes due. `None` in a closed loop, and when no message is left.
    pub fn next_due(&self) -> Option<Instant> {
        self.open_loop.as_ref().filter(|_| self.left > 0).map(|open_loop| open_loop.due)
    }

    /// Whether [`Self::take`] would give one.
    pub fn is_ready(&self, now: Instant) -> bool {
        let due = self.open_loop.as_ref().is_none_or(|open_loop| open_loop.due <= now);
        !self.returned.is_empty() || (self.left > 0 && due)
    }

    /// The next message, if one is left and its time has come.
    pub fn take(&mut self, now: Instant) -> Option<Message> {
        if let Some(message) = self.returned.pop() {
            return Some(message);
        }
        if !self.is_ready(now) {
            return None;
        }
        let due = self.open_loop.as_mut().map(|open_loop| {
            open_loop.index += 1;
            let next = open_loop.started + open_loop.schedule.due(open_loop.index);
            std::mem::replace(&mut open_loop.due, next)
        });
        self.left -= 1;
        self.next += 1;
        Some(Message { number: self.next - 1, due })
    }

    /// A session ended before it began this message.
    pub fn give_back(&mut self, message: Message) {
        self.returned.push(message);
    }

    /// No message is begun from now on. Gives how many were due by `now` and were not sent.
    pub fn end(&mut self, now: Instant) -> u64 {
        let waiting = self.open_loop.as_ref().map_or(0, |open_loop| {
            let elapsed = now.checked_duration_since(open_loop.started).unwrap_or(Duration::ZERO);
            open_loop.schedule.due_by(elapsed).saturating_sub(open_loop.index).min(self.left)
                + self.returned.len() as u64
        });
        self.left = 0;
        self.returned.clear();
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_given_out_in_time_and_the_rest_is_told() {
        let started = Instant::now();
        let rate = "1000/s".parse().expect("a rate");
        let schedule = Schedule { rate, ramp: Duration::from_secs(1), thread: 0, threads: 1 };
        let mut work = Work::new(7, Some(100)).at_times(schedule, started);
        assert_eq!(work.take(started), Some(Message { number: 7, due: Some(started) }));
        assert_eq!(work.take(started), None);
        assert_eq!(work.next_due(), Some(started + Duration::from_millis(1)));
        // A second late: it still has its own time.
        let late = work.take(started + Duration::from_secs(1)).expect("due");
        assert_eq!(late.due, Some(started + Duration::from_millis(1)));
        work.give_back(late);
        assert_eq!(work.take(started), Some(late));
        work.give_back(late);
        assert_eq!(work.end(started + Duration::from_millis(50)), 50);
        assert!(work.is_over() && work.take(started + Duration::from_secs(9)).is_none());
    }

    #[test]
    fn a_closed_loop_gives_out_as_many_as_there_are() {
        let now = Instant::now();
        let mut work = Work::new(0, Some(2));
        assert!(work.take(now).is_some() && work.take(now).is_some() && work.take(now).is_none());
        assert_eq!((work.end(now), work.next_due()), (0, None));
    }
}

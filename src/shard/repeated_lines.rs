//! Lines of which one a minute is enough for each kind: what this machine refuses all its clients, accepts
//! that fail. The others are counted, and the count is told at the end of the minute.

use std::time::{Duration, Instant};

/// Between two lines of a kind.
pub(super) const PAUSE: Duration = Duration::from_mins(1);

/// Kinds by their number.
#[derive(Debug)]
pub(super) struct RepeatedLines {
    kinds: Box<[Kind]>,
    /// When the first count is to be told; none while nothing is counted.
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// When its last line was written.
    told: Option<Instant>,
    /// How many had no line since.
    more: u64,
}

/// What a count has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) kind: usize,
    pub(super) more: u64,
    pub(super) seconds: u64,
}

impl RepeatedLines {
    /// So many kinds.
    pub(super) fn new(kinds: usize) -> Self {
        Self { kinds: vec![Kind::default(); kinds].into(), due: None }
    }

    /// Whether one more of this kind has a line; one that has none is counted.
    pub(super) fn grant(&mut self, kind: usize, now: Instant) -> bool {
        let Some(kind) = self.kinds.get_mut(kind) else { return true };
        let told = kind.told.filter(|told| kind.more > 0 || now.saturating_duration_since(*told) < PAUSE);
        let Some(told) = told else {
            kind.told = Some(now);
            return true;
        };
        kind.more += 1;
        let due = told + PAUSE;
        self.due = Some(self.due.map_or(due, |other| other.min(due)));
        false
    }

    /// So many more of this kind came, which have no line.
    pub(super) fn count(&mut self, kind: usize, more: u64, now: Instant) {
        let Some(kind) = self.kinds.get_mut(kind) else { return };
        kind.more += more;
        let due = *kind.told.get_or_insert(now) + PAUSE;
        self.due = Some(self.due.map_or(due, |other| other.min(due)));
    }

    /// When [`RepeatedLines::take_due`] has something; none while nothing is counted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next count that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Counted> {
        self.due.filter(|due| *due <= now)?;
        let counted = self.take(now, |told| told + PAUSE <= now);
        let left = self.kinds.iter().filter(|kind| kind.more > 0).filter_map(|kind| kind.told);
        self.due = left.min().map(|told| told + PAUSE);
        counted
    }

    /// The next count, due or not.
    pub(super) fn take_any(&mut self, now: Instant) -> Option<Counted> {
        self.due?;
        let counted = self.take(now, |_| true);
        if counted.is_none() {
            self.due = None;
        }
        counted
    }

    fn take(&mut self, now: Instant, is_meant: impl Fn(Instant) -> bool) -> Option<Counted> {
        let mut kinds = self.kinds.iter_mut().enumerate();
        let (number, kind) = kinds.find(|(_, kind)| kind.more > 0 && kind.told.is_some_and(&is_meant))?;
        let seconds = kind.told.map_or(0, |told| now.saturating_duration_since(told).as_secs());
        kind.told = Some(now);
        Some(Counted { kind: number, more: std::mem::take(&mut kind.more), seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_of_each_kind_has_a_line_and_the_others_are_counted() {
        let start = Instant::now();
        let mut lines = RepeatedLines::new(2);
        let mut told = Vec::new();
        let mut granted = 0;
        for second in 0..150 {
            let now = start + Duration::from_secs(second);
            for kind in [0, 0, 1] {
                granted += usize::from((kind == 0 || second > 100) && lines.grant(kind, now));
            }
            told.extend(std::iter::from_fn(|| lines.take_due(now)));
        }
        assert_eq!(granted, 2, "the first of each");
        let counted = |kind, more, seconds| Counted { kind, more, seconds };
        assert_eq!(told, [counted(0, 121, 60), counted(0, 120, 60)]);
        let now = start + Duration::from_secs(150);
        let rest: Vec<_> = std::iter::from_fn(|| lines.take_any(now)).collect();
        assert_eq!(rest, [counted(0, 58, 30), counted(1, 48, 49)]);
        assert_eq!(lines.due(), None);
        assert!(!lines.grant(0, now), "it goes on");
    }

    #[test]
    fn what_comes_now_and_then_has_its_line_each_time() {
        let start = Instant::now();
        let mut lines = RepeatedLines::new(1);
        for minute in 0..5 {
            assert!(lines.grant(0, start + minute * PAUSE));
        }
        assert_eq!(lines.due(), None);
    }
}

//! The score of a session: what speaks against a client, and for it, with the reasons.

use crate::mail::client::Reason;

/// Reasons that are kept; more than there are checks and lists that anybody uses.
const REASONS_MAX: usize = 24;

/// From which score on what is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Recipients are refused: `550 5.7.1`; none: never.
    pub refuse: Option<i32>,
    /// The connection is refused before the greeting: `554`; none: never.
    pub drop: Option<i32>,
}

/// What a score means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Go on.
    Fine,
    /// Refuse recipients.
    Refuse,
    /// Refuse the connection.
    Drop,
}

/// One session's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    total: i32,
    reasons: Vec<Reason>,
}

impl Score {
    /// Something speaks for or against the client.
    pub fn add(&mut self, name: &str, weight: i32) {
        self.total = self.total.saturating_add(weight);
        if weight != 0 && self.reasons.len() < REASONS_MAX {
            self.reasons.push(Reason { name: name.into(), weight });
        }
    }

    /// The sum.
    pub fn total(&self) -> i32 {
        self.total
    }

    /// What it is the sum of, in the order of the checks.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// What speaks most against the client, for the reply; none where nothing does.
    pub fn main_reason(&self) -> Option<&Reason> {
        let worst = self.reasons.iter().map(|reason| reason.weight).max().filter(|weight| *weight > 0)?;
        self.reasons.iter().find(|reason| reason.weight == worst)
    }

    /// Whether a client is suspicious.
    pub fn is_suspicious(&self) -> bool {
        self.total >= 1
    }

    /// What it means.
    pub fn meaning(&self, thresholds: Thresholds) -> Meaning {
        let reaches = |threshold: Option<i32>| threshold.is_some_and(|threshold| self.total >= threshold);
        match (reaches(thresholds.drop), reaches(thresholds.refuse)) {
            (true, _) => Meaning::Drop,
            (false, true) => Meaning::Refuse,
            (false, false) => Meaning::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_add_up_and_the_worst_is_told() {
        let mut score = Score::default();
        assert_eq!((score.main_reason(), score.is_suspicious()), (None, false));
        for (name, weight) in [("mild", 1), ("good", -2), ("bad", 4), ("worse too", 4), ("nothing", 0)] {
            score.add(name, weight);
        }
        assert_eq!((score.total(), score.reasons().len()), (7, 4));
        assert_eq!(score.main_reason().map(|reason| &*reason.name), Some("bad"));
    }

    #[test]
    fn thresholds_are_reached_from_their_value_on() {
        let thresholds = Thresholds { refuse: Some(3), drop: Some(8) };
        for (total, expected) in
            [(2, Meaning::Fine), (3, Meaning::Refuse), (7, Meaning::Refuse), (8, Meaning::Drop)]
        {
            let mut score = Score::default();
            score.add("a list", total);
            assert_eq!(score.meaning(thresholds), expected, "{total}");
            assert_eq!(score.meaning(Thresholds { refuse: None, drop: None }), Meaning::Fine);
        }
    }

    #[test]
    fn many_reasons_are_counted_and_not_all_kept() {
        let mut score = Score::default();
        (0..100).for_each(|_| score.add("a list", i32::MAX / 50));
        assert_eq!((score.total(), score.reasons().len()), (i32::MAX, REASONS_MAX));
    }
}

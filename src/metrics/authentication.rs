//! What was found of who vouches for messages, counted.

use std::time::Duration;

use super::histogram::{Histogram, Spread};
use crate::counter::Counter;

/// Results of a method, each with its word, by how many messages or signatures had it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// `spf`, `dkim`, `dmarc`; `applied` for what became of messages.
    pub method: &'static str,
    /// Words of its results.
    pub words: &'static [&'static str],
}

/// All that is counted, in the order of the counters.
pub const ROWS: [Row; 4] = [
    Row { method: "spf", words: &["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"] },
    Row { method: "dkim", words: &["none", "pass", "fail", "policy", "temperror", "permerror"] },
    Row { method: "dmarc", words: &["none", "pass", "fail", "temperror", "permerror"] },
    Row { method: "applied", words: &["none", "quarantine", "reject"] },
];

/// Results of the method with the most.
const WORDS_MAX: usize = 7;

/// What one shard counts.
#[derive(Debug, Default)]
pub struct AuthenticationMetrics {
    counts: [[Counter; WORDS_MAX]; ROWS.len()],
    /// How long complete messages waited for answers.
    pub wait: Histogram,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct AuthenticationValues {
    counts: [[u64; WORDS_MAX]; ROWS.len()],
    /// How long complete messages waited for answers.
    pub wait: Spread,
}

impl AuthenticationMetrics {
    /// A message, or a signature, had this result.
    pub fn count(&self, method: &str, word: &str) {
        for (row, counts) in ROWS.iter().zip(&self.counts).filter(|(row, _)| row.method == method) {
            let place = row.words.iter().position(|one| *one == word);
            debug_assert!(place.is_some(), "{word} is no result of {method}");
            if let Some(count) = place.and_then(|place| counts.get(place)) {
                count.add(1);
            }
        }
    }

    /// A message waited so long for answers after its end.
    pub fn note_wait(&self, time: Duration) {
        self.wait.add_duration(time);
    }

    pub(super) fn read(&self) -> AuthenticationValues {
        AuthenticationValues {
            counts: std::array::from_fn(|row| std::array::from_fn(|place| self.counts[row][place].value())),
            wait: self.wait.spread(),
        }
    }
}

impl AuthenticationValues {
    /// Method, word and count of every result.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = ROWS.iter().zip(&self.counts);
        rows.flat_map(|(row, counts)| {
            row.words.iter().zip(counts).map(|(word, count)| (row.method, *word, *count))
        })
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *count += more;
        }
        self.wait.merge(&other.wait);
    }
}

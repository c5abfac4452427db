//! What one thread counted: messages, replies by code, latencies and what went wrong. Added up at the end of
//! the run.

pub mod bots;
pub mod failures;
pub mod interval;
mod latencies;
mod replies;

use std::time::{Duration, Instant};

use crate::ledger::notes::Notes;
use crate::tls::handshakes::Handshakes;
use bots::BotCounts;
use failures::Failures;
use interval::{Intervals, Recorder};
use latencies::Latencies;
use replies::Replies;

/// A message begun so long after its intended time is late: more than a turn of a busy thread.
pub const LATE: Duration = Duration::from_millis(1);

/// Counts of a thread, or of a whole run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Transactions begun.
    pub started: u64,
    /// Messages accepted: every reply was as expected up to the final 250. `accepted <= started`.
    pub accepted: u64,
    /// Messages refused, as their scenario expects.
    pub refused: u64,
    /// Messages broken off by us, as their scenario wants.
    pub aborted: u64,
    /// Octets of the messages accepted.
    pub octets: u64,
    /// Sessions that the server ended, as their scenario allows.
    pub ended_by_server: u64,
    /// Messages begun more than [`LATE`] after their intended time.
    pub late: u64,
    /// Messages that were due before the end and were not begun.
    pub unsent: u64,
    /// Sum of the transactions' latencies, in microseconds.
    pub latency_sum: u64,
    /// Longest latency of a transaction since it was last asked for, in microseconds.
    pub latency_max: u64,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Connections that were made.
    pub connections: u64,
    /// Replies by code.
    pub replies: Replies,
    /// Sessions of bots.
    pub bots: BotCounts,
    /// Latencies by phase.
    pub latencies: Latencies,
    /// Latencies of transactions over time, while the run lasts. Not added up.
    pub recorder: Recorder,
    /// Latencies of transactions over time, of a run that has ended.
    pub intervals: Intervals,
    /// What went wrong.
    pub failures: Failures,
    /// A command group was to be sent and the server did not offer PIPELINING.
    pub pipelining_missing: bool,
    /// When the last message was accepted.
    pub last_accepted: Option<Instant>,
    /// What was asked for and the server does not offer, in words: such a run makes no sense.
    pub unsupported: Option<String>,
    /// EHLO was refused and HELO was said.
    pub helo: bool,
    /// What goes into the ledger, if there is one. Not added up.
    pub notes: Notes,
}

impl Tally {
    /// Messages that ended as their scenario expects, and sessions of bots that ended.
    pub fn done(&self) -> u64 {
        self.accepted + self.refused + self.aborted + self.bots.sessions()
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        self.started += other.started;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.aborted += other.aborted;
        self.octets += other.octets;
        self.ended_by_server += other.ended_by_server;
        self.late += other.late;
        self.unsent += other.unsent;
        self.latency_sum += other.latency_sum;
        self.handshakes.merge(&other.handshakes);
        self.helo |= other.helo;
        if self.unsupported.is_none() {
            self.unsupported.clone_from(&other.unsupported);
        }
        self.connections += other.connections;
        self.replies.merge(&other.replies);
        self.bots.merge(&other.bots);
        self.latencies.merge(&other.latencies);
        self.intervals.merge(&other.intervals);
        self.failures.merge(&other.failures);
        self.pipelining_missing |= other.pipelining_missing;
        self.last_accepted = self.last_accepted.max(other.last_accepted);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn replies_of_all_threads_are_counted() {
        let mut whole = Tally::default();
        for _ in 0..3 {
            let mut tally = Tally::default();
            for code in [451, 250, 451, 999] {
                tally.replies.count(code);
            }
            whole.merge(&tally);
        }
        assert_eq!(whole.replies.by_code(), BTreeMap::from([(250, 3), (451, 6)]));
    }
}

//! How sessions of bots ended, and what they heard, by kind.

use std::collections::BTreeMap;

use super::replies::Replies;
use crate::scenario::bots::{End, Kind};

/// See the file's head. Holds nothing in a run without bots.
#[derive(Debug, Default)]
pub struct BotCounts(Vec<KindCounts>);

/// The sessions of one kind.
#[derive(Debug, Default)]
pub struct KindCounts {
    ends: [u64; End::ALL.len()],
    /// Those that went as their kind means to. At most those that ended.
    complete: u64,
    replies: Replies,
}

impl BotCounts {
    /// Counts a reply to a session of this kind.
    pub fn count_reply(&mut self, kind: Kind, code: u16) {
        self.of_kind(kind).replies.count(code);
    }

    /// Counts the end of a session, and whether it went as its kind means to.
    pub fn count_end(&mut self, kind: Kind, end: End, is_complete: bool) {
        let counts = self.of_kind(kind);
        counts.ends[end as usize] += 1;
        counts.complete += u64::from(is_complete);
    }

    fn of_kind(&mut self, kind: Kind) -> &mut KindCounts {
        if self.0.is_empty() {
            self.0.resize_with(Kind::ALL.len(), KindCounts::default);
        }
        &mut self.0[kind as usize]
    }

    /// Sessions that ended.
    pub fn sessions(&self) -> u64 {
        self.0.iter().map(KindCounts::sessions).sum()
    }

    /// Sessions of all kinds that went as their kind means to.
    pub fn complete(&self) -> u64 {
        self.0.iter().map(|counts| counts.complete).sum()
    }

    /// Of the kind whose sessions are timed: how many are not among the latencies, because they are not
    /// complete, and of how many.
    pub fn left_out(&self) -> (u64, u64) {
        let of = |counts: &KindCounts| (counts.sessions() - counts.complete, counts.sessions());
        self.0.get(Kind::Refused as usize).map_or((0, 0), of)
    }

    /// Sessions of all kinds that ended in this way.
    pub fn ended(&self, end: End) -> u64 {
        self.0.iter().map(|counts| counts.ended(end)).sum()
    }

    /// The kinds of which there were sessions.
    pub fn by_kind(&self) -> impl Iterator<Item = (Kind, &KindCounts)> {
        Kind::ALL.into_iter().zip(&self.0).filter(|(_, counts)| counts.sessions() > 0)
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        for (kind, theirs) in Kind::ALL.into_iter().zip(&other.0) {
            let ours = self.of_kind(kind);
            for (ours, theirs) in ours.ends.iter_mut().zip(theirs.ends) {
                *ours += theirs;
            }
            ours.complete += theirs.complete;
            ours.replies.merge(&theirs.replies);
        }
    }
}

impl KindCounts {
    /// Sessions that ended.
    pub fn sessions(&self) -> u64 {
        self.ends.iter().sum()
    }

    /// Those that went as their kind means to.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Those that ended in this way.
    pub fn ended(&self, end: End) -> u64 {
        self.ends[end as usize]
    }

    /// Replies to them, by code.
    pub fn replies(&self) -> BTreeMap<u16, u64> {
        self.replies.by_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_replies_of_all_threads_are_added_up_by_kind() {
        let mut whole = BotCounts::default();
        assert_eq!((whole.sessions(), whole.by_kind().count()), (0, 0));
        for _ in 0..3 {
            let mut counts = BotCounts::default();
            counts.count_reply(Kind::EarlyTalker, 554);
            counts.count_end(Kind::EarlyTalker, End::Closed, true);
            counts.count_end(Kind::Silent, End::TimedOut, false);
            counts.count_end(Kind::Refused, End::Left, true);
            counts.count_end(Kind::Refused, End::NotConnected, false);
            counts.count_end(Kind::Refused, End::Reset, false);
            whole.merge(&counts);
        }
        let by_kind: Vec<_> =
            whole.by_kind().map(|(kind, counts)| (kind, counts.sessions(), counts.replies())).collect();
        let early = (Kind::EarlyTalker, 3, BTreeMap::from([(554, 3)]));
        let none = BTreeMap::new;
        assert_eq!(by_kind, [(Kind::Refused, 9, none()), early, (Kind::Silent, 3, none())]);
        assert_eq!((whole.sessions(), whole.ended(End::Closed), whole.ended(End::Left)), (15, 3, 3));
        assert_eq!((whole.complete(), whole.left_out()), (6, (6, 9)));
    }
}

//! A shard's way to the spiller, for mail data that it does not keep in memory.

use std::time::Instant;

use crate::buffer::{Pool, SpillFile};
use crate::handoff::channel::{MustRing, Sender};
use crate::handoff::part::{Errand, Part};
use crate::limits::{SPILL_RELIEF_WAIT, SPILLS_AWAY_MAX};

/// Where mail data goes that is too much to stay in memory.
#[derive(Debug, Clone)]
pub enum Overflow {
    /// It stays in memory, whatever becomes of it.
    Memory,
    /// Nobody reads it: it is counted and dropped.
    Nowhere,
    /// To spill files, by way of the spiller.
    Files(Sender<Errand>),
}

/// One shard's parts of messages that are away.
#[derive(Debug)]
pub struct Parts {
    overflow: Overflow,
    /// Parts that have not come home. `<= SPILLS_AWAY_MAX`
    away: usize,
    /// When somebody had to give way last.
    relieved_at: Option<Instant>,
}

impl Parts {
    /// None is away.
    pub fn new(overflow: Overflow) -> Self {
        Self { overflow, away: 0, relieved_at: None }
    }

    /// Where mail data goes.
    pub(super) fn overflow(&self) -> &Overflow {
        &self.overflow
    }

    /// Sends a part away, or gives it back when there is no way out now.
    pub(super) fn send(&mut self, part: Box<Part>) -> Result<MustRing, Box<Part>> {
        let Overflow::Files(to_spiller) = &self.overflow else { return Err(part) };
        if self.away == SPILLS_AWAY_MAX {
            return Err(part);
        }
        match to_spiller.try_send(Errand::Write(part)) {
            Ok(ring) => {
                self.away += 1;
                Ok(ring)
            }
            Err(Errand::Write(part)) => Err(part),
            Err(Errand::Close(_)) => unreachable!("what was sent comes back"),
        }
    }

    /// A part came home.
    pub(super) fn handle_home(&mut self) {
        assert!(self.away > 0, "a part comes home once");
        self.away -= 1;
    }

    /// Has the files of messages closed that came to nothing. What does not fit the channel waits for the
    /// next turn.
    pub(super) fn close_abandoned(&self, pool: &mut Pool) -> MustRing {
        let mut must_ring = None;
        while let Some(file) = pool.next_abandoned() {
            match self.close(file) {
                Ok(ring) => must_ring = must_ring.or(ring),
                Err(file) => {
                    pool.keep_abandoned(file);
                    break;
                }
            }
        }
        must_ring
    }

    /// Whether somebody may be made to give way for others now: once in a while, because all connections are
    /// looked at for it.
    pub(super) fn may_relieve(&mut self, now: Instant) -> bool {
        let is_soon = |last: Instant| now.saturating_duration_since(last) < SPILL_RELIEF_WAIT;
        let may = !self.relieved_at.is_some_and(is_soon);
        if may {
            self.relieved_at = Some(now);
        }
        may
    }

    fn close(&self, file: SpillFile) -> Result<MustRing, SpillFile> {
        let Overflow::Files(to_spiller) = &self.overflow else { return Ok(None) };
        to_spiller.try_send(Errand::Close(file)).map_err(|errand| match errand {
            Errand::Close(file) => file,
            Errand::Write(_) => unreachable!("what was sent comes back"),
        })
    }
}

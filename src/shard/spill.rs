//! A shard's way to the spill thread, and how a connection moves mail data out of memory.
//!
//! A connection has at most one part of its message away. Meanwhile it goes on receiving; when that, too, is more than it may
//! have in memory, it parses no more until the part is home, so its client is slowed down by TCP. It waits for the disk then,
//! never for memory that another message holds.

use std::time::Instant;

use crossbeam_channel::Receiver;

use super::Shard;
use super::clients::Seat;
use super::connection::Connection;
use super::context::Context;
use super::table::Key;
use crate::buffer::{Pool, SpillFile};
use crate::handoff::channel::MustRing;
use crate::handoff::message::Message;
use crate::handoff::spill::{Errand, Part, ToSpiller, Written};
use crate::limits::{SPILL_IDLE_MAX, SPILL_RATE_FAIR, SPILL_RELIEF_WAIT, SPILL_WAIT_MAX, SPILLS_AWAY_MAX};
use crate::mail::outcome::TryAgain;
use crate::ring::Ring;
use crate::smtp::question::Delivered;
use crate::smtp::trace::Beginning;

/// Where the mail data goes that a shard does not keep in memory.
pub enum Route {
    /// It stays in memory, whatever becomes of it.
    Memory,
    /// Nobody reads it: it is counted and dropped.
    Nowhere,
    /// To files, by way of the spill thread.
    Files(ToSpiller, Receiver<Written>),
}

/// One shard's spilling.
pub struct Spill {
    route: Route,
    /// Parts that have not come home. `<= SPILLS_AWAY_MAX`
    away: usize,
    /// When somebody had to give way last.
    relieved_at: Option<Instant>,
}

impl Spill {
    /// On this route.
    pub fn new(route: Route) -> Self {
        Self { route, away: 0, relieved_at: None }
    }

    /// The next part that came home.
    pub(super) fn next_written(&mut self) -> Option<Written> {
        let Route::Files(_, written) = &self.route else { return None };
        let written = written.try_recv().ok()?;
        assert!(self.away > 0, "a part comes home once");
        self.away -= 1;
        Some(written)
    }

    /// Whether a part is home already, so that the shard must not sleep. Looked at behind the parked bell.
    pub(super) fn is_home(&self) -> bool {
        matches!(&self.route, Route::Files(_, written) if !written.is_empty())
    }

    fn send(&mut self, part: Box<Part>) -> Result<MustRing, Box<Part>> {
        let Route::Files(to, _) = &self.route else { return Err(part) };
        if self.away == SPILLS_AWAY_MAX {
            return Err(part);
        }
        match to.try_send(Errand::Write(part)) {
            Ok(ring) => {
                self.away += 1;
                Ok(ring)
            }
            Err(Errand::Write(part)) => Err(part),
            Err(Errand::Close(_)) => unreachable!("what was sent comes back"),
        }
    }

    /// Has the files of messages closed that came to nothing. What does not fit the channel waits for the next turn.
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

    fn close(&self, file: SpillFile) -> Result<MustRing, SpillFile> {
        let Route::Files(to, _) = &self.route else { return Ok(None) };
        to.try_send(Errand::Close(file)).map_err(|errand| match errand {
            Errand::Close(file) => file,
            Errand::Write(_) => unreachable!("what was sent comes back"),
        })
    }
}

/// What a connection has to remember of the mail data that it moved out of memory.
#[derive(Debug, Default)]
pub(super) struct Spilling {
    pub(super) waits: Waits,
    /// The message lost its mail data, and why. It is read to its end and never stored.
    pub(super) lost: Option<TryAgain>,
    /// What the mail data begins with, once its first octets are no longer in memory.
    beginning: Option<Beginning>,
    /// When a part left memory last.
    sent_away_at: Option<Instant>,
}

/// What waits for the part that is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing: the connection goes on.
    #[default]
    No,
    /// Parsing: what came meanwhile is enough.
    Parsing,
    /// The hand-over of the complete message.
    HandOver,
}

impl Spilling {
    /// Whether a part of the message has left memory.
    pub(super) fn has_begun(&self) -> bool {
        self.beginning.is_some()
    }

    /// What the mail data of the complete message begins with.
    pub(super) fn beginning(&self, message: &Message) -> Beginning {
        self.beginning.unwrap_or_else(|| Beginning::of(message.data.pieces()))
    }
}

impl<R: Ring> Shard<R> {
    /// There is no room for spill files: of this shard's messages that hold one and are hardly being sent, the slowest gives
    /// way (`421 4.4.2`). What it held is free for the next message that grows. It looks at all connections, so not often.
    pub(super) fn relieve_spilling(&mut self) {
        let now = self.context.now;
        let is_soon = |last: Instant| now.saturating_duration_since(last) < SPILL_RELIEF_WAIT;
        if self.context.spill.relieved_at.is_some_and(is_soon) {
            return;
        }
        self.context.spill.relieved_at = Some(now);
        let mut slowest: Option<(u64, Key)> = None;
        for key in self.connections.keys() {
            let rate = self.connections.find(key).and_then(|connection| connection.slow_rate(now));
            if let Some(rate) = rate
                && slowest.is_none_or(|(least, _)| rate < least)
            {
                slowest = Some((rate, key));
            }
        }
        if let Some((_, key)) = slowest
            && let Some(connection) = self.connections.find(key)
        {
            connection.session.wait_until(now, now);
            connection.expire(&mut self.context);
            self.mark(key);
        }
    }
}

impl Connection {
    /// Octets a second of a message that holds a spill file and has been slow since its last part left memory. None where
    /// it holds none, waits for us, or is fast enough.
    fn slow_rate(&self, now: Instant) -> Option<u64> {
        let data = &self.draft.as_ref()?.data;
        data.spill_file().filter(|_| self.spilling.waits == Waits::No)?;
        let time = now.saturating_duration_since(self.spilling.sent_away_at?);
        let rate = data.bytes_in_memory() / time.as_secs().max(1);
        (time >= SPILL_IDLE_MAX && rate < SPILL_RATE_FAIR).then_some(rate)
    }

    /// Moves the mail data so far out of memory, if it is much for what is free.
    pub(super) fn spill_if_due<R: Ring>(&mut self, context: &mut Context<R>) {
        let Some(draft) = self.draft.as_mut().filter(|draft| draft.data.is_due(&context.pool)) else {
            return;
        };
        if matches!(context.spill.route, Route::Memory) {
            return;
        }
        if draft.data.is_away() {
            self.spilling.waits = Waits::Parsing;
            // The client is not to blame for this wait.
            return self.session.wait_until(context.now + SPILL_WAIT_MAX, context.now);
        }
        if self.spilling.beginning.is_none() {
            self.spilling.beginning = Some(Beginning::of(draft.data.pieces()));
        }
        if matches!(context.spill.route, Route::Nowhere) {
            return draft.data.forget(&mut context.pool);
        }
        let client = self.seat.as_ref().map(Seat::client);
        let part = Part { id: draft.id, origin: draft.origin, client, data: draft.data.send_away() };
        match context.spill.send(Box::new(part)) {
            Ok(must_ring) => {
                self.spilling.sent_away_at = Some(context.now);
                context.metrics.spills.add(1);
                context.ring_if(must_ring);
            }
            // No way out now: it stays in memory as long as there is some.
            Err(part) => draft.data.come_back(part.data),
        }
    }

    /// A part of its message is written out, or could not be.
    pub(super) fn handle_written<R: Ring>(&mut self, written: Written, context: &mut Context<R>) {
        let Written { mut part, result, is_scarce: _ } = written;
        let draft = self.draft.as_mut().filter(|draft| draft.id == part.id && draft.data.is_away());
        let Some(draft) = draft else {
            // The transaction is over.
            return part.data.release(&mut context.pool);
        };
        let waited = std::mem::take(&mut self.spilling.waits);
        match result {
            Ok(()) => draft.data.take_home(part.data, &mut context.pool),
            Err(why) => {
                part.data.release(&mut context.pool);
                self.lose_data(why, context);
            }
        }
        match waited {
            Waits::No => {}
            Waits::Parsing => {
                self.session.wait_for_data(context.now);
                self.spill_if_due(context);
            }
            Waits::HandOver => self.hand_over_draft(context),
        }
        self.advance(context);
    }

    /// The disk has kept it waiting too long: the message is given up.
    pub(super) fn expire_spill<R: Ring>(&mut self, context: &mut Context<R>) {
        let waited = std::mem::take(&mut self.spilling.waits);
        self.lose_data(TryAgain::Overload, context);
        match waited {
            Waits::No => {}
            Waits::Parsing => self.session.wait_for_data(context.now),
            Waits::HandOver => self.hand_over_draft(context),
        }
        self.advance(context);
    }

    /// The message loses what it had, is read on to its true end and answered so.
    pub(super) fn lose_data<R: Ring>(&mut self, why: TryAgain, context: &mut Context<R>) {
        self.spilling.lost = Some(why);
        self.release_draft(&mut context.pool);
        self.session.handle_lost_data(why);
        context.metrics.memory_refusals.add(1);
    }

    /// Hands the complete message over, or waits with that for the part that is away.
    pub(super) fn hand_over_draft<R: Ring>(&mut self, context: &mut Context<R>) {
        match (self.spilling.lost, self.draft.take()) {
            (None, Some(message)) if message.data.is_away() => {
                self.draft = Some(message);
                self.spilling.waits = Waits::HandOver;
            }
            (None, Some(message)) => {
                self.spilling = Spilling::default();
                self.hand_over(message, context);
            }
            (lost, draft) => {
                self.draft = draft;
                self.recycle_draft(context);
                self.resolve_delivery(Delivered::TryAgain(lost.unwrap_or(TryAgain::Local)), context);
            }
        }
    }

    /// Whether the end of its time is that of a wait for the spill thread.
    pub(super) fn waits_for_spill(&self, now: Instant) -> bool {
        self.spilling.waits != Waits::No && self.session.deadline() <= now
    }
}

//! The message under way of a connection, from MAIL to its hand-over, and how its mail data is moved out of
//! memory.
//!
//! At most one part of it is away at the spiller. Meanwhile the connection goes on receiving; when that, too,
//! is more than it may have in memory, it parses no more until the part is home, so its client is slowed down
//! by TCP. It waits for the disk then, never for memory that another message holds.
//!
//! ```text
//!            much in memory                 much again                 end of mail data
//!   whole ────────────────────► part away ──────────────► Parsing ┐  ──────────────────► HandOver
//!     ▲                             │                       waits │                         waits
//!     └────────── home ─────────────┘◄───────── home ─────────────┘
//! ```

use std::time::Instant;

use super::delivery::Delivery;
use super::parts::{Overflow, Parts};
use crate::buffer::{MailData, NoMemory, Pool};
use crate::handoff::channel::MustRing;
use crate::handoff::message::Message;
use crate::handoff::part::{Part, Written};
use crate::limits::{SPILL_IDLE_MAX, SPILL_RATE_FAIR};
use crate::mail::client::Client;
use crate::mail::outcome::TryAgain;
use crate::smtp::denial::Denial;
use crate::smtp::message_id;
use crate::smtp::trace::Beginning;

/// The message under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct Draft {
    message: Option<Box<Message>>,
    waits: Waits,
    /// The message has no mail data any more, and why: it was lost, or is not wanted. It is read to its end
    /// and never stored.
    lost: Option<Denial>,
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

/// What became of mail data that may be much for what is free.
#[derive(Debug)]
pub(super) enum Moved {
    /// Nothing waits for it: it is where it was, or nobody wants it.
    No,
    /// A part left memory; the spiller may have to be rung.
    Away(MustRing),
    /// A part is away still, so the connection has to wait.
    MustWait,
}

/// What a complete message has come to.
#[derive(Debug)]
pub(super) enum Complete {
    /// It can be handed over.
    Whole(Box<Message>),
    /// A part of it is away: it is asked again when that is home.
    Waits,
    /// It cannot be stored, or is not wanted.
    Lost(Denial),
}

impl Draft {
    /// A transaction began. The one before was recycled.
    pub(super) fn begin(&mut self, message: Box<Message>) {
        debug_assert!(self.message.is_none(), "its buffers would stay pinned");
        *self = Self { message: Some(message), ..Self::default() };
    }

    /// Whether there is one.
    pub(super) fn is_begun(&self) -> bool {
        self.message.is_some()
    }

    /// The message.
    pub(super) fn message_mut(&mut self) -> Option<&mut Message> {
        self.message.as_deref_mut()
    }

    /// Its mail data.
    pub(super) fn data(&self) -> Option<&MailData> {
        self.message.as_ref().map(|message| &message.data)
    }

    /// The reverse-path of a complete message.
    pub(super) fn reverse_path(&self) -> &[u8] {
        self.message.as_ref().map_or(b"", |message| message.envelope.reverse_path())
    }

    /// Whether it has lost what it had, and is never stored.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Whether it has mail data.
    pub(super) fn has_data(&self) -> bool {
        self.message.as_ref().is_some_and(|message| !message.data.is_empty())
    }

    /// Whether a part of it has left memory.
    pub(super) fn has_spilled(&self) -> bool {
        self.beginning.is_some()
    }

    /// What waits for the part that is away.
    pub(super) fn waits(&self) -> Waits {
        self.waits
    }

    /// What the mail data of the complete message begins with.
    pub(super) fn beginning(&self) -> Option<Beginning> {
        let message = self.message.as_ref()?;
        Some(self.beginning.unwrap_or_else(|| {
            let whole = message.data.whole().expect("no part of it has left memory");
            Beginning::of(whole.pieces())
        }))
    }

    /// Keeps mail data, unless the message has lost what it had.
    pub(super) fn keep(
        &mut self,
        pool: &mut Pool,
        append: impl FnOnce(&mut Message, &mut Pool) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        match (self.lost, self.message.as_mut()) {
            (None, Some(message)) => append(message, pool),
            (Some(_), _) | (None, None) => Ok(()),
        }
    }

    /// Moves the mail data so far out of memory, if it is much for what is free. `is_logged`: messages have
    /// lines.
    pub(super) fn move_if_due(
        &mut self,
        client: impl FnOnce() -> Option<Client>,
        is_logged: bool,
        parts: &mut Parts,
        pool: &mut Pool,
        now: Instant,
    ) -> Moved {
        let Some(message) = self.message.as_mut().filter(|message| message.data.is_due(pool)) else {
            return Moved::No;
        };
        match parts.overflow() {
            Overflow::Memory => return Moved::No,
            Overflow::Files(_) if message.data.is_away() => {
                self.waits = Waits::Parsing;
                return Moved::MustWait;
            }
            Overflow::Nowhere | Overflow::Files(_) => {}
        }
        if self.beginning.is_none() {
            let whole = message.data.whole().expect("no part of it has left memory");
            self.beginning = Some(Beginning::of(whole.pieces()));
            if is_logged {
                message.log.message_id = message_id::find(whole.pieces()).map(|id| id.as_slice().into());
            }
        }
        if matches!(parts.overflow(), Overflow::Nowhere) {
            message.data.forget(pool);
            return Moved::No;
        }
        let part =
            Part { id: message.id, origin: message.origin, client: client(), data: message.data.send_away() };
        match parts.send(Box::new(part)) {
            Ok(must_ring) => {
                self.sent_away_at = Some(now);
                Moved::Away(must_ring)
            }
            // No way out now: it stays in memory as long as there is some.
            Err(part) => {
                message.data.come_back(part.data);
                Moved::No
            }
        }
    }

    /// Whether so little memory is left that its mail data would have to leave it, if it can.
    pub(super) fn presses(&self, parts: &Parts, pool: &Pool) -> bool {
        let may_leave = match parts.overflow() {
            Overflow::Memory => false,
            Overflow::Nowhere | Overflow::Files(_) => true,
        };
        may_leave && pool.pressure().is_scarce() && self.data().is_some_and(|data| data.is_due(pool))
    }

    /// A part came home. Gives what has waited for it, and why the message is lost now, if it is; none when
    /// the part was of a transaction that is over.
    pub(super) fn handle_written(
        &mut self,
        written: Written,
        pool: &mut Pool,
    ) -> Option<(Waits, Result<(), TryAgain>)> {
        let Written { mut part, result, is_scarce: _ } = written;
        let message = self.message.as_mut().filter(|message| message.id == part.id && message.data.is_away());
        match (message, result) {
            (Some(message), Ok(())) => message.data.take_home(part.data, pool),
            (Some(_), Err(_)) => part.data.release(pool),
            (None, _) => {
                part.data.release(pool);
                return None;
            }
        }
        Some((std::mem::take(&mut self.waits), result))
    }

    /// The wait for a part is over without it.
    pub(super) fn give_up_waiting(&mut self) -> Waits {
        std::mem::take(&mut self.waits)
    }

    /// It loses what it had, and is never stored.
    pub(super) fn lose(&mut self, why: impl Into<Denial>, pool: &mut Pool) {
        self.lost.get_or_insert(why.into());
        self.release(pool);
    }

    /// Its mail data so far is given up.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        if let Some(message) = self.message.as_mut() {
            message.data.release(pool);
        }
    }

    /// The end of the mail data came, or the part that it waited for. A whole message leaves the draft.
    pub(super) fn complete(&mut self) -> Complete {
        match (self.lost, self.message.take()) {
            (None, Some(message)) if message.data.is_away() => {
                self.message = Some(message);
                self.waits = Waits::HandOver;
                Complete::Waits
            }
            (None, Some(message)) => {
                *self = Self::default();
                Complete::Whole(message)
            }
            (lost, message) => {
                self.message = message;
                Complete::Lost(lost.unwrap_or(TryAgain::Local.into()))
            }
        }
    }

    /// The message that was lost, to be taken apart.
    pub(super) fn take_lost(&mut self) -> Option<Box<Message>> {
        std::mem::take(self).message
    }

    /// It comes to nothing: its memory is used again.
    pub(super) fn recycle(&mut self, delivery: &mut Delivery, pool: &mut Pool) {
        if let Some(message) = std::mem::take(self).message {
            delivery.recycle(message, pool);
        }
    }

    /// Octets a second of a message that holds a spill file and has been slow since its last part left
    /// memory. None where it holds none, waits for us, or is fast enough.
    pub(super) fn slow_rate(&self, now: Instant) -> Option<u64> {
        let data = &self.message.as_ref()?.data;
        data.spill_file().filter(|_| self.waits == Waits::No)?;
        let time = now.saturating_duration_since(self.sent_away_at?);
        let rate = data.bytes_in_memory() / time.as_secs().max(1);
        (time >= SPILL_IDLE_MAX && rate < SPILL_RATE_FAIR).then_some(rate)
    }
}

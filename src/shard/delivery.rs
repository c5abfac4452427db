//! A shard's way to its sink: mints queue ids, hands messages over, takes receipts, and keeps the memory of
//! messages that came home for the next ones.
//!
//! It never blocks. A full channel keeps messages waiting here, each for a bounded time; while they wait too
//! long, or the sink has missed an answer, new transactions are refused at MAIL.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::buffer::{Arena, MailData, Pool};
use crate::handoff::channel::{MustRing, Sender};
use crate::handoff::message::{LogFacts, Message, Origin, Progress, Receipt};
use crate::limits::{HANDOFF_MESSAGES_MAX, HANDOFF_WAIT_MAX};
use crate::mail::authentication::Authentication;
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::mail::queue_id::{IdKey, QueueId, QueueIds};
use crate::sink::Sink;
use crate::sink::space::Space;
use crate::smtp::supplies::Supplies;
use crate::timestamp;

/// While the first waiting message has waited this long, new transactions are refused.
const ADMISSION_WAIT_MAX: Duration = Duration::from_secs(1);

/// Shells kept for the next messages; what connections and channel hold comes on top.
const SPARES_MAX: usize = HANDOFF_MESSAGES_MAX;

/// Octets that a shell keeps for what stands in front of mail data; filters may have added far more.
const RECEIVED_BYTES_KEPT: usize = 4096;

/// Where a shard's messages go.
pub enum ToSink {
    /// To a sink worker.
    Worker(Sender<Box<Message>>),
    /// A sink that never blocks runs on the shard.
    Inline(Box<dyn Sink>),
}

/// What happened to a message that was handed over.
#[derive(Debug)]
pub enum Handed {
    /// Its receipt will come; somebody may have to be rung.
    Away(MustRing),
    /// It waits for a place in the channel.
    Waiting,
    /// Answered on the spot.
    Answered(Receipt),
}

/// One shard's deliveries.
pub struct Delivery {
    to_sink: ToSink,
    shard: u16,
    ids: QueueIds,
    /// Messages handed over whose receipt has not come. `<= HANDOFF_MESSAGES_MAX`, the room of the receipts'
    /// channel.
    outstanding: usize,
    /// Messages that found the channel full, the longest waiting first. At most one a connection.
    waiting: VecDeque<(Instant, Box<Message>)>,
    /// A connection has waited in vain for a receipt, and none has come since.
    sink_hangs: bool,
    spare_messages: Vec<Box<Message>>,
    inline_batch: Vec<Box<Message>>,
    inline_outcomes: Vec<Outcome>,
    /// What is left on the sink's file system; none for a sink without one.
    space: Option<Arc<Space>>,
}

impl Delivery {
    /// Deliveries of this shard.
    pub fn new(shard: u16, key: IdKey, to_sink: ToSink) -> Self {
        Self {
            to_sink,
            shard,
            ids: QueueIds::new(key, shard),
            outstanding: 0,
            waiting: VecDeque::new(),
            sink_hangs: false,
            spare_messages: Vec::new(),
            inline_batch: Vec::with_capacity(1),
            inline_outcomes: Vec::with_capacity(1),
            space: None,
        }
    }

    /// The number of this shard.
    pub(super) fn shard(&self) -> u16 {
        self.shard
    }

    /// With this space to heed at MAIL.
    #[must_use]
    pub fn with_space(self, space: Option<Arc<Space>>) -> Self {
        Self { space, ..self }
    }

    /// Whether the sink's disk has room for a message of this declared size.
    pub fn has_room(&self, size: Option<u64>) -> bool {
        self.space.as_ref().is_none_or(|space| space.has_room(size))
    }

    /// Whether new transactions are to be refused, and why.
    pub fn overload(&self, now: Instant) -> Option<TryAgain> {
        let waits = |since: Instant| now.saturating_duration_since(since) > ADMISSION_WAIT_MAX;
        let stuck = self.waiting.front().is_some_and(|(since, _)| waits(*since));
        (stuck || self.sink_hangs).then_some(TryAgain::Overload)
    }

    /// An empty message with a new id for the transaction of a connection.
    pub fn begin(
        &mut self,
        connection: u64,
        arena: &Arc<Arena>,
        supplies: &mut Supplies,
        wall_clock: SystemTime,
    ) -> Box<Message> {
        let seconds = timestamp::seconds(wall_clock);
        let make = || Box::new(Message::empty(Arc::clone(arena), supplies.take_envelope()));
        let mut message = self.spare_messages.pop().unwrap_or_else(make);
        message.id = self.ids.next(seconds);
        message.origin = Origin { shard: self.shard, connection };
        message
    }

    /// Hands a completed message over.
    pub fn hand_over(&mut self, mut message: Box<Message>, now: Instant) -> Handed {
        message.progress.handed_over = Some(now);
        match &mut self.to_sink {
            ToSink::Inline(sink) => {
                self.inline_batch.push(message);
                sink.store(&mut self.inline_batch, &mut self.inline_outcomes);
                match (self.inline_batch.pop(), self.inline_outcomes.pop()) {
                    (Some(message), Some(outcome)) => Handed::Answered(Receipt { message, outcome }),
                    _ => unreachable!("a sink gives one outcome a message and leaves the batch"),
                }
            }
            ToSink::Worker(_) if !self.waiting.is_empty() => self.wait(message, now),
            ToSink::Worker(_) => match self.try_send(message) {
                Ok(ring) => Handed::Away(ring),
                Err(message) => self.wait(message, now),
            },
        }
    }

    /// Moves waiting messages into the channel while it has room.
    pub fn hand_over_waiting(&mut self, now: Instant) -> MustRing {
        let mut must_ring = None;
        while let Some((since, mut message)) = self.waiting.pop_front() {
            message.progress.handed_over = Some(now);
            match self.try_send(message) {
                Ok(ring) => must_ring = must_ring.or(ring),
                Err(message) => {
                    self.waiting.push_front((since, message));
                    break;
                }
            }
        }
        must_ring
    }

    /// A receipt came home.
    pub fn handle_receipt(&mut self) {
        assert!(self.outstanding > 0, "one receipt a message");
        self.outstanding -= 1;
        self.sink_hangs = false;
    }

    /// The receipt of the next message that has waited too long for a place.
    pub fn next_overdue(&mut self, now: Instant) -> Option<Receipt> {
        let (since, _) = self.waiting.front()?;
        if now.saturating_duration_since(*since) < HANDOFF_WAIT_MAX {
            return None;
        }
        let (_, mut message) = self.waiting.pop_front()?;
        message.progress.handed_over = None;
        Some(Receipt { message, outcome: Outcome::TryAgain(TryAgain::Overload) })
    }

    /// A connection waited in vain for its receipt.
    pub fn note_hang(&mut self) {
        self.sink_hangs = self.outstanding > 0;
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.waiting.is_empty()
    }

    /// Messages that wait for a place in the channel or for their receipt.
    pub fn under_way(&self) -> usize {
        self.outstanding + self.waiting.len()
    }

    /// Whether messages wait for a place in the channel, so that somebody has to look at the time.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a message apart: its buffers go back to the pool, the rest is kept for the next one.
    pub fn recycle(&mut self, mut message: Box<Message>, pool: &mut Pool) {
        message.data.release(pool);
        if self.spare_messages.len() < SPARES_MAX {
            message.clear();
            self.spare_messages.push(message);
        }
    }

    fn wait(&mut self, message: Box<Message>, now: Instant) -> Handed {
        self.waiting.push_back((now, message));
        Handed::Waiting
    }

    fn try_send(&mut self, message: Box<Message>) -> Result<MustRing, Box<Message>> {
        let ToSink::Worker(to_sink) = &self.to_sink else { return Err(message) };
        if self.outstanding == HANDOFF_MESSAGES_MAX {
            return Err(message);
        }
        let ring = to_sink.try_send(message)?;
        self.outstanding += 1;
        Ok(ring)
    }
}

impl Message {
    fn empty(arena: Arc<Arena>, envelope: Box<Envelope>) -> Self {
        Self {
            id: QueueId::default(),
            origin: Origin { shard: 0, connection: 0 },
            envelope,
            client: ClientFacts::unknown(),
            received_at: SystemTime::UNIX_EPOCH,
            received: Vec::new(),
            authentication: Authentication::default(),
            data: MailData::new(arena),
            place: String::new(),
            log: LogFacts::default(),
            progress: Progress::default(),
        }
    }

    fn clear(&mut self) {
        self.envelope.clear();
        self.received.clear();
        self.received.shrink_to(RECEIVED_BYTES_KEPT);
        self.authentication.clear();
        self.log = LogFacts::default();
        self.place.clear();
        self.progress = Progress::default();
    }
}

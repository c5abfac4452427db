//! One connection: its socket, its session, what was received and not parsed, what was answered and not sent.
//!
//! ```text
//!   Serving ──Close or end of input──► Flushing ──all sent──► Draining ──end, bound or deadline──► Closing ──► gone
//!      └──────────────── connection lost, from any phase ─────────────────────────────────────────────┘
//! ```
//!
//! Draining: our half is shut down and what the client still sends is dropped for a bounded time, for closing a socket with
//! unread octets makes the kernel send a reset that eats the reply just sent. A connection is gone only after its last
//! completion.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::clients::Seat;
use super::context::Context;
use super::delivery::Handed;
use super::session_lines::EndedBy;
use super::spill::{Spilling, Waits};
use super::table::Key;
use super::transport::Transport;
use super::work::{LITTLE_BYTES, Slice};
use crate::buffer::{BufferId, NoMemory, Pool};
use crate::handoff::message::{Message, Receipt};
use crate::limits::{CANCEL_WAIT_MAX, DRAIN_BYTES_MAX, DRAIN_WAIT_MAX, UNREAD_BUFFERS_MAX};
use crate::mail::envelope::Envelope;
use crate::mail::outcome::{Outcome, TryAgain};
use crate::ring::{Outgoing, Received, Ring, SendId, Socket};
use crate::smtp::question::{Answerable, Asked, Awaited, Delivered, Delivery, Question};
use crate::smtp::reply::ReplyBuffer;
use crate::smtp::run::Run;
use crate::smtp::session::{Input, Session, Step};
use crate::smtp::trace;
use crate::tls::{Cause, ServerConfig};

/// A connection of a shard.
pub(super) struct Connection {
    socket: Socket,
    pub(super) key: Key,
    pub(super) session: Session,
    pub(super) phase: Phase,
    /// What the client sent and the session has not consumed, in order.
    pub(super) unread: VecDeque<Unread>,
    pub(super) replies: ReplyBuffer,
    pub(super) transport: Transport,
    /// What TLS begins with here; none where the listener has none.
    pub(super) tls_config: Option<Arc<ServerConfig>>,
    receiving: Receiving,
    sending: Option<SendId>,
    send_cancelled: bool,
    /// The client closed its half.
    pub(super) input_ended: bool,
    /// In the list of receives that found no buffer.
    stalled: bool,
    /// In the list of connections to be settled this turn.
    dirty: bool,
    /// The message under way, from MAIL to its hand-over.
    pub(super) draft: Option<Box<Message>>,
    pub(super) spilling: Spilling,
    /// It has used up its slice of work and is in the queue for another.
    pub(super) waits_for_work: bool,
    /// Octets that it held when that was counted last.
    pub(super) held: usize,
    drained_bytes: u64,
    drain_deadline: Option<Instant>,
    accepted_at: SystemTime,
    ended_by: EndedBy,
    /// Its place among the connections of its client.
    pub(super) seat: Option<Seat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Flushing,
    Draining,
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Off,
    Armed,
    /// For one buffer.
    ArmedOnce,
    Cancelling,
}

/// Received octets that wait to be parsed.
#[derive(Debug)]
pub(super) enum Unread {
    /// The rest of a receive buffer that we pin, of which the receive filled `filled` octets.
    Buffer { id: BufferId, start: usize, filled: usize },
    /// Octets copied out, so that a connection that waits pins no buffer.
    Copied { octets: Vec<u8>, start: usize },
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on; call again when something happens to it.
    Open,
    /// Its last completion came: remove it.
    Gone,
}

impl Connection {
    /// A connection just accepted. `greet` makes the session say its first line.
    pub(super) fn new(
        key: Key,
        socket: Socket,
        session: Session,
        tls_config: Option<Arc<ServerConfig>>,
        accepted_at: SystemTime,
    ) -> Self {
        Self {
            socket,
            key,
            session,
            phase: Phase::Serving,
            unread: VecDeque::new(),
            replies: ReplyBuffer::new(),
            transport: Transport::Plain,
            tls_config,
            receiving: Receiving::Off,
            sending: None,
            send_cancelled: false,
            input_ended: false,
            stalled: false,
            dirty: false,
            draft: None,
            spilling: Spilling::default(),
            waits_for_work: false,
            held: 0,
            drained_bytes: 0,
            drain_deadline: None,
            accepted_at,
            ended_by: EndedBy::Server,
            seat: None,
        }
    }

    /// Begins the session of a client that may have this connection.
    pub(super) fn greet(&mut self, seat: Option<Seat>, now: Instant) {
        self.seat = seat;
        if matches!(self.session.greet(&mut self.replies, now), Step::Close) {
            self.flush(now);
        }
    }

    /// Turns a client away that has too many connections.
    pub(super) fn turn_away(&mut self, now: Instant) {
        self.session.turn_away(&mut self.replies);
        self.flush(now);
    }

    /// Turns any client away: the shard is full, or stops.
    pub(super) fn cut_off_at_once(&mut self, now: Instant) {
        self.session.cut_off(&mut self.replies);
        self.flush(now);
    }

    fn flush(&mut self, now: Instant) {
        self.phase = Phase::Flushing;
        self.drain_deadline = Some(now + DRAIN_WAIT_MAX);
    }

    /// Marks it to be settled at the end of the turn; false when it was marked already.
    pub(super) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Its receive found no buffer, and now there are some.
    pub(super) fn resume<R: Ring>(&mut self, context: &mut Context<R>) {
        self.stalled = false;
        self.settle_receive(self.sending.is_some(), context);
    }

    /// Takes what its receive got. True when it has to be put into the list of stalled receives.
    pub(super) fn handle_received<R: Ring>(
        &mut self,
        received: Received,
        more: bool,
        context: &mut Context<R>,
    ) -> bool {
        if !more {
            self.receiving = Receiving::Off;
        } else if self.receiving == Receiving::Cancelling {
            // It came before the cancel, or the cancel missed it.
            self.receiving = Receiving::Armed;
        }
        match received {
            Received::Octets { buffer, count } => {
                context.pool.received(buffer);
                self.handle_octets(buffer, count, context);
            }
            Received::End => {
                self.input_ended = true;
                self.advance(context);
            }
            Received::NoBuffers => {
                context.metrics.buffer_stalls.add(1);
                return !std::mem::replace(&mut self.stalled, true);
            }
            Received::Cancelled => {}
            Received::Failed(_) => self.lose(context),
        }
        false
    }

    /// Whether octets waited when the greeting was about to be sent.
    pub(super) fn handle_peeked<R: Ring>(&mut self, waiting: bool, context: &mut Context<R>) {
        if waiting && self.phase == Phase::Serving && self.session.watches_for_early_input() {
            let step = self.session.handle_waiting_input(&mut self.replies);
            self.follow_close(&step, context);
        }
    }

    /// A send ended.
    pub(super) fn handle_sent<R: Ring>(&mut self, complete: bool, context: &mut Context<R>) {
        self.sending = None;
        if complete {
            self.session.handle_sent();
            // The session may have stopped because its replies were too many.
            self.advance(context);
        } else {
            self.lose(context);
        }
    }

    /// The answer to this connection's message came home. False when the client can no longer be told.
    pub(super) fn handle_receipt<R: Ring>(&mut self, receipt: &Receipt, context: &mut Context<R>) -> bool {
        let waits = self.phase == Phase::Serving && self.session.awaits() == Some(Awaited::Delivery);
        if waits {
            self.resolve_delivery(delivered(receipt), context);
            self.advance(context);
        }
        waits
    }

    /// Its deadline may have passed.
    pub(super) fn expire<R: Ring>(&mut self, context: &mut Context<R>) {
        match self.phase {
            Phase::Serving if self.session.deadline() > context.now => {}
            Phase::Serving if self.waits_for_spill(context.now) => self.expire_spill(context),
            Phase::Serving => {
                if self.session.awaits() == Some(Awaited::Delivery) {
                    context.delivery.note_hang();
                }
                let step = self.session.expire(&mut self.replies, context.now);
                self.follow_close(&step, context);
                self.advance(context);
            }
            // A client that does not even read its last replies has had its time.
            Phase::Flushing | Phase::Draining
                if self.drain_deadline.is_none_or(|deadline| deadline <= context.now) =>
            {
                self.phase = Phase::Closing;
            }
            Phase::Flushing | Phase::Draining => {}
            // A cancel may have met its operation in a moment when the kernel could not find it: try again.
            Phase::Closing => {
                self.send_cancelled = false;
                if self.receiving == Receiving::Cancelling {
                    self.receiving = Receiving::Armed;
                }
            }
        }
    }

    /// Its client has been silent for too long for what is left for others: 421, if it still reads.
    pub(super) fn end_silent<R: Ring>(&mut self, context: &mut Context<R>) {
        context.metrics.gave_way.add(1);
        self.session.wait_until(context.now, context.now);
        let step = self.session.expire(&mut self.replies, context.now);
        self.follow_close(&step, context);
    }

    /// The server stops: ends the session now, or behind the transaction under way.
    pub(super) fn shut_down<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.phase == Phase::Serving && self.session.shut_down(&mut self.replies) {
            self.flush_and_close(context);
        }
    }

    /// The time for transactions under way is over: ends the session whatever it does.
    pub(super) fn cut_off<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.phase == Phase::Serving {
            self.session.cut_off(&mut self.replies);
            self.flush_and_close(context);
        }
    }

    /// Does what the events of a turn left to do: send, arm or cancel the receive, go on with closing. Once a turn.
    pub(super) fn settle<R: Ring>(&mut self, context: &mut Context<R>) -> Fate {
        self.dirty = false;
        // A send that has not ended by now waits for the client to read.
        let is_unread = self.sending.is_some();
        if self.sending.is_none()
            && self.phase != Phase::Closing
            && let Some(head) = self.take_outgoing(context)
        {
            let is_plain = self.is_plain();
            if is_plain && self.phase == Phase::Serving && self.session.watches_for_early_input() {
                context.ring.peek(self.socket, self.key.token());
            }
            self.session.handle_sending();
            let outgoing = Outgoing { head, body: &[] };
            self.sending = Some(context.ring.send(self.socket, outgoing, self.key.token()));
        }
        if self.phase == Phase::Flushing && self.sending.is_none() {
            self.drain_or_close(context);
        }
        if self.phase == Phase::Draining && self.input_ended {
            self.phase = Phase::Closing;
        }
        if self.phase == Phase::Closing {
            return self.close(context);
        }
        self.settle_receive(is_unread, context);
        self.count_held(context);
        Fate::Open
    }

    /// When [`Connection::expire`] wants to be called.
    pub(super) fn deadline(&self) -> Instant {
        match self.drain_deadline {
            Some(deadline) => deadline,
            None => self.session.deadline(),
        }
    }

    /// Says in the log how the session was, once it is gone.
    pub(super) fn log<R: Ring>(&self, context: &mut Context<R>) {
        context.note_front(&self.session);
        context.log_session(&self.session, self.accepted_at, self.ended_by, self.tls_failure());
    }

    fn handle_octets<R: Ring>(&mut self, id: BufferId, count: usize, context: &mut Context<R>) {
        if self.phase != Phase::Serving {
            context.pool.unpin(id);
            self.drained_bytes += count as u64;
            if self.drained_bytes > DRAIN_BYTES_MAX {
                self.phase = Phase::Closing;
            }
            return;
        }
        if !self.is_plain() {
            self.handle_encrypted(id, count, context);
            return self.advance(context);
        }
        self.unread.push_back(Unread::Buffer { id, start: 0, filled: count });
        self.advance(context);
        self.copy_out_last(count, context);
    }

    /// Octets that could not be parsed at once are copied out of a buffer that they fill little of, or that others need.
    fn copy_out_last<R: Ring>(&mut self, count: usize, context: &mut Context<R>) {
        if self.unread.is_empty() || !context.pool.arena().is_little(count) && !context.pool.is_low() {
            return;
        }
        if !context.may_hold(count) {
            context.metrics.held_refusals.add(1);
            return self.cut_off(context);
        }
        if let Some(Unread::Buffer { id, start, filled }) = self.unread.back_mut() {
            let (id, range) = (*id, *start..*filled);
            let octets = context.pool.bytes(id, range).to_vec();
            context.held += octets.len();
            self.held += octets.len();
            self.unread.pop_back();
            self.unread.push_back(Unread::Copied { octets, start: 0 });
            context.pool.unpin(id);
        }
    }

    /// Lets the session consume what is unread, and carries out its steps, until it needs something.
    pub(super) fn advance<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.waits_for_work {
            return;
        }
        let mut slice = Slice::new();
        if context.is_turn_used_up() && self.can_parse() && self.unread_bytes() > LITTLE_BYTES {
            return self.end_slice(slice, true, context);
        }
        while self.can_parse() && !slice.is_over() {
            if self.is_plain() && self.session.wants_tls() {
                self.begin_tls(context);
                continue;
            }
            let more = self.unread.len() > 1;
            let Some(front) = self.unread.front_mut() else { break };
            let (octets, base) = front.octets(&context.pool);
            let mut input = Input { more, ..Input::new(octets, &mut context.supplies) };
            let commands = self.session.summary().commands;
            let session = &mut self.session;
            let replies = &mut self.replies;
            let now = context.now;
            // The session is not looked at again after a panic, and its replies are cut to what was whole.
            let Ok(step) = catch_unwind(AssertUnwindSafe(|| session.advance(&mut input, replies, now)))
            else {
                return self.handle_panic(context);
            };
            let (position, steps) = (input.position, input.steps);
            front.consume(position);
            let made = if matches!(step, Step::Insert) { context.supplies.run.octets().len() } else { 0 };
            let commands = self.session.summary().commands - commands;
            slice.take(position, made, steps, usize::try_from(commands).unwrap_or(usize::MAX));
            match step {
                Step::NeedInput => self.drop_front(&mut context.pool),
                Step::Flush => break,
                Step::Data(range) => self.keep(context, |front, message, pool, _| match front {
                    Unread::Buffer { id, filled, .. } => {
                        message.data.append(pool, *id, base + range.start..base + range.end, *filled)
                    }
                    Unread::Copied { octets, .. } => {
                        let range = base + range.start..base + range.end;
                        message.data.append_copied(pool, octets.get(range).unwrap_or_default())
                    }
                }),
                Step::Insert => {
                    self.keep(context, |_, message, pool, run| {
                        message.data.append_copied(pool, run.octets())
                    });
                }
                Step::Discard => self.release_draft(&mut context.pool),
                Step::Ask(question) => self.answer(question, context),
                Step::Deliver(envelope) => self.deliver(envelope, context),
                Step::Close => self.flush_and_close(context),
            }
        }
        let waits = slice.is_over() && self.can_parse() && !self.unread.is_empty();
        self.end_slice(slice, waits, context);
        self.end_if_input_ended(context);
    }

    fn unread_bytes(&self) -> usize {
        let left = |unread: &Unread| match unread {
            Unread::Buffer { start, filled, .. } => filled - start,
            Unread::Copied { octets, start } => octets.len() - start,
        };
        self.unread.iter().map(left).sum()
    }

    /// Whether the session can go on with what is unread.
    fn can_parse(&self) -> bool {
        self.phase == Phase::Serving && self.session.awaits().is_none() && self.spilling.waits == Waits::No
    }

    /// A half-closed client gets its answers first; then the session is over, whatever was unfinished.
    fn end_if_input_ended<R: Ring>(&mut self, context: &mut Context<R>) {
        let done = self.unread.is_empty() && self.session.awaits().is_none() && !self.handshake_waits();
        if self.input_ended && done && self.phase == Phase::Serving {
            self.session.handle_end_of_input();
            self.ended_by = EndedBy::Client;
            self.flush_and_close(context);
        }
    }

    fn drop_front(&mut self, pool: &mut Pool) {
        if let Some(Unread::Buffer { id, .. }) = self.unread.pop_front() {
            pool.unpin(id);
        }
    }

    /// Keeps mail data; when there is no memory for it, the message loses what it had and is read on to its end.
    fn keep<R: Ring>(
        &mut self,
        context: &mut Context<R>,
        append: impl FnOnce(&Unread, &mut Message, &mut Pool, &Run) -> Result<(), NoMemory>,
    ) {
        let (Some(front), Some(draft)) = (self.unread.front(), self.draft.as_mut()) else { return };
        if self.spilling.lost.is_some() {
            return;
        }
        match append(front, draft, &mut context.pool, &context.supplies.run) {
            Ok(()) => self.spill_if_due(context),
            Err(NoMemory) => self.lose_data(TryAgain::Overload, context),
        }
    }

    fn answer<R: Ring>(&mut self, question: Question, context: &mut Context<R>) {
        match question {
            Question::Beginning { asked, size } => {
                let begins = self.begin_transaction(size, context);
                self.resolve(asked, begins, context);
            }
            Question::Admission { asked, client, front } => {
                self.seat = None;
                // A front that speaks for itself, such as a health check, is not counted, as at the accept.
                let admitted = if client == front { Ok(None) } else { context.clients.enter(client) };
                if admitted.is_err() {
                    context.metrics.connections_refused.add(1);
                }
                self.resolve(asked, admitted.is_ok(), context);
                // From now on that client has this connection.
                self.seat = admitted.unwrap_or(None);
            }
            Question::Recipient { asked } => self.ask_about_recipient(asked, context),
            Question::Encryption { asked } => self.answer_tls(asked, context),
        }
    }

    /// Whether a transaction may begin; if so, the draft of its message begins.
    fn begin_transaction<R: Ring>(
        &mut self,
        size: Option<u64>,
        context: &mut Context<R>,
    ) -> Result<(), TryAgain> {
        if let Some(why) = context.refusal(size) {
            return Err(why);
        }
        self.recycle_draft(context);
        let message = context.delivery.begin(self.key.word(), context.pool.arena(), context.wall_clock);
        self.draft = Some(message);
        Ok(())
    }

    fn deliver<R: Ring>(&mut self, envelope: Box<Envelope>, context: &mut Context<R>) {
        let Some(mut message) = self.draft.take() else {
            // The session delivers only what it asked for at MAIL.
            return self.resolve_delivery(Delivered::TryAgain(TryAgain::Local), context);
        };
        context.supplies.keep_envelope(std::mem::replace(&mut message.envelope, envelope));
        message.received_at = context.wall_clock;
        self.session.tell(&mut message.client);
        let beginning = self.spilling.beginning(&message);
        let Message { received, client, envelope, id, .. } = &mut *message;
        trace::received(received, &context.hostname, client, envelope, *id, context.wall_clock);
        received.extend_from_slice(beginning.lead_in());
        self.draft = Some(message);
        self.hand_over_draft(context);
    }

    pub(super) fn hand_over<R: Ring>(&mut self, message: Box<Message>, context: &mut Context<R>) {
        match context.delivery.hand_over(message, context.now) {
            Handed::Away(must_ring) => context.ring_if(must_ring),
            Handed::Waiting => {}
            Handed::Answered(receipt) => {
                self.resolve_delivery(delivered(&receipt), context);
                context.finish(receipt, true);
            }
        }
    }

    /// Gives the session an answer. One that it does not wait for any more changes nothing.
    pub(super) fn resolve<R: Ring, Q: Answerable>(
        &mut self,
        asked: Asked<Q>,
        answer: Q::Answer,
        context: &mut Context<R>,
    ) {
        if let Ok(step) = self.session.resolve(asked, answer, &mut self.replies, context.now) {
            self.follow_close(&step, context);
        }
    }

    /// Gives the session the answer to the message that it delivered.
    pub(super) fn resolve_delivery<R: Ring>(&mut self, delivered: Delivered, context: &mut Context<R>) {
        if let Some(asked) = self.session.asked::<Delivery>() {
            self.resolve(asked, delivered, context);
        }
    }

    pub(super) fn follow_close<R: Ring>(&mut self, step: &Step, context: &mut Context<R>) {
        if matches!(step, Step::Close) {
            self.flush_and_close(context);
        }
    }

    pub(super) fn flush_and_close<R: Ring>(&mut self, context: &mut Context<R>) {
        self.give_up_handshake(if self.input_ended { Cause::Gone } else { Cause::TimedOut }, context);
        self.flush(context.now);
        self.transport.drop_input();
        self.release_all(context);
    }

    /// All replies are sent: shut our half and wait for the client's end, if that has not come yet.
    fn drain_or_close<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.input_ended {
            self.phase = Phase::Closing;
        } else {
            context.ring.shut_down(self.socket);
            self.phase = Phase::Draining;
            self.drain_deadline = Some(context.now + DRAIN_WAIT_MAX);
        }
    }

    fn lose<R: Ring>(&mut self, context: &mut Context<R>) {
        self.give_up_handshake(Cause::Gone, context);
        if self.phase == Phase::Serving {
            self.ended_by = EndedBy::Lost;
            self.session.handle_end_of_input();
        }
        self.phase = Phase::Closing;
    }

    fn handle_panic<R: Ring>(&mut self, context: &mut Context<R>) {
        context.metrics.session_panics.add(1);
        self.ended_by = EndedBy::Panic;
        self.replies.clear();
        Session::say_local_trouble(&mut self.replies);
        self.flush_and_close(context);
    }

    /// Closes as soon as no operation is under way.
    fn close<R: Ring>(&mut self, context: &mut Context<R>) -> Fate {
        self.release_all(context);
        if matches!(self.receiving, Receiving::Armed | Receiving::ArmedOnce) {
            context.ring.cancel_receive(self.key.token());
            self.receiving = Receiving::Cancelling;
        }
        if let Some(id) = self.sending
            && !std::mem::replace(&mut self.send_cancelled, true)
        {
            context.ring.cancel_send(self.key.token(), id);
        }
        if self.receiving != Receiving::Off || self.sending.is_some() {
            self.drain_deadline = Some(context.now + CANCEL_WAIT_MAX);
            return Fate::Open;
        }
        context.ring.close(self.socket);
        context.held -= self.held;
        Fate::Gone
    }

    /// Arms or cancels the receive. `is_unread`: the client has not read what it was told.
    fn settle_receive<R: Ring>(&mut self, is_unread: bool, context: &mut Context<R>) {
        let open = matches!(self.phase, Phase::Serving | Phase::Draining) && !self.input_ended;
        let paused = self.spilling.waits == Waits::Parsing;
        let full = self.unread.len() > UNREAD_BUFFERS_MAX || self.is_handshake_full() || paused;
        // A client that does not read its replies, or sends far more than one connection may have parsed in a turn, gets nothing more
        // of its input taken in than waits here already.
        let behind = !self.unread.is_empty() && (is_unread || self.waits_for_work);
        // Where much waits in the socket, a multishot receive takes up to 32 buffers of it in one turn. Of many large messages
        // that wait for a slow disk this would be more memory than all else.
        let in_data = self.draft.as_ref().is_some_and(|draft| !draft.data.is_empty());
        let large = self.spilling.has_begun() || in_data && context.pool.is_scarce();
        let one_at_a_time = large || context.pool.is_low() || is_unread || context.work.is_behind();
        match self.receiving {
            Receiving::Off if !open || self.stalled || full || !self.unread.is_empty() => {}
            Receiving::Off if one_at_a_time => {
                context.ring.receive_once(self.socket, self.key.token());
                self.receiving = Receiving::ArmedOnce;
            }
            Receiving::Off => {
                context.ring.receive(self.socket, self.key.token());
                self.receiving = Receiving::Armed;
            }
            // Behind close_notify the socket goes on, and what comes from it is nothing.
            Receiving::Armed if full || large || behind || self.input_ended => {
                context.ring.cancel_receive(self.key.token());
                self.receiving = Receiving::Cancelling;
            }
            Receiving::Armed | Receiving::ArmedOnce | Receiving::Cancelling => {}
        }
        // An idle connection owns nothing but its place.
        if self.draft.is_some() && !self.session.in_transaction() {
            self.recycle_draft(context);
        }
    }

    pub(super) fn release_draft(&mut self, pool: &mut Pool) {
        if let Some(draft) = self.draft.as_mut() {
            draft.data.release(pool);
        }
    }

    pub(super) fn recycle_draft<R: Ring>(&mut self, context: &mut Context<R>) {
        self.spilling = Spilling::default();
        if let Some(draft) = self.draft.take() {
            context.delivery.recycle(draft, &mut context.pool);
        }
    }

    fn release_all<R: Ring>(&mut self, context: &mut Context<R>) {
        while !self.unread.is_empty() {
            self.drop_front(&mut context.pool);
        }
        self.recycle_draft(context);
    }
}

fn delivered(receipt: &Receipt) -> Delivered {
    match receipt.outcome {
        Outcome::Stored => Delivered::Accepted(receipt.message.id),
        Outcome::TryAgain(why) => Delivered::TryAgain(why),
        Outcome::Refused(why) => Delivered::Refused(why),
    }
}

impl Unread {
    /// The octets left, and where they begin in their buffer.
    pub(super) fn octets<'a>(&'a self, pool: &'a Pool) -> (&'a [u8], usize) {
        match self {
            Self::Buffer { id, start, filled } => (pool.bytes(*id, *start..*filled), *start),
            Self::Copied { octets, start } => (octets.get(*start..).unwrap_or_default(), *start),
        }
    }

    /// Octets that it holds outside of a receive buffer.
    pub(super) fn copied_bytes(&self) -> usize {
        match self {
            Self::Buffer { .. } => 0,
            Self::Copied { octets, .. } => octets.capacity(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Buffer { start, .. } | Self::Copied { start, .. } => *start += count,
        }
    }
}

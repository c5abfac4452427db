//! One connection: the pump between its wire and its session. It owns the three parts, moves octets and
//! replies between them, and goes through its phases (`phase`).
//!
//! ```text
//!   wire ──received──► inflow (transport, unread) ──octets──► serving (session, draft) ──► sink
//!     ▲                     │ encrypts                             │
//!     └──────one send───────┴◄──────────────replies────────────────┘
//! ```

mod securing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::context::{Context, Ended, Turn};
use super::draft::Waits;
use super::front_line::FrontLine;
use super::inflow::{Inflow, Refusal};
use super::phase::{Course, Phase};
use super::serving::Serving;
use super::shares::Share;
use super::silence::Scarcity;
use super::stopwatch::Stopwatch;
use super::table::Key;
use super::transport::Encrypted;
use super::wire::{Intake, Wire};
use super::work::{LITTLE_BYTES, Slice};
use crate::buffer::BufferId;
use crate::handoff::message::Receipt;
use crate::handoff::station::Back;
use crate::mail::session_id::SessionId;
use crate::ring::{Received, Ring, Socket};
use crate::smtp::ended_by::EndedBy;
use crate::smtp::question::Question;
use crate::smtp::session::{Input, Session, Standing, Step};
use crate::tls::{Cause, ServerConfig};

/// A connection of a shard.
pub(super) struct Connection {
    key: Key,
    wire: Wire,
    inflow: Inflow,
    serving: Serving,
    course: Course,
    /// In the list of connections to be settled this turn.
    dirty: bool,
    /// It has used up its slice of work and is in the queue for another.
    waits_for_work: bool,
    accepted_at: SystemTime,
    /// Why it ended, where its session does not know.
    ended_by: Option<EndedBy>,
    stopwatch: Stopwatch,
    pub(super) share: Share,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on; call again when something happens to it.
    Open,
    /// Its last completion came: remove it.
    Gone,
}

// What comes from outside.
impl Connection {
    /// A connection just accepted, from which nothing is received yet.
    pub(super) fn new(
        (key, share): (Key, Share),
        socket: Socket,
        session: Session,
        tls_config: Option<Arc<ServerConfig>>,
        front: Arc<FrontLine>,
        (name, accepted_at): (SessionId, SystemTime),
        now: Instant,
    ) -> Self {
        Self {
            key,
            wire: Wire::new(socket, key.token()),
            inflow: Inflow::new(key, tls_config),
            serving: Serving::new(key, name, session, front),
            course: Course::new(),
            dirty: false,
            waits_for_work: false,
            accepted_at,
            ended_by: None,
            stopwatch: Stopwatch::new(now),
            share,
        }
    }

    /// Something happens to its session, which may end by it.
    pub(super) fn serve<R>(
        &mut self,
        context: &mut Context<R>,
        act: impl FnOnce(&mut Serving, &mut Context<R>),
    ) {
        act(&mut self.serving, context);
        self.end_with_session(context);
    }

    /// Takes what its receive got. True when it has to be put into the list of stalled receives.
    pub(super) fn handle_received<R: Ring>(
        &mut self,
        received: Received,
        more: bool,
        context: &mut Context<R>,
    ) -> bool {
        self.wire.handle_received(more);
        match received {
            Received::Octets { buffer, count } => {
                context.pool.received(buffer);
                self.handle_octets(buffer, count, context);
            }
            Received::End => {
                self.course.end_input();
                self.advance(context);
            }
            Received::NoBuffers => {
                context.metrics.buffer_stalls.add(1);
                return self.wire.stall();
            }
            Received::Cancelled => {}
            Received::Failed(_) => self.lose(context),
        }
        false
    }

    /// Its receive found no buffer, or waited for those of others, and now there are some.
    pub(super) fn resume<R: Ring>(&mut self, context: &mut Context<R>) {
        self.wire.leave_stall();
        self.settle_receive(self.wire.is_sending(), true, context);
    }

    /// Whether octets waited when the greeting was about to be sent.
    pub(super) fn handle_peeked<R>(&mut self, waiting: bool, context: &mut Context<R>) {
        let Serving { session, replies, .. } = &mut self.serving;
        if waiting && self.course.is_serving() && session.watches_for_early_input() {
            session.handle_waiting_input(replies);
            self.end_with_session(context);
        }
    }

    /// A send ended.
    pub(super) fn handle_sent<R: Ring>(&mut self, complete: bool, context: &mut Context<R>) {
        self.wire.handle_sent();
        if complete {
            self.stopwatch.end_send(context.turn.now, &context.metrics);
            self.serving.session.handle_sent();
            // The session may have stopped because its replies were too many.
            self.advance(context);
        } else {
            self.lose(context);
        }
    }

    /// Answers of the DNS came that it waits for, or their time is over.
    pub(super) fn handle_answers<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.course.is_serving() {
            self.serve(context, Serving::handle_answers);
            self.advance(context);
        }
    }

    /// The receipt of a message came home, whose `connection` may be gone. True when that goes on with it.
    pub(super) fn handle_receipt<R: Ring>(
        mut connection: Option<&mut Self>,
        receipt: Receipt,
        context: &mut Context<R>,
    ) -> bool {
        let serving = connection.as_mut().map(|connection| &mut connection.serving);
        let told = Serving::conclude(serving, receipt, context);
        if let Some(connection) = connection.filter(|_| told) {
            connection.end_with_session(context);
            connection.advance(context);
        }
        told
    }

    /// A message came back from a station; its `connection` may be gone. True when that goes on with it.
    pub(super) fn handle_back<R: Ring>(
        mut connection: Option<&mut Self>,
        back: Back,
        context: &mut Context<R>,
    ) -> bool {
        let serving = connection.as_mut().map(|connection| &mut connection.serving);
        let goes_on = Serving::handle_back(serving, back, context);
        if let Some(connection) = connection.filter(|_| goes_on) {
            connection.end_with_session(context);
            connection.advance(context);
        }
        goes_on
    }

    /// A turn has work for it.
    pub(super) fn resume_work<R: Ring>(&mut self, context: &mut Context<R>) {
        self.waits_for_work = false;
        self.advance(context);
    }

    /// A turn may have time for its handshake. One that was given up meanwhile costs nothing and is not
    /// finished.
    pub(super) fn resume_handshake<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.course.is_serving() && self.inflow.transport.handshake_waits() {
            context.turn.handshakes.take_step();
            let resumed = self.inflow.resume_handshake();
            self.handle_progress(resumed.map_err(Refusal::Fault), context);
            self.advance(context);
        }
    }

    /// When [`Connection::expire`] wants to be called.
    pub(super) fn deadline(&self) -> Instant {
        self.course.deadline().unwrap_or_else(|| self.serving.session.deadline())
    }

    /// Its deadline may have passed.
    pub(super) fn expire<R: Ring>(&mut self, context: &mut Context<R>) {
        match self.course.phase() {
            Phase::Serving if self.serving.session.deadline() > context.turn.now => {}
            Phase::Serving => {
                self.serve(context, Serving::expire);
                self.advance(context);
            }
            Phase::Flushing | Phase::Draining => self.course.expire(context.turn.now),
            Phase::Closing => self.wire.forget_cancels(),
        }
    }
}

// Who has to give way, and the end of the server.
impl Connection {
    /// Ends the session if its client has been silent for longer than is allowed now. False when it goes on.
    pub(super) fn give_way<R: Ring>(&mut self, scarcity: Scarcity, context: &mut Context<R>) -> bool {
        if !self.course.is_serving() || self.waits_for_work {
            return false;
        }
        self.serve(context, |serving, context| serving.give_way(scarcity, context));
        !self.course.is_serving()
    }

    /// Octets a second of its message, if that holds a spill file and is hardly being sent.
    pub(super) fn slow_rate(&self, now: Instant) -> Option<u64> {
        self.serving.slow_rate(now)
    }

    /// What it holds outside of receive buffers and messages, if it could give that up.
    pub(super) fn could_give_up(&self) -> usize {
        if self.course.is_serving() { self.inflow.held() } else { 0 }
    }

    /// Ends the session for others, who need what it holds.
    pub(super) fn give_up_held<R>(&mut self, context: &mut Context<R>) {
        self.serve(context, |serving, _| serving.cut_off());
        self.inflow.count(&mut context.turn.held);
    }
}

// The end of a turn.
impl Connection {
    /// Marks it to be settled at the end of the turn; false when it was marked already.
    pub(super) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Does what the events of a turn left to do: send, arm or cancel the receive, go on with closing. Once a
    /// turn.
    pub(super) fn settle<R: Ring>(&mut self, context: &mut Context<R>) -> Fate {
        self.dirty = false;
        if self.serving.owes_errors() {
            self.serve(context, Serving::charge_errors);
        }
        self.serving.log_refusals(None, context);
        self.serving.foresee(context);
        debug_assert!(
            !(self.course.is_serving() && self.serving.session.has_ended()),
            "the end was not followed"
        );
        // A send that has not ended by now waits for the client to read.
        let is_unread = self.wire.is_sending();
        if !is_unread
            && self.course.phase() != Phase::Closing
            && let Some(head) = self.take_outgoing(context)
        {
            let is_plain = self.inflow.transport.is_plain();
            if is_plain && self.course.is_serving() && self.serving.session.watches_for_early_input() {
                self.wire.peek(&mut context.ring);
            }
            let greets = self.serving.session.standing() == Standing::Greeted;
            self.stopwatch.begin_send(greets, self.serving.take_outcome());
            self.serving.session.handle_sending();
            self.wire.send(head, &mut context.ring);
        }
        if self.course.phase() == Phase::Flushing && !self.wire.is_sending() {
            self.course.drain(context.turn.now);
            if self.course.phase() == Phase::Draining {
                self.wire.shut_down(&mut context.ring);
            }
        }
        self.course.settle();
        if self.course.phase() == Phase::Closing {
            return self.close(context);
        }
        self.settle_receive(is_unread, false, context);
        self.inflow.count(&mut context.turn.held);
        // An idle connection owns nothing but its place.
        if self.serving.draft().is_begun() && !self.serving.session.in_transaction() {
            self.serving.recycle_draft(context);
        }
        Fate::Open
    }

    /// Says in the log how the session was, once it is gone.
    pub(super) fn log<R: Ring>(&mut self, context: &mut Context<R>) {
        self.stopwatch.end(context.turn.now, &context.metrics);
        self.serving.log_refusals(None, context);
        let Serving { session, name, .. } = &self.serving;
        context.note_front(session);
        let tls_failure = self.inflow.transport.failure();
        let of_tls = tls_failure.map(|_| EndedBy::Tls).filter(|_| self.ended_by != Some(EndedBy::Bug));
        let ended_by = of_tls.or(self.ended_by).or(session.ended_by()).unwrap_or(EndedBy::Lost);
        context.metrics.count_end(ended_by, session.summary().commands == 0);
        let told = Ended { name: *name, accepted_at: self.accepted_at, ended_by, tls_failure };
        context.log_session(session, &told, self.serving.score());
    }

    /// What is to be sent now, of replies that the session has said; none when that is nothing.
    fn take_outgoing<R: Ring>(&mut self, context: &mut Context<R>) -> Option<Vec<u8>> {
        if self.inflow.transport.is_plain() && self.serving.session.speaks_tls_only() {
            // A client of this port cannot read plaintext.
            self.serving.replies.clear();
        }
        let said = self.serving.take_said(&mut context.turn);
        let are_last = self.course.phase() == Phase::Flushing;
        let Encrypted { octets, used, failed } = self.inflow.transport.encrypt(said, are_last);
        if !used.is_empty() {
            context.turn.keep_spare(used);
        }
        if let Some(cause) = failed {
            self.break_off(cause.into(), context);
        }
        (!octets.is_empty()).then_some(octets)
    }

    /// Arms or cancels the receive. `is_unread`: the client has not read what it was told; `is_due`: it does
    /// not wait for the receives of others.
    fn settle_receive<R: Ring>(&mut self, is_unread: bool, is_due: bool, context: &mut Context<R>) {
        let draft = self.serving.draft();
        let paused = draft.waits() == Waits::Parsing;
        let full = self.inflow.is_full() || paused;
        // A client that does not read its replies, or sends far more than one connection may have parsed in a
        // turn, gets nothing more of its input taken in than waits here already.
        let behind = !self.inflow.unread.is_empty() && (is_unread || self.waits_for_work);
        // Where much waits in the socket, a multishot receive takes up to 32 buffers of it in one turn. Of
        // many large messages that wait for a slow disk this would be more memory than all else.
        let large = draft.has_spilled() || draft.has_data() && context.pool.pressure().is_scarce();
        let queues = context.turn.shares.must_queue(self.share);
        let intake = Intake {
            may_begin: self.course.may_receive() && !full && self.inflow.unread.is_empty(),
            one_at_a_time: large
                || queues
                || context.pool.pressure().lacks_buffers()
                || is_unread
                || context.turn.work.is_behind(),
            // After close_notify the socket goes on, and what comes from it is nothing.
            must_end: full || large || behind || queues || self.course.has_input_ended(),
        };
        if queues && !is_due && self.wire.would_receive(intake) {
            _ = self.wire.stall();
            return context.turn.shares.queue_stream(self.key);
        }
        self.wire.settle_receive(intake, &mut context.ring);
    }

    /// Closes as soon as no operation is under way.
    fn close<R: Ring>(&mut self, context: &mut Context<R>) -> Fate {
        self.release_all(context);
        if !self.wire.close(&mut context.ring) {
            self.course.wait_for_completions(context.turn.now);
            return Fate::Open;
        }
        self.inflow.end(&mut context.turn.held);
        Fate::Gone
    }
}

// Octets in.
impl Connection {
    fn handle_octets<R: Ring>(&mut self, id: BufferId, count: usize, context: &mut Context<R>) {
        let Context { pool, turn, .. } = context;
        self.share.note_receive(count == pool.arena().buffer_bytes());
        if !self.course.is_serving() {
            pool.unpin(id);
            if !self.wire.drain(count) {
                self.course.close();
            }
            return;
        }
        if !self.inflow.transport.is_plain() {
            let progress = self.inflow.receive_encrypted(id, count, pool, &turn.held, &mut turn.handshakes);
            self.handle_progress(progress, context);
            return self.advance(context);
        }
        self.inflow.unread.push_buffer(id, count);
        self.advance(context);
        let Context { pool, turn, .. } = context;
        if !self.inflow.copy_out_last(count, pool, &mut turn.held) {
            context.metrics.held_refusals.add(1);
            self.serve(context, |serving, _| serving.cut_off());
        }
    }

    /// Lets the session consume what is unread, and carries out its steps, until it needs something.
    pub(super) fn advance<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.waits_for_work {
            return;
        }
        let mut slice = Slice::new(context.turn.shares.are_turns_short());
        let Turn { work, shares, .. } = &context.turn;
        let has_to_wait = work.is_used_up() && !shares.is_light(self.share);
        if has_to_wait && self.can_parse() && self.inflow.unread.bytes() > LITTLE_BYTES {
            return self.end_slice(slice, true, context);
        }
        while self.can_parse() && !slice.is_over() {
            if self.inflow.transport.is_plain() && self.serving.session.wants_tls() {
                self.begin_tls(context);
                continue;
            }
            let more = self.inflow.unread.runs() > 1;
            let Some(front) = self.inflow.unread.front_mut() else { break };
            let (octets, base) = front.octets(&context.pool);
            let mut input = Input { more, ..Input::new(octets, &mut context.turn.supplies) };
            let commands = self.serving.session.summary().commands;
            let session = &mut self.serving.session;
            let replies = &mut self.serving.replies;
            let now = context.turn.now;
            // The session does nothing more after a panic, and what it said in this turn is not sent.
            let Ok(step) = catch_unwind(AssertUnwindSafe(|| session.advance(&mut input, replies, now)))
            else {
                return self.handle_panic(context);
            };
            let (position, steps) = (input.position, input.steps);
            front.consume(position);
            let made =
                if matches!(step, Step::Insert) { context.turn.supplies.run.octets().len() } else { 0 };
            let commands = self.serving.session.summary().commands - commands;
            slice.take(position, made, steps, usize::try_from(commands).unwrap_or(usize::MAX));
            match step {
                Step::NeedInput => self.inflow.unread.drop_front(&mut context.pool),
                Step::Flush => break,
                Step::Data(range) => {
                    self.serving.keep_range(front, base + range.start..base + range.end, context);
                }
                Step::Insert => self.serving.keep_run(context),
                Step::Discard => self.serving.discard(&mut context.pool),
                Step::Ask(Question::Encryption { asked }) => self.answer_tls(asked, context),
                Step::Ask(Question::Beginning { asked, size }) => {
                    let begins = self.serving.begin_transaction(size, context);
                    self.serving.resolve(asked, begins, context);
                }
                Step::Ask(Question::Admission { asked, client, front }) => {
                    self.serving.admit(asked, client, front, context);
                }
                Step::Ask(Question::Recipient { asked }) => self.serving.ask_about_recipient(asked, context),
                Step::Deliver(envelope) => self.serving.deliver(envelope, context),
                // The loop ends with the session.
                Step::Close => {}
            }
        }
        let waits = slice.is_over() && self.can_parse() && !self.inflow.unread.is_empty();
        self.end_slice(slice, waits, context);
        self.end_with_session(context);
        self.end_if_input_ended(context);
    }

    /// Whether the session can go on with what is unread.
    fn can_parse(&self) -> bool {
        self.course.is_serving() && self.serving.can_parse()
    }

    /// A slice was worked on. Who has used it up and has more to be parsed waits for the next one.
    fn end_slice<R>(&mut self, slice: Slice, waits: bool, context: &mut Context<R>) {
        context.turn.work.end_slice(slice);
        context.turn.shares.charge(&mut self.share, slice.used() as u64);
        self.waits_for_work = waits;
        if waits {
            context.turn.work.wait(self.key);
        }
    }

    /// A half-closed client gets its answers first; then the session is over, whatever was unfinished.
    fn end_if_input_ended<R>(&mut self, context: &mut Context<R>) {
        let Inflow { unread, transport, .. } = &self.inflow;
        let session = &mut self.serving.session;
        let waits = !unread.is_empty() || session.awaits().is_some() || transport.handshake_waits();
        if self.course.has_input_ended() && !waits && self.course.is_serving() {
            session.handle_end_of_input();
            self.flush(context);
        }
    }
}

// Ends.
impl Connection {
    /// Goes on to the end when the session has ended.
    fn end_with_session<R>(&mut self, context: &mut Context<R>) {
        if self.course.is_serving() && self.serving.session.has_ended() {
            self.flush(context);
        }
    }

    /// Nothing more is read; what was said is sent.
    fn flush<R>(&mut self, context: &mut Context<R>) {
        let has_gone = self.course.has_input_ended();
        self.give_up_handshake(if has_gone { Cause::Gone } else { Cause::TimedOut }, context);
        self.course.flush(context.turn.now);
        self.serving.session.break_off();
        self.inflow.transport.drop_input();
        self.release_all(context);
    }

    fn lose<R>(&mut self, context: &mut Context<R>) {
        self.give_up_handshake(Cause::Gone, context);
        if self.course.is_serving() {
            self.ended_by = Some(EndedBy::Lost);
            self.serving.session.handle_end_of_input();
        }
        self.serving.session.break_off();
        self.course.close();
        self.release_all(context);
    }

    fn handle_panic<R>(&mut self, context: &mut Context<R>) {
        context.metrics.session_panics.add(1);
        context.metrics.tally.bug();
        self.ended_by = Some(EndedBy::Bug);
        self.serving.give_up();
        self.flush(context);
    }

    fn release_all<R>(&mut self, context: &mut Context<R>) {
        self.inflow.unread.clear(&mut context.pool);
        self.serving.recycle_draft(context);
    }
}

//! The SMTP side of a connection: its session, what that has said, and the message under way. It carries out
//! the session's steps, and takes the answers to its questions. It sees no socket and no TLS.

mod authenticated;
mod authenticating;
mod charges;
mod passing;
mod screened;
mod screening;
mod warnings;

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use self::authenticated::{Authenticating, Looked};
use self::screened::Screening;
use self::warnings::Warned;
use super::clients::Seat;
use super::context::{Context, Turn};
use super::draft::{Draft, Moved, Waits};
use super::front_line::FrontLine;
use super::mailboxes::Answered;
use super::recipient_map::{Asked, Mapped};
use super::silence::Scarcity;
use super::table::Key;
use super::unread::Octets;
use crate::buffer::{NoMemory, Pool};
use crate::handoff::message::{Message, Times};
use crate::handoff::part::Written;
use crate::limits::{INQUIRY_WAIT_MAX, SPILL_WAIT_MAX};
use crate::mail::envelope::Envelope;
use crate::mail::outcome::TryAgain;
use crate::mail::queue_id::QueueId;
use crate::mail::session_id::SessionId;
use crate::ring::Ring;
use crate::smtp::denial::Denial;
use crate::smtp::policy::{Judgement, Verdict};
use crate::smtp::question::{Admission, Answerable, Awaited, OpenQuestion, Recipient};
use crate::smtp::reason::Reason;
use crate::smtp::reply::ReplyBuffer;
use crate::smtp::run::Run;
use crate::smtp::session::Session;

/// A client that is served.
pub(super) struct Serving {
    key: Key,
    /// In the log.
    pub(super) name: SessionId,
    pub(super) session: Session,
    pub(super) replies: ReplyBuffer,
    /// The message under way.
    draft: Draft,
    /// Its place among the connections of its client.
    seat: Option<Seat>,
    /// What clients of its listener are checked by.
    front: Arc<FrontLine>,
    /// What is known of a client that is checked; none of one that is not.
    screening: Option<Box<Screening>>,
    /// Its messages are checked: nobody trusts it.
    is_checked: bool,
    /// The check of the message under way; none where messages are not checked, and before its mail data.
    authenticating: Option<Box<Authenticating>>,
    /// Errors of the session that its client was charged with.
    errors_paid: u32,
    /// What only warns and the log has told of for this client.
    warned: Warned,
    /// Its complete message is at a station.
    at_station: Option<QueueId>,
    /// When the outcome of a message came that the client is told with the next send.
    outcome_came: Option<Instant>,
}

// What happens to a session.
impl Serving {
    /// A session that has said nothing yet.
    pub(super) fn new(key: Key, name: SessionId, session: Session, front: Arc<FrontLine>) -> Self {
        Self {
            key,
            name,
            session,
            replies: ReplyBuffer::new(),
            draft: Draft::default(),
            seat: None,
            front,
            screening: None,
            is_checked: false,
            authenticating: None,
            errors_paid: 0,
            warned: Warned::default(),
            at_station: None,
            outcome_came: None,
        }
    }

    /// Turns a client away.
    pub(super) fn turn_away(&mut self, why: Denial) {
        self.session.turn_away(why, &mut self.replies);
    }

    /// Turns a client away because there is no place for it, or because the server stops.
    pub(super) fn refuse_place(&mut self, is_stopping: bool) {
        self.session.refuse_place(is_stopping, &mut self.replies);
    }

    /// Something would be refused by what only warns: the log tells of it, once a session and kind, and it is
    /// counted.
    fn warn<R: Ring>(&mut self, denial: Denial, context: &mut Context<R>) {
        if self.warned.is_new(denial) {
            context.log_warning(&self.session, self.name, denial);
        }
    }

    /// Ends the session whatever it does: the server stops, or has no room for it.
    pub(super) fn cut_off(&mut self) {
        if !self.session.has_ended() {
            self.session.cut_off(&mut self.replies);
        }
    }

    /// The server stops: ends the session now, or after the transaction under way.
    pub(super) fn shut_down(&mut self) {
        if !self.session.has_ended() {
            self.session.shut_down(&mut self.replies);
        }
    }

    /// When the outcome of a message came that is told with the send that begins now; none where it tells
    /// none. Of several it is the first.
    pub(super) fn take_outcome(&mut self) -> Option<Instant> {
        self.outcome_came.take()
    }

    /// Takes what the session has said.
    pub(super) fn take_said(&mut self, turn: &mut Turn) -> Vec<u8> {
        if self.replies.is_empty() { Vec::new() } else { self.replies.replace(turn.spare()) }
    }

    /// A bug of ours ended the session: what it said is not sent, and it does nothing more.
    pub(super) fn give_up(&mut self) {
        self.replies.clear();
        Session::say_local_trouble(&mut self.replies);
        self.session.break_off();
    }

    /// Logs what the session refused since this was called last. `message`: what was delivered and refused.
    pub(super) fn log_refusals<R: Ring>(&mut self, message: Option<&Message>, context: &mut Context<R>) {
        let Some(mut refusals) = self.replies.take_refusals() else { return };
        if let Some(message) = message {
            refusals.complete(&message.envelope);
        }
        context.log_refusals(&self.session, self.name, &refusals, message);
    }

    /// Whether the session can go on with what the client sent.
    pub(super) fn can_parse(&self) -> bool {
        !self.session.has_ended() && self.session.awaits().is_none() && self.draft.waits() == Waits::No
    }

    /// Its deadline has passed.
    pub(super) fn expire<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.draft.waits() != Waits::No {
            // The disk has kept it waiting too long: the message is given up.
            self.lose_data(TryAgain::Overload.into(), context);
            let waited = self.draft.give_up_waiting();
            return self.stop_waiting(waited, context);
        }
        if self.end_wait_for_answers(context) || self.end_wait_for_verdict(context) {
            return;
        }
        if self.end_wait_for_station(context) {
            return;
        }
        if self.session.awaits() == Some(Awaited::Storing) {
            context.delivery.note_hang();
        }
        self.session.expire(&mut self.replies, context.turn.now);
    }

    /// Its time is over now.
    pub(super) fn time_out<R: Ring>(&mut self, context: &mut Context<R>) {
        self.session.wait_until(context.turn.now, context.turn.now);
        self.expire(context);
    }

    /// Ends the session if its client has been silent for longer than is allowed now, and no mail of it would
    /// be lost.
    pub(super) fn give_way<R: Ring>(&mut self, scarcity: Scarcity, context: &mut Context<R>) {
        // Who waits for us is not silent.
        if !self.can_parse() {
            return;
        }
        let Some((until, timeout, in_data)) = self.session.silence() else { return };
        // Who has sent mail is a good client, and may think.
        let may_stay = !in_data && self.session.summary().accepted > 0;
        let now = context.turn.now;
        if may_stay || until > now + scarcity.taken(timeout, in_data) {
            return;
        }
        context.metrics.gave_way.add(1);
        self.time_out(context);
    }

    /// Octets a second of its message, if that holds a spill file and is hardly being sent. None where it is
    /// complete and waits for us.
    pub(super) fn slow_rate(&self, now: Instant) -> Option<u64> {
        self.draft.slow_rate(now).filter(|_| !self.waits_for_verdict())
    }

    /// The message comes to nothing, if there is one.
    pub(super) fn recycle_draft<R>(&mut self, context: &mut Context<R>) {
        self.authenticating = None;
        self.draft.recycle(&mut context.delivery, &mut context.pool);
    }

    /// The message under way.
    pub(super) fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The mail data so far is given up.
    pub(super) fn discard(&mut self, pool: &mut Pool) {
        self.draft.release(pool);
    }
}

// Answers from other threads.
impl Serving {
    /// A part of its message is written out, or could not be.
    pub(super) fn handle_written<R: Ring>(&mut self, written: Written, context: &mut Context<R>) {
        let Some((waited, result)) = self.draft.handle_written(written, &mut context.pool) else {
            // The transaction is over.
            return;
        };
        if let Err(why) = result {
            self.lose_data(why.into(), context);
        }
        self.stop_waiting(waited, context);
    }

    /// The store's answer about a recipient came. It tells nothing when it is to a question that timed out.
    pub(super) fn handle_found<R: Ring>(&mut self, number: u32, verdict: Verdict, context: &mut Context<R>) {
        let asked = self.session.asked::<Recipient>().filter(|asked| asked.number() == number);
        if let Some(asked) = asked {
            let verdict = self.charge_late_verdict(verdict, context);
            self.resolve(asked, verdict, context);
        }
    }

    /// The map's answer about a recipient came. One that it has is for the store to take.
    pub(super) fn handle_mapped<R: Ring>(&mut self, number: u32, mapped: Mapped, context: &mut Context<R>) {
        let asked = self.session.asked::<Recipient>().filter(|asked| asked.number() == number);
        if asked.is_none() {
            return;
        }
        match self.ask_store(number, mapped, context) {
            Answered::Now(verdict) => self.handle_found(number, verdict, context),
            Answered::Later(must_ring) => context.ring_if(must_ring),
        }
    }

    /// Asks the store about the recipient that the session proposes, where the map has it.
    fn ask_store<R: Ring>(&self, number: u32, mapped: Mapped, context: &mut Context<R>) -> Answered {
        let by_domain = match mapped {
            Mapped::Refused(verdict) => return Answered::Now(verdict),
            Mapped::ByDomain => true,
            Mapped::Taken => false,
        };
        let Some(recipient) = self.session.proposed_recipient() else {
            return Answered::Now(Verdict::TryAgain);
        };
        let (policy, now) = (&*self.session.settings().policy, context.turn.now);
        context.mailboxes.ask(self.key.word(), number, recipient, by_domain, policy, now)
    }

    /// What waited for a part that was away goes on.
    fn stop_waiting<R: Ring>(&mut self, waited: Waits, context: &mut Context<R>) {
        match waited {
            Waits::No => {}
            Waits::Parsing => {
                self.session.wait_for_data(context.turn.now);
                self.move_if_due(context);
            }
            Waits::HandOver => self.hand_over(context),
        }
    }
}

// What the session asks for.
impl Serving {
    /// A range of `front` is mail data.
    pub(super) fn keep_range<R: Ring>(
        &mut self,
        front: &Octets,
        range: Range<usize>,
        context: &mut Context<R>,
    ) {
        self.begin_to_authenticate(context);
        let Context { pool, turn, .. } = context;
        let octets = match front {
            Octets::Buffer { id, .. } => pool.bytes(*id, range.clone()),
            Octets::Copied { octets, .. } => octets.get(range.clone()).unwrap_or_default(),
        };
        let looked = self.look(octets, &mut turn.header, (turn.now, turn.wall_clock));
        self.keep(looked, context, |message, pool, _| match front {
            Octets::Buffer { id, filled, .. } => message.data.append(pool, *id, range.clone(), *filled),
            Octets::Copied { octets, .. } => {
                message.data.append_copied(pool, octets.get(range).unwrap_or_default())
            }
        });
    }

    /// What the session put together is mail data.
    pub(super) fn keep_run<R: Ring>(&mut self, context: &mut Context<R>) {
        self.begin_to_authenticate(context);
        let turn = &mut context.turn;
        let looked = self.look(turn.supplies.run.octets(), &mut turn.header, (turn.now, turn.wall_clock));
        self.keep(looked, context, |message, pool, run| message.data.append_copied(pool, run.octets()));
    }

    /// Keeps mail data; when there is no memory for it, the message loses what it had and is read on to its
    /// end.
    fn keep<R: Ring>(
        &mut self,
        looked: Looked,
        context: &mut Context<R>,
        append: impl FnOnce(&mut Message, &mut Pool, &Run) -> Result<(), NoMemory>,
    ) {
        let run = &context.turn.supplies.run;
        match self.draft.keep(&mut context.pool, |message, pool| append(message, pool, run)) {
            Ok(()) => {
                self.follow_up(&looked, context);
                self.move_if_due(context);
            }
            Err(NoMemory) => self.lose_data(TryAgain::Overload.into(), context),
        }
    }

    /// Moves mail data out of memory, if it is much for what is free.
    fn move_if_due<R: Ring>(&mut self, context: &mut Context<R>) {
        if self.reads_header() {
            return self.hold_header(context);
        }
        let client = || self.seat.as_ref().map(Seat::client);
        let is_logged = context.lines.has_messages();
        let Context { parts, pool, turn, .. } = context;
        match self.draft.move_if_due(client, is_logged, parts, pool, turn.now) {
            Moved::No => {}
            Moved::Away(must_ring) => {
                context.metrics.spills.add(1);
                context.ring_if(must_ring);
            }
            // The client is not to blame for this wait.
            Moved::MustWait => self.session.wait_until(context.turn.now + SPILL_WAIT_MAX, context.turn.now),
        }
    }

    /// The message loses what it had, is read on to its true end and answered so.
    fn lose_data<R: Ring>(&mut self, why: Denial, context: &mut Context<R>) {
        self.draft.lose(why, &mut context.pool);
        self.session.handle_lost_data(why);
        if why.reason().is_some_and(Reason::is_ours) {
            context.metrics.memory_refusals.add(1);
        }
    }

    /// A front said whom it speaks for: from now on that client has this connection.
    pub(super) fn admit<R: Ring>(
        &mut self,
        asked: OpenQuestion<Admission>,
        client: IpAddr,
        front: IpAddr,
        context: &mut Context<R>,
    ) {
        // A front that speaks for itself, such as a health check, is not counted, as at the accept.
        let admitted = if client == front {
            self.go_unchecked();
            Ok(())
        } else {
            self.let_in(client, context)
        };
        self.resolve(asked, admitted, context);
    }

    /// Whether a transaction may begin; if so, its message begins.
    pub(super) fn begin_transaction<R: Ring>(
        &mut self,
        size: Option<u64>,
        context: &mut Context<R>,
    ) -> Result<(), Denial> {
        if let Some(why) = context.refusal(size) {
            return Err(why.into());
        }
        if !self.is_served(context) {
            return Err(TryAgain::Overload.into());
        }
        self.charge_message(context)?;
        self.recycle_draft(context);
        let (arena, turn) = (context.pool.arena(), &mut context.turn);
        let connection = self.key.word();
        let message = context.delivery.begin(connection, arena, &mut turn.supplies, turn.wall_clock);
        self.draft.begin(message);
        self.screen_transaction(context);
        Ok(())
    }

    /// Finds out about the recipient that the session proposes.
    pub(super) fn ask_about_recipient<R: Ring>(
        &mut self,
        asked: OpenQuestion<Recipient>,
        context: &mut Context<R>,
    ) {
        match self.charge_recipient(context) {
            Ok(()) => self.consider_recipient(asked, context),
            Err(denial) => _ = self.resolve(asked, Verdict::Denied(denial), context),
        }
    }

    /// Finds out about a recipient that is paid for: the front line, the policy, and the store where that has
    /// the last word.
    fn consider_recipient<R: Ring>(&mut self, asked: OpenQuestion<Recipient>, context: &mut Context<R>) {
        if !self.screen_recipient(asked, context) {
            return;
        }
        let (connection, number, now) = (self.key.word(), asked.number(), context.turn.now);
        let answered = match (self.session.judge_proposed(), self.session.proposed_recipient()) {
            (Judgement::Known(verdict), _) => Answered::Now(verdict),
            (Judgement::Asks, Some(recipient)) => {
                let policy = &*self.session.settings().policy;
                match context.recipient_map.ask(connection, number, recipient, policy, now) {
                    Asked::Now(mapped) => self.ask_store(number, mapped, context),
                    Asked::Later(must_ring) => Answered::Later(must_ring),
                }
            }
            (Judgement::Asks, None) => Answered::Now(Verdict::TryAgain),
        };
        match answered {
            Answered::Now(verdict) => {
                let verdict = self.charge_verdict(verdict, context);
                self.resolve(asked, verdict, context);
            }
            Answered::Later(must_ring) => {
                // However long the front line took, whoever is asked now has its whole time.
                self.session.wait_until(now + INQUIRY_WAIT_MAX, now);
                context.ring_if(must_ring);
            }
        }
    }

    /// The message is complete.
    pub(super) fn deliver<R: Ring>(&mut self, envelope: Box<Envelope>, context: &mut Context<R>) {
        let is_greylisted = self.is_greylisted(&envelope, context);
        if let Some(message) = self.draft.message_mut() {
            context.turn.supplies.keep_envelope(std::mem::replace(&mut message.envelope, envelope));
        }
        if is_greylisted {
            self.draft.lose(Denial::GREYLISTED, &mut context.pool);
        } else if let Some(message) = self.draft.message_mut() {
            message.received_at = context.turn.wall_clock;
            message.log.session = self.name;
            let (begun, data) = self.session.phases();
            message.log.times = Some(Times { begun, data, complete: context.turn.now });
        }
        self.authenticate(context);
    }

    /// Gives the session an answer. False when it does not wait for that any more: then nothing changed.
    pub(super) fn resolve<R, Q: Answerable>(
        &mut self,
        asked: OpenQuestion<Q>,
        answer: Q::Answer,
        context: &Context<R>,
    ) -> bool {
        self.session.resolve(asked, answer, &mut self.replies, context.turn.now).is_ok()
    }
}

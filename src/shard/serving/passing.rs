//! The way of a complete message: past the stations, to the sink, and the receipt back.
//!
//! ```text
//!   verdict ──► pass_on ──► hand_over ──► go_on ──► a station ──► handle_back ──► go_on ──► sink
//!                              │ lost                                  │ refused, or done     │
//!                              ▼                                       ▼                      ▼
//!                           4yz, 5yz                             4yz, 5yz, 250            conclude
//! ```

use super::Serving;
use super::screened::tell_standing;
use crate::handoff::message::{Message, Receipt};
use crate::handoff::station::{Back, Passage};
use crate::mail::outcome::{Outcome, Refused, TryAgain};
use crate::ring::Ring;
use crate::shard::context::Context;
use crate::shard::delivery::Handed;
use crate::shard::draft::Complete;
use crate::shard::stations::Sent;
use crate::smtp::denial::Denial;
use crate::smtp::question::{Delivered, Storing};
use crate::smtp::trace;

impl Serving {
    /// The message goes on: what is known of it is told with it.
    pub(super) fn pass_on<R: Ring>(&mut self, context: &mut Context<R>) {
        self.session.wait_for_outcome(context.turn.now);
        let is_trusted = !self.is_authenticated();
        if !self.draft.is_lost()
            && let (Some(beginning), Some(message)) = (self.draft.beginning(), self.draft.message_mut())
        {
            self.session.tell(&mut message.client);
            tell_standing(self.screening.as_deref(), &mut message.client.standing);
            message.progress.is_trusted = is_trusted;
            let Message { received, client, envelope, id, received_at, .. } = message;
            let hostname = &self.session.settings().hostname;
            trace::received(received, hostname, client, envelope, *id, *received_at);
            received.extend_from_slice(beginning.lead_in());
        }
        self.hand_over(context);
    }

    /// The complete message leaves the draft, or waits with that for the part that is away.
    pub(super) fn hand_over<R: Ring>(&mut self, context: &mut Context<R>) {
        match self.draft.complete() {
            Complete::Waits => {}
            Complete::Lost(why) => {
                self.resolve_delivery(Delivered::Denied(why), context);
                if let Some(message) = self.draft.take_lost() {
                    self.log_refusals(Some(&message), context);
                    context.delivery.recycle(message, &mut context.pool);
                }
            }
            Complete::Whole(message) => self.go_on(message, context),
        }
    }

    /// To the next station, or to the sink after the last one.
    fn go_on<R: Ring>(&mut self, message: Box<Message>, context: &mut Context<R>) {
        let (id, now) = (message.id, context.turn.now);
        match context.stations.send(message, now) {
            Sent::Away(must_ring, until) => {
                self.at_station = Some(id);
                self.session.wait_until(until, now);
                context.ring_if(must_ring);
            }
            Sent::Turned(message, passage) => {
                context.metrics.stations_full.add(1);
                self.pass(message, passage, context);
            }
            Sent::Through(message) => match context.delivery.hand_over(message, now) {
                Handed::Away(must_ring) => context.ring_if(must_ring),
                Handed::Waiting => {}
                Handed::Answered(receipt) => {
                    Self::conclude(Some(self), receipt, context);
                }
            },
        }
    }

    /// A message came back from a station. It goes on, if its client is still served and waits for it. True
    /// when the session may go on with it.
    pub(in crate::shard) fn handle_back<R: Ring>(
        serving: Option<&mut Self>,
        back: Back,
        context: &mut Context<R>,
    ) -> bool {
        let Back { mut message, passage } = back;
        message.progress.passed_at = Some(context.turn.now);
        let waits =
            |one: &&mut Self| one.at_station == Some(message.id) && one.session.asked::<Storing>().is_some();
        if let Some(one) = serving.filter(waits) {
            one.at_station = None;
            one.session.wait_for_outcome(context.turn.now);
            one.pass(message, passage, context);
            return true;
        }
        match passage {
            // Others have it, and its client may send it again.
            Passage::Delivered => context.finish(Receipt { message, outcome: Outcome::Stored }, false),
            Passage::GoesOn
            | Passage::Discarded
            | Passage::Refused(..)
            | Passage::Greylisted
            | Passage::Unanswered
            | Passage::PutOff(_)
            | Passage::TooLarge => context.delivery.recycle(message, &mut context.pool),
        }
        false
    }

    /// What becomes of a message that has passed a station, or has found no room there.
    fn pass<R: Ring>(&mut self, message: Box<Message>, passage: Passage, context: &mut Context<R>) {
        let refusal = match passage {
            Passage::GoesOn => return self.go_on(message, context),
            Passage::Greylisted if self.came_before(&message.envelope, &context.turn) => {
                return self.go_on(message, context);
            }
            Passage::Delivered => {
                let receipt = Receipt { message, outcome: Outcome::Stored };
                Self::conclude(Some(self), receipt, context);
                return;
            }
            Passage::Discarded => {
                // Its client has sent nothing that anybody wanted: it has proved nothing by that.
                let told = self.resolve_delivery(Delivered::Accepted(message.id), context);
                return context.finish(Receipt { message, outcome: Outcome::Stored }, told);
            }
            Passage::Refused(who, words) => Delivered::RefusedBy(who, words),
            Passage::Greylisted => Delivered::Denied(Denial::GREYLISTED),
            Passage::Unanswered => Delivered::Denied(Denial::FILTER_UNKNOWN),
            Passage::PutOff(why) => Delivered::TryAgain(why),
            Passage::TooLarge => Delivered::Refused(Refused::TooLarge),
        };
        self.resolve_delivery(refusal, context);
        self.log_refusals(Some(&message), context);
        context.delivery.recycle(message, &mut context.pool);
    }

    /// The message was away for longer than its station has time for: the station's thread hangs. What
    /// becomes of it there changes nothing any more. False when none is away.
    pub(super) fn end_wait_for_station<R: Ring>(&mut self, context: &mut Context<R>) -> bool {
        if self.at_station.take().is_none() {
            return false;
        }
        context.metrics.stations_late.add(1);
        let told = self.resolve_delivery(Delivered::TryAgain(TryAgain::Overload), context);
        if told {
            self.log_refusals(None, context);
        }
        told
    }

    /// The end of every message that was handed over: its receipt came home. The client is told, if it is
    /// still served and waits; then the message is counted, logged and taken apart. True when the session
    /// goes on with it.
    pub(in crate::shard) fn conclude<R: Ring>(
        serving: Option<&mut Self>,
        receipt: Receipt,
        context: &mut Context<R>,
    ) -> bool {
        let told = serving.is_some_and(|one| {
            let told = one.resolve_delivery(delivered(&receipt), context);
            if told {
                one.note_outcome(receipt.outcome, &context.turn);
            }
            if told && receipt.outcome != Outcome::Stored {
                one.log_refusals(Some(&receipt.message), context);
            }
            told
        });
        context.finish(receipt, told);
        told
    }

    /// Tells the session what became of the message that it delivered. False when it does not wait for that
    /// any more.
    fn resolve_delivery<R>(&mut self, delivered: Delivered, context: &Context<R>) -> bool {
        let asked = self.session.asked::<Storing>();
        if let Some(asked) = asked {
            self.outcome_came.get_or_insert(context.turn.now);
            self.resolve(asked, delivered, context);
        }
        asked.is_some()
    }
}

fn delivered(receipt: &Receipt) -> Delivered {
    match receipt.outcome {
        Outcome::Stored => Delivered::Accepted(receipt.message.id),
        Outcome::TryAgain(why) => Delivered::TryAgain(why),
        Outcome::Refused(why) => Delivered::Refused(why),
    }
}

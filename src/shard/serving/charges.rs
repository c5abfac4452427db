//! What the client of a session is charged with: messages, recipients, errors (`[client_limits]`). All its
//! sessions on all shards pay together, and one that has had too much is put off, or served no longer; where
//! limits only warn, the log tells of it.

use super::Serving;
use crate::front::clients::Event;
use crate::mail::outcome::Outcome;
use crate::ring::Ring;
use crate::shard::clients::Seat;
use crate::shard::context::{Context, Turn};
use crate::smtp::denial::Denial;
use crate::smtp::policy::Verdict;

impl Serving {
    /// From now on this is its client's place; none of one that is not counted. What was done before was not
    /// this client's. Each recipient is asked about where somebody counts or checks.
    pub(super) fn seat_client(&mut self, seat: Option<Seat>) {
        let has_rates = seat.as_ref().is_some_and(Seat::has_rates);
        self.session.ask_about_each_recipient(has_rates || self.screening.is_some());
        self.errors_paid = self.session.summary().errors;
        self.seat = seat;
    }

    /// Whether there are errors that its client was not charged with.
    pub(in crate::shard) fn owes_errors(&self) -> bool {
        self.seat.is_some() && self.errors_paid < self.session.summary().errors
    }

    /// Charges the client with the errors that came since this was called last. One that has had too many, in
    /// all its sessions, is served no longer.
    pub(in crate::shard) fn charge_errors<R: Ring>(&mut self, context: &mut Context<R>) {
        let errors = self.session.summary().errors;
        while self.errors_paid < errors {
            if self.charge(Event::Error, Denial::TOO_MANY_ERRORS, context).is_err() {
                return self.session.end_for_errors(&mut self.replies);
            }
            self.errors_paid += 1;
        }
    }

    /// Charges the client with a transaction.
    pub(super) fn charge_message<R: Ring>(&mut self, context: &mut Context<R>) -> Result<(), Denial> {
        self.charge(Event::Message, Denial::TOO_MANY_MESSAGES, context)
    }

    /// Charges the client with a recipient that it names. Who has named too many that nobody knows is told
    /// nothing more: another answer to those that exist would say which do.
    pub(super) fn charge_recipient<R: Ring>(&mut self, context: &mut Context<R>) -> Result<(), Denial> {
        self.look_for_guesses(context)?;
        self.charge(Event::Recipient, Denial::TOO_MANY_RECIPIENTS, context)
    }

    /// What the client is told of the recipient of whom this is true. One that nobody knows is paid for
    /// before the client is told.
    pub(super) fn charge_verdict<R: Ring>(&mut self, verdict: Verdict, context: &mut Context<R>) -> Verdict {
        if verdict != Verdict::UnknownRecipient {
            return verdict;
        }
        let charged = self.charge(Event::UnknownRecipient, Denial::TOO_MANY_UNKNOWN, context);
        charged.map_or_else(Verdict::Denied, |()| verdict)
    }

    /// The same of a recipient whose answer was awaited. Meanwhile other sessions of the client may have
    /// named too many: then it is told nothing of any.
    pub(super) fn charge_late_verdict<R: Ring>(
        &mut self,
        verdict: Verdict,
        context: &mut Context<R>,
    ) -> Verdict {
        match verdict {
            Verdict::UnknownRecipient | Verdict::Denied(_) => self.charge_verdict(verdict, context),
            Verdict::Accept
            | Verdict::ForeignDomain
            | Verdict::DomainWithoutMail
            | Verdict::DeniedLocalPart
            | Verdict::Unstorable
            | Verdict::MailboxFull
            | Verdict::TryAgain => self.look_for_guesses(context).map_or_else(Verdict::Denied, |()| verdict),
        }
    }

    /// Whether the client may still learn who exists.
    pub(super) fn look_for_guesses<R: Ring>(&mut self, context: &mut Context<R>) -> Result<(), Denial> {
        let is_over = |seat: &Seat| seat.is_over(Event::UnknownRecipient, context.turn.moment);
        if self.seat.as_ref().is_some_and(is_over) {
            return self.deny(Denial::TOO_MANY_UNKNOWN, context);
        }
        Ok(())
    }

    /// Charges the client with an event, of which it may have had too many.
    fn charge<R: Ring>(&mut self, event: Event, why: Denial, context: &mut Context<R>) -> Result<(), Denial> {
        match self.seat.as_ref().map(|seat| seat.pay(event, 1, context.turn.moment)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => self.deny(why, context),
        }
    }

    /// What becomes of a client that has had too much: it is refused, or told of in the log.
    fn deny<R: Ring>(&mut self, why: Denial, context: &mut Context<R>) -> Result<(), Denial> {
        if !self.seat.as_ref().is_some_and(Seat::only_warns) {
            return Err(why);
        }
        self.warn(why, context);
        Ok(())
    }

    /// The client was told what became of its message.
    pub(super) fn note_outcome(&mut self, outcome: Outcome, turn: &Turn) {
        if outcome != Outcome::Stored {
            return;
        }
        self.note_fruit();
        if let Some(seat) = &self.seat {
            seat.note_message(turn.moment);
        }
    }
}

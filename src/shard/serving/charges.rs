//! What the client of a session is charged with: messages, recipients, errors (`[client_limits]`). All its
//! sessions on all shards pay together, and one that has had too much is put off, or served no longer.

use super::Serving;
use crate::front::clients::Event;
use crate::mail::outcome::Outcome;
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

    /// Charges the client with the errors that came since this was called last. One that has had too many, in
    /// all its sessions, is served no longer.
    pub(in crate::shard) fn charge_errors(&mut self, turn: &Turn) {
        let errors = self.session.summary().errors;
        let Some(seat) = self.seat.as_ref().filter(|_| self.errors_paid < errors) else { return };
        while self.errors_paid < errors {
            if seat.pay(Event::Error, 1, turn.moment).is_err() {
                return self.session.end_for_errors(&mut self.replies);
            }
            self.errors_paid += 1;
        }
    }

    /// Charges the client with a transaction.
    pub(super) fn charge_message(&self, turn: &Turn) -> Result<(), Denial> {
        let paid = self.seat.as_ref().map_or(Ok(()), |seat| seat.pay(Event::Message, 1, turn.moment));
        paid.map_err(|_| Denial::TOO_MANY_MESSAGES)
    }

    /// Charges the client with a recipient that it names. Who has named too many that nobody knows is told
    /// nothing more: another answer to those that exist would say which do.
    pub(super) fn charge_recipient(&self, turn: &Turn) -> Result<(), Denial> {
        let Some(seat) = &self.seat else { return Ok(()) };
        if seat.is_over(Event::UnknownRecipient, turn.moment) {
            return Err(Denial::TOO_MANY_UNKNOWN);
        }
        seat.pay(Event::Recipient, 1, turn.moment).map_err(|_| Denial::TOO_MANY_RECIPIENTS)
    }

    /// What the client is told of the recipient of whom this is true. One that nobody knows is paid for
    /// before the client is told. While the answer was awaited, other sessions of the client may have named
    /// too many: then it is told nothing of any.
    pub(super) fn charge_verdict<R>(&self, verdict: Verdict, context: &Context<R>) -> Verdict {
        let Some(seat) = &self.seat else { return verdict };
        let moment = context.turn.moment;
        let is_over = match verdict {
            Verdict::UnknownRecipient => seat.pay(Event::UnknownRecipient, 1, moment).is_err(),
            Verdict::Accept
            | Verdict::ForeignDomain
            | Verdict::DeniedLocalPart
            | Verdict::Unstorable
            | Verdict::MailboxFull
            | Verdict::TryAgain => seat.is_over(Event::UnknownRecipient, moment),
            Verdict::Denied(_) => false,
        };
        if is_over { Verdict::Denied(Denial::TOO_MANY_UNKNOWN) } else { verdict }
    }

    /// The client was told what became of its message.
    pub(super) fn note_outcome(&self, outcome: Outcome, turn: &Turn) {
        if let Some(seat) = self.seat.as_ref().filter(|_| outcome == Outcome::Stored) {
            seat.note_message(turn.moment);
        }
    }
}

//! Replies within the budgets of a session, for errors and for commands that bring nothing forward, and its
//! end with a reply.

use super::state::State;
use super::{Session, Step, Summary};
use crate::limits::EXCESS_RECIPIENTS_FREE;
use crate::smtp::ended_by::EndedBy;
use crate::smtp::reason::Reason;
use crate::smtp::refusals::Address;
use crate::smtp::reply::{self, Reply, ReplyBuffer};

impl Session {
    /// Appends a reply within the budget for errors; past it a 421 takes its place. A refusal is noted as one
    /// of the transaction. False when the session is over.
    pub(super) fn reply(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> bool {
        self.note(reply, Address::Transaction, replies);
        self.reply_noted(reply, replies)
    }

    /// The same, where a refusal was noted before.
    pub(super) fn reply_noted(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> bool {
        self.count(reply);
        if reply.code >= 500 {
            if self.errors == self.settings.limits.errors_max {
                self.say_last_instead(reply::TOO_MANY_ERRORS, replies);
                return false;
            }
            self.errors += 1;
        }
        self.say(reply, replies);
        true
    }

    /// Counts a command that brings nothing forward. False when it is one too many.
    pub(super) fn may_be_idle(&mut self) -> bool {
        let is_within = self.idle_commands < self.settings.limits.idle_commands_max;
        self.idle_commands += u32::from(is_within);
        is_within
    }

    /// Counts a 4yz to MAIL or RCPT, which brings nothing forward. False when it is one too many.
    pub(super) fn may_put_off(&mut self, reply: Reply) -> bool {
        if !(400..500).contains(&reply.code) {
            return true;
        }
        if reply == reply::TOO_MANY_RECIPIENTS && self.excess_recipients < EXCESS_RECIPIENTS_FREE {
            self.excess_recipients += 1;
            return true;
        }
        self.may_be_idle()
    }

    /// A message was accepted: all budgets begin anew.
    pub(super) fn restore_budgets(&mut self) {
        self.errors = 0;
        self.idle_commands = 0;
        self.excess_recipients = 0;
    }

    /// Notes a reply for the log, if it refuses anything, and if not too many were noted before.
    pub(super) fn note(&mut self, reply: Reply, address: Address<'_>, replies: &mut ReplyBuffer) {
        let Some(reason) = reply.reason().filter(|_| !self.ends_what_was_put_off(reply)) else { return };
        let envelope = self.transaction.as_ref().map(|transaction| &*transaction.envelope);
        if self.refusals_left > 0 {
            self.refusals_left -= 1;
            replies.refusals().push(reply, self.step, address, envelope);
        } else if reason.is_ours() {
            let count = self.summary.refusals_more_ours.map_or(0, |(_, count)| count);
            self.summary.refusals_more_ours = Some((reason, count.saturating_add(1)));
        } else {
            self.summary.refusals_more = self.summary.refusals_more.saturating_add(1);
        }
    }

    /// Whether a reply ends a session that came to nothing only because this machine has put it off each
    /// time.
    fn ends_what_was_put_off(&self, reply: Reply) -> bool {
        let Summary { refused_4yz, refused_5yz, refused_ours, .. } = self.summary;
        reply == reply::TOO_MANY_IDLE_COMMANDS
            && refused_ours > 0
            && refused_ours == refused_4yz + refused_5yz
    }

    /// Counts a reply for the log.
    pub(super) fn count(&mut self, reply: Reply) {
        if reply.reason().is_some_and(Reason::is_ours) || self.ends_what_was_put_off(reply) {
            self.summary.refused_ours += 1;
        }
        match reply.code {
            400..=499 => self.summary.refused_4yz += 1,
            500..=599 => {
                self.summary.refused_5yz += 1;
                self.summary.errors += u32::from(reply.reason() != Some(Reason::UnknownRecipient));
            }
            _ => {}
        }
    }

    /// Appends a reply.
    pub(super) fn say(&self, reply: Reply, replies: &mut ReplyBuffer) {
        if reply.words.is_none() {
            replies.push(reply);
        } else {
            let (enhanced, text) = self.parts_of(reply);
            replies.push_parts(reply.code, true, &[enhanced, " ", text]);
        }
        self.note_said(reply);
    }

    /// Counts a reply that was appended, together with those of other sessions.
    pub(super) fn note_said(&self, reply: Reply) {
        if let Some(tally) = &self.tally {
            tally.reply(reply);
        }
    }

    /// Counts a line as the command of this number; as none where it is no command.
    pub(super) fn note_command(&self, number: Option<usize>) {
        if let Some(tally) = &self.tally {
            tally.command(number);
        }
    }

    /// Counts a recipient that was refused by this reply.
    pub(super) fn note_recipient_refused(&self, reply: Reply) {
        if let Some(tally) = self.tally.as_ref().filter(|_| reply.code >= 400) {
            tally.recipient_refused(reply);
        }
    }

    /// Refuses something and ends the session.
    pub(super) fn refuse_and_close(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        self.count(reply);
        self.note(reply, Address::Transaction, replies);
        self.say_last(reply, replies)
    }

    /// Appends a last reply and ends the session. It is noted as a refusal where a transaction is under way.
    pub(super) fn close_with(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        if self.transaction.is_some() {
            self.note(reply, Address::Transaction, replies);
        }
        self.say_last(reply, replies)
    }

    /// Appends a last reply in place of the one that was noted, and ends the session.
    pub(super) fn say_last_instead(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        if self.summary.refusals_more == 0 && self.summary.refusals_more_ours.is_none() {
            replies.refusals().amend(reply);
        }
        self.say_last(reply, replies)
    }

    /// Appends a last reply and ends the session.
    pub(super) fn say_last(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        self.ended_by.get_or_insert(reply.reason().map_or(EndedBy::Quit, EndedBy::from));
        self.say(reply, replies);
        self.close()
    }

    /// Ends the session without a word.
    pub(super) fn close_by(&mut self, why: EndedBy) -> Step {
        self.ended_by.get_or_insert(why);
        self.close()
    }

    /// Ends the session. What is unfinished is never delivered.
    pub(super) fn close(&mut self) -> Step {
        self.state = State::Closed;
        self.transaction = None;
        Step::Close
    }
}

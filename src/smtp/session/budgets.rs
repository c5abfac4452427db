//! Replies within the budgets of a session, for errors and for commands that bring nothing forward, and its
//! end with a reply.

use super::state::State;
use super::{Session, Step};
use crate::limits::EXCESS_RECIPIENTS_FREE;
use crate::smtp::reply::{self, Reply, ReplyBuffer};

impl Session {
    /// Appends a reply within the budget for errors; past it a 421 takes its place. False when the session is
    /// over.
    pub(super) fn reply(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> bool {
        self.count(reply);
        if reply.code >= 500 {
            if self.errors == self.settings.limits.errors_max {
                self.close_with(reply::TOO_MANY_ERRORS, replies);
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

    /// Counts a reply for the log.
    pub(super) fn count(&mut self, reply: Reply) {
        match reply.code {
            400..=499 => self.summary.refused_4yz += 1,
            500..=599 => self.summary.refused_5yz += 1,
            _ => {}
        }
    }

    /// Appends a reply.
    pub(super) fn say(&self, reply: Reply, replies: &mut ReplyBuffer) {
        replies.push(reply);
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

    /// Appends a last reply and ends the session.
    pub(super) fn close_with(&mut self, reply: Reply, replies: &mut ReplyBuffer) -> Step {
        self.say(reply, replies);
        self.close()
    }

    /// Ends the session. What is unfinished is never delivered.
    pub(super) fn close(&mut self) -> Step {
        self.state = State::Closed;
        self.transaction = None;
        Step::Close
    }
}

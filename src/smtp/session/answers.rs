//! Questions of a session and their answers: each is asked, awaited for a bounded time, and answered once.
//!
//! | awaited | at most | the end of that time means |
//! | --- | --- | --- |
//! | `Beginning` | `INQUIRY_WAIT_MAX` | `421`, and close |
//! | `Admission` | `INQUIRY_WAIT_MAX` | `421`, and close |
//! | `Recipient` | `INQUIRY_WAIT_MAX` | `451` to this RCPT; the session goes on |
//! | `Encryption` | `INQUIRY_WAIT_MAX` | `421`, and close |
//! | `Storing` | `sink_answer_timeout` | `421`, and close: nobody knows what became of the message |
//! | the same, at a station | the station's time and some seconds | `451`: the sink has never seen it |
//!
//! It never means yes. What the client sends meanwhile waits after the question, and all replies leave
//! together.

use std::time::Instant;

use super::state::{Admitting, State, Wait};
use super::{Session, Step};
use crate::limits::INQUIRY_WAIT_MAX;
use crate::mail::foreign_reply::Stranger;
use crate::mail::queue_id::QueueId;
use crate::smtp::policy::Verdict;
use crate::smtp::question::{Answer, Answerable, Awaited, Delivered, NotAwaited, OpenQuestion};
use crate::smtp::reason::Reason;
use crate::smtp::refusals::Address;
use crate::smtp::reply::{self, Reply, ReplyBuffer};

impl Session {
    /// What is awaited from the outside before [`Session::advance`] goes on; none when nothing is.
    pub fn awaits(&self) -> Option<Awaited> {
        match self.state {
            State::Waiting(wait) => Some(wait.awaited()),
            State::Proxy(_)
            | State::Delayed
            | State::Greeted
            | State::Command
            | State::Securing
            | State::Data(_)
            | State::Chunk(_)
            | State::Closed => None,
        }
    }

    /// The question of this kind that is awaited now; none when another one is, or none at all.
    pub fn asked<Q: Answerable>(&self) -> Option<OpenQuestion<Q>> {
        (self.awaits() == Some(Q::AWAITED)).then(|| OpenQuestion::new(self.questions))
    }

    /// Takes an answer. The step is `NeedInput`, after which [`Session::advance`] goes on, or `Close`.
    ///
    /// # Errors
    ///
    /// The session does not wait for the answer to this question, or no longer. Nothing is changed.
    pub fn resolve<Q: Answerable>(
        &mut self,
        asked: OpenQuestion<Q>,
        answer: Q::Answer,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Result<Step, NotAwaited> {
        let State::Waiting(wait) = self.state else { return Err(NotAwaited) };
        if wait.awaited() != Q::AWAITED || asked.number() != self.questions {
            return Err(NotAwaited);
        }
        self.state = State::Command;
        Ok(match Q::wrap(answer) {
            Answer::Beginning(begins) => {
                if let Err(why) = begins {
                    self.note(why.reply(), Address::Transaction, replies);
                }
                let reply = self.conclude_mail(begins);
                self.end_command(reply, replies, now)
            }
            Answer::Recipient(verdict) => {
                let reply = self.conclude_noted_recipient(verdict, replies);
                self.end_command(reply, replies, now)
            }
            Answer::Admission(admitted) => {
                let after_xclient = matches!(wait, Wait::Admission(Admitting::Xclient));
                self.handle_admission(admitted, after_xclient, replies, now)
            }
            Answer::Encryption(possible) => self.handle_tls_answer(possible, replies, now),
            Answer::Storing(delivered) => self.handle_delivered(delivered, replies, now),
        })
    }

    /// Begins to wait for the answer to a question.
    pub(super) fn ask<Q: Answerable>(&mut self, wait: Wait, now: Instant) -> OpenQuestion<Q> {
        assert_eq!(wait.awaited(), Q::AWAITED, "what is asked is awaited");
        self.questions = self.questions.wrapping_add(1);
        self.deadline = now
            + match wait {
                Wait::Beginning | Wait::Admission(_) | Wait::Recipient | Wait::Encryption => INQUIRY_WAIT_MAX,
                Wait::Storing => self.settings.limits.sink_answer_timeout,
            };
        self.state = State::Waiting(wait);
        OpenQuestion::new(self.questions)
    }

    /// The time for the answer is over.
    pub(super) fn expire_question(&mut self, wait: Wait, replies: &mut ReplyBuffer, now: Instant) -> Step {
        match wait {
            Wait::Beginning | Wait::Admission(_) | Wait::Encryption => {
                self.close_with(reply::TIMED_OUT, replies)
            }
            Wait::Storing => self.close_with(reply::OUTCOME_UNKNOWN, replies),
            Wait::Recipient => {
                self.state = State::Command;
                let reply = self.conclude_noted_recipient(Verdict::TryAgain, replies);
                self.end_command(reply, replies, now)
            }
        }
    }

    /// Replies to the MAIL or RCPT that asked.
    fn end_command(&mut self, reply: Reply, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if !self.may_put_off(reply) {
            self.count(reply::TOO_MANY_IDLE_COMMANDS);
            if reply.reason().is_some_and(Reason::is_ours) {
                // The refusal that was noted is what there is to tell.
                return self.say_last(reply::TOO_MANY_IDLE_COMMANDS, replies);
            }
            return self.say_last_instead(reply::TOO_MANY_IDLE_COMMANDS, replies);
        }
        if !self.reply_noted(reply, replies) {
            return Step::Close;
        }
        self.wait_for_command(now);
        self.close_if_stopping(replies).unwrap_or(Step::NeedInput)
    }

    /// Concludes the recipient that was asked about; a refusal is noted while it is in the envelope.
    fn conclude_noted_recipient(&mut self, verdict: Verdict, replies: &mut ReplyBuffer) -> Reply {
        match self.keep_recipient(verdict) {
            Ok(()) => reply::RECIPIENT_OK,
            Err(refusal) => {
                self.note(refusal, Address::LastRecipient, replies);
                self.take_recipient_back(refusal)
            }
        }
    }

    /// Says what became of the message.
    fn handle_delivered(&mut self, delivered: Delivered, replies: &mut ReplyBuffer, now: Instant) -> Step {
        let refusal = match delivered {
            Delivered::Accepted(id) => {
                self.accept(id, replies, now);
                return self.end_transaction(replies, now);
            }
            Delivered::TryAgain(why) => why.into(),
            Delivered::Refused(why) => why.into(),
            Delivered::Denied(why) => why.reply(),
            Delivered::RefusedBy(who, foreign) => {
                let refusal = match who {
                    Stranger::Filter => {
                        Reply::in_foreign_words(reply::FILTER_REFUSES, reply::FILTER_PUTS_OFF, &foreign)
                    }
                    Stranger::NextHop => {
                        Reply::in_foreign_words(reply::NEXT_HOP_REFUSES, reply::NEXT_HOP_PUTS_OFF, &foreign)
                    }
                };
                self.foreign = Some(foreign);
                refusal
            }
        };
        self.note(refusal, Address::Delivered, replies);
        if self.reply_noted(refusal, replies) { self.end_transaction(replies, now) } else { Step::Close }
    }

    /// 250 to a message: from now on it is ours to keep.
    fn accept(&mut self, id: QueueId, replies: &mut ReplyBuffer, now: Instant) {
        let id = id.text();
        let id = std::str::from_utf8(&id).unwrap_or_default();
        replies.push_parts(250, true, &["2.0.0 Ok: queued as ", id]);
        self.note_said(reply::MESSAGE_OK);
        self.summary.accepted += 1;
        self.restore_budgets();
        self.session_end = now + self.settings.limits.session_without_mail_max;
    }
}

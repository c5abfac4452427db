//! When a session ends by itself: what is awaited does not come, a message trickles, or no message is ever
//! accepted.
//!
//! Three bounds, and the first that passes counts. The *deadline* is that of what is awaited now: a command,
//! the next octets of mail data, an answer. The *end of the message* bounds mail data however evenly it
//! trickles. The *end of the session* bounds a client that does everything but bring mail.

use std::time::{Duration, Instant};

use super::state::State;
use super::{Session, Step};
use crate::smtp::ended_by::EndedBy;
use crate::smtp::message_clock::MessageClock;
use crate::smtp::proxy::NoProxyHeader;
use crate::smtp::question::Awaited;
use crate::smtp::reply::{self, Reply, ReplyBuffer};

impl Session {
    /// When [`Session::expire`] has to be called if nothing happens.
    pub fn deadline(&self) -> Instant {
        self.end().map_or(self.deadline, |(end, _)| end.min(self.deadline))
    }

    /// Until when the client may be silent, how long it might be in all, and whether mail data is awaited.
    /// `None` where it is we who are silent.
    pub fn silence(&self) -> Option<(Instant, Duration, bool)> {
        let limits = &self.settings.limits;
        let (time, in_data) = match self.state {
            State::Data(_) | State::Chunk(_) => (limits.data_timeout, true),
            State::Securing => (limits.tls_handshake_timeout.min(limits.command_timeout), false),
            State::Delayed | State::Waiting(_) | State::Closed => return None,
            State::Proxy(_) | State::Greeted | State::Command => (limits.command_timeout, false),
        };
        Some((self.deadline, time, in_data))
    }

    /// Whether mail data comes.
    pub fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk(_))
    }

    /// From now on the store has its time to say what became of the message.
    pub fn wait_for_outcome(&mut self, now: Instant) {
        if self.awaits() == Some(Awaited::Storing) {
            self.deadline = now + self.settings.limits.sink_answer_timeout;
        }
    }

    /// The deadline has passed. The step is `Close`; or `NeedInput`, after which [`Session::advance`] goes
    /// on, when it was that of the greeting or of the answer about a recipient.
    pub fn expire(&mut self, replies: &mut ReplyBuffer, now: Instant) -> Step {
        if now < self.deadline() {
            return Step::NeedInput;
        }
        if let Some((_, why)) = self.end().filter(|(end, _)| *end <= now) {
            return self.close_with(why, replies);
        }
        match self.state {
            State::Delayed => self.handle_delay_over(replies, now),
            // No greeting without a header, and no reply before a greeting or in a handshake.
            State::Proxy(_) => self.end_without_header(NoProxyHeader::TimedOut),
            State::Securing => self.close_by(EndedBy::Tls),
            State::Data(_) | State::Chunk(_) => self.close_with(reply::TOO_SLOW, replies),
            State::Waiting(wait) => self.expire_question(wait, replies, now),
            State::Greeted | State::Command => self.close_with(reply::TIMED_OUT, replies),
            // It has said its last.
            State::Closed => Step::Close,
        }
    }

    /// The end that nothing puts off but mail, with what is said then: that of the message under way, or that
    /// of the session.
    fn end(&self) -> Option<(Instant, Reply)> {
        match self.state {
            State::Data(_) | State::Chunk(_) | State::Greeted | State::Command => Some(match self.clock() {
                Some(clock) => (clock.end(), reply::MESSAGE_TOO_SLOW),
                None => (self.session_end, reply::NO_MAIL_FOR_LONG),
            }),
            // The client does not decide how long these take.
            State::Proxy(_) | State::Delayed | State::Waiting(_) | State::Securing | State::Closed => None,
        }
    }

    /// The time of the message under way, once its mail data began. A chunk that is passed over has one of
    /// its own, because its transaction may be gone.
    fn clock(&self) -> Option<&MessageClock> {
        if let State::Chunk(chunk) = &self.state {
            return Some(&chunk.clock);
        }
        self.transaction.as_ref()?.clock.as_ref()
    }

    fn clock_mut(&mut self) -> Option<&mut MessageClock> {
        if let State::Chunk(chunk) = &mut self.state {
            return Some(&mut chunk.clock);
        }
        self.transaction.as_mut()?.clock.as_mut()
    }

    /// The client is kept waiting by us: its time ends then, however little it sends, and that of its message
    /// stands still.
    pub fn wait_until(&mut self, deadline: Instant, now: Instant) {
        self.deadline = deadline;
        if let Some(clock) = self.clock_mut() {
            clock.stand_still(deadline.saturating_duration_since(now));
        }
    }

    /// The client is not kept waiting any more: it has all the time between two reads of mail data again.
    pub fn wait_for_data(&mut self, now: Instant) {
        let unused = self.deadline.saturating_duration_since(now);
        if let Some(clock) = self.clock_mut() {
            clock.go_on_early(unused);
        }
        self.wait_for_mail_data(now);
    }

    pub(super) fn wait_for_command(&mut self, now: Instant) {
        self.deadline = now + self.settings.limits.command_timeout;
    }

    /// Mail data is awaited, or its next chunk.
    pub(super) fn wait_for_mail_data(&mut self, now: Instant) {
        self.deadline = now + self.settings.limits.data_timeout;
    }

    /// All octets of mail data that came are consumed, those of refused mail data, too. The deadline is never
    /// more than a time-out ahead, so that it also bounds the time between two reads.
    pub(super) fn earn_time(&mut self, now: Instant) {
        let most = now + self.settings.limits.data_timeout;
        let deadline = self.deadline;
        if let Some(clock) = self.clock_mut() {
            self.deadline = clock.earn(deadline).min(most);
        }
    }
}

//! Input that is pending where the client has to wait for a reply (RFC 2920 §3.1).
//!
//! What counts is DATA: a client that does not wait for the answer sends the message to whoever answers. If
//! DATA is refused, that message would be read as commands, so nothing that is pending then is ever read.
//!
//! And the first EHLO or HELO: only after its reply does a client know what it may pipeline. Whatever carries
//! a whole transaction inside the request of another protocol cannot wait for that reply.

use std::time::Instant;

use super::handled::Handled;
use super::state::{AwaitedReply, State};
use super::{Session, Step};
use crate::smtp::command::{self, Next};
use crate::smtp::ended_by::EndedBy;
use crate::smtp::reply::{self, ReplyBuffer};
use crate::smtp::settings::Pipelining;
use crate::smtp::supplies::Supplies;

impl Session {
    /// Handles a command line, after which input is `pending` or not.
    pub(super) fn handle_line_with(
        &mut self,
        line: &[u8],
        pending: bool,
        supplies: &mut Supplies,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Handled {
        let handled = self.handle_line(line, pending, supplies, replies, now);
        let Handled::Reply(reply) = handled else { return handled };
        if command::meant(line).is_none_or(|row| row.next != Next::MailData) {
            return handled;
        }
        let started = matches!(self.state, State::Data(_));
        if started && self.settings.gate.pipelining == Pipelining::Tolerate {
            return handled;
        }
        if pending {
            return Handled::Close(if started { reply::PIPELINED_INPUT } else { reply });
        }
        self.reply_waits = Some(AwaitedReply::Data);
        handled
    }

    /// The first EHLO or HELO that can be accepted, after which input is `pending` or not. Gives how it ends
    /// when it may not be accepted.
    pub(super) fn begin_first_hello(&mut self, pending: bool) -> Option<Handled> {
        if self.said_hello || self.settings.gate.pipelining == Pipelining::Tolerate {
            self.said_hello = true;
            return None;
        }
        if pending {
            return Some(Handled::Close(reply::PIPELINED_INPUT));
        }
        self.said_hello = true;
        self.reply_waits = Some(AwaitedReply::Hello);
        None
    }

    /// Input came before a reply that the client has to wait for was handed over. That reply waits to be sent
    /// already.
    pub(super) fn close_for_pipelining(&mut self, to: AwaitedReply, replies: &mut ReplyBuffer) -> Step {
        if to == AwaitedReply::Hello || matches!(self.state, State::Data(_)) {
            return self.refuse_and_close(reply::PIPELINED_INPUT, replies);
        }
        self.close_by(EndedBy::Pipelining)
    }
}

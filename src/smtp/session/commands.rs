//! Command lines in a session: each is read, looked at by its row of the table of commands, and handled.

use std::time::Instant;

use super::handled::Handled;
use super::state::{Hello, State};
use super::{Session, Step};
use crate::smtp::command::{self, Budget, Command, Group, LineError, Verb};
use crate::smtp::input::Input;
use crate::smtp::line::Line;
use crate::smtp::reply::{self, ReplyBuffer};
use crate::smtp::settings::{Pipelining, Refusal};
use crate::smtp::supplies::Supplies;

impl Session {
    /// Reads and handles one command line, if there is one.
    pub(super) fn advance_command(
        &mut self,
        input: &mut Input<'_>,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Option<Step> {
        if !self.said_hello
            && self.line.is_at_start()
            && input.rest().first().is_some_and(|octet| !command::can_begin(*octet))
        {
            self.summary.commands += 1;
            self.note_command(None);
            self.count(reply::NOT_SMTP);
            return Some(self.close_with(reply::NOT_SMTP, replies));
        }
        let handled = match self.line.next(input, self.settings.limits.line_bytes_max) {
            Line::Incomplete => return Some(Step::NeedInput),
            Line::InPlace { text, count } => {
                let pending = input.more || input.rest().len() > count;
                input.consume(count);
                self.handle_line_with(text, pending, input.supplies, replies, now)
            }
            Line::Carried(text) => {
                let pending = input.more || !input.rest().is_empty();
                self.handle_line_with(&text, pending, input.supplies, replies, now)
            }
            Line::BareLf => self.no_command(Handled::Close(reply::BARE_LINE_END)),
            Line::TooLong if self.line.too_long_announced_chunk() => {
                self.no_command(Handled::Close(reply::LINE_TOO_LONG))
            }
            Line::TooLong => self.no_command(Handled::Reply(reply::LINE_TOO_LONG)),
            Line::Endless => self.no_command(Handled::Close(reply::ENDLESS)),
        };
        let open = match handled {
            Handled::Ask(question) => {
                self.summary.commands += 1;
                return Some(Step::Ask(question));
            }
            Handled::Replied => true,
            Handled::Reply(reply) => self.reply(reply, replies),
            Handled::Close(reply) => {
                self.summary.commands += 1;
                self.count(reply);
                return Some(self.close_with(reply, replies));
            }
        };
        self.summary.commands += 1;
        if matches!(self.state, State::Command) {
            self.wait_for_command(now);
        }
        if !open || matches!(self.state, State::Closed) {
            return Some(Step::Close);
        }
        self.close_if_stopping(replies)
    }

    /// Counts a line that is no command.
    fn no_command(&self, handled: Handled) -> Handled {
        self.note_command(None);
        handled
    }

    /// Handles a command line; [`Session::handle_line_with`] looks after what comes after DATA.
    pub(super) fn handle_line(
        &mut self,
        line: &[u8],
        pending: bool,
        supplies: &mut Supplies,
        replies: &mut ReplyBuffer,
        now: Instant,
    ) -> Handled {
        if !self.said_hello && command::is_foreign_protocol(line) {
            return self.no_command(Handled::Close(reply::NOT_SMTP));
        }
        let parsed = command::parse(line);
        self.note_command(parsed.as_ref().ok().map(|command| command.number));
        let Command { verb, row, argument, .. } = match parsed {
            Ok(command) => command,
            Err(LineError::BareCr) => return Handled::Close(reply::BARE_LINE_END),
            // Nobody knows how many octets of a chunk follow.
            Err(LineError::Octet) if command::announces_chunk(line.iter().copied()) => {
                return Handled::Close(reply::BAD_OCTET);
            }
            Err(LineError::Octet) => return Handled::Reply(reply::BAD_OCTET),
            Err(LineError::Argument) => return Handled::Reply(reply::NO_ARGUMENT),
            Err(LineError::Unrecognized) if line.is_empty() => return Handled::Reply(reply::EMPTY_LINE),
            Err(LineError::Unrecognized) => return Handled::Reply(reply::UNRECOGNIZED),
        };
        if pending && self.settings.gate.pipelining == Pipelining::Reject && row.group == Group::Ends {
            return Handled::Close(reply::PIPELINED_INPUT);
        }
        if self.settings.gate.refuse == Some(Refusal::NotNow) && verb != Verb::Quit {
            return Handled::Reply(reply::REFUSING);
        }
        if !row.before_tls && self.lacks_tls() {
            return Handled::Reply(reply::TLS_FIRST);
        }
        if !row.before_hello && matches!(self.hello, Hello::None) {
            return Handled::Reply(reply::HELLO_FIRST);
        }
        if row.budget == Budget::Idle && !self.may_be_idle() {
            return Handled::Close(reply::TOO_MANY_IDLE_COMMANDS);
        }
        match verb {
            Verb::Ehlo | Verb::Helo => self.handle_hello(verb, argument, pending, replies),
            Verb::Mail | Verb::Rcpt => {
                let handled = if verb == Verb::Mail {
                    self.handle_mail(argument, supplies, now)
                } else {
                    self.handle_rcpt(argument, now)
                };
                match handled {
                    Handled::Reply(reply) if !self.may_put_off(reply) => {
                        Handled::Close(reply::TOO_MANY_IDLE_COMMANDS)
                    }
                    handled => handled,
                }
            }
            Verb::Data => Handled::Reply(self.handle_data(now)),
            Verb::Bdat => self.handle_bdat(argument, now),
            Verb::Xclient => self.handle_xclient(argument, now),
            Verb::StartTls => self.handle_starttls(pending, now),
            Verb::Rset => {
                self.abandon_transaction();
                Handled::Reply(reply::OK)
            }
            Verb::Vrfy => Handled::Reply(self.handle_vrfy(argument)),
            Verb::Quit => Handled::Close(reply::BYE),
            Verb::Says(reply) => Handled::Reply(reply),
        }
    }
}

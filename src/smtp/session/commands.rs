//! Command lines in a session: each is read, looked at by its row of the table of commands, and handled.

use std::time::Instant;

use super::handled::Handled;
use super::state::{Hello, State};
use super::{Session, Step};
use crate::smtp::command::{self, Budget, Command, Group, LineError, Verb};
use crate::smtp::input::Input;
use crate::smtp::line::Line;
use crate::smtp::refusals::Address;
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
            self.summary.commands_of_use += 1;
            return Some(self.refuse_and_close(reply::NOT_SMTP, replies));
        }
        let handled = match self.line.next(input, self.settings.limits.line_bytes_max) {
            Line::Incomplete => return Some(Step::NeedInput),
            Line::InPlace { text, count } => {
                let pending = input.more || input.rest().len() > count;
                input.consume(count);
                let handled = self.handle_line_with(text, pending, input.supplies, replies, now);
                self.note_handled(&handled, text, replies);
                handled
            }
            Line::Carried(text) => {
                let pending = input.more || !input.rest().is_empty();
                let handled = self.handle_line_with(&text, pending, input.supplies, replies, now);
                self.note_handled(&handled, &text, replies);
                handled
            }
            Line::BareLf => self.refuse_line(Handled::Close(reply::BARE_LINE_END), replies),
            Line::TooLong if self.line.too_long_announced_chunk() => {
                self.refuse_line(Handled::Close(reply::LINE_TOO_LONG), replies)
            }
            Line::TooLong => self.refuse_line(Handled::Reply(reply::LINE_TOO_LONG), replies),
            Line::Endless => self.refuse_line(Handled::Close(reply::ENDLESS), replies),
        };
        let open = match handled {
            Handled::Ask(question) => {
                self.summary.commands += 1;
                return Some(Step::Ask(question));
            }
            Handled::Replied => true,
            Handled::Reply(reply) => self.reply_noted(reply, replies),
            Handled::Close(reply) => {
                self.summary.commands += 1;
                self.count(reply);
                return Some(self.say_last(reply, replies));
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

    /// Notes what a command line was refused with.
    fn note_handled(&mut self, handled: &Handled, line: &[u8], replies: &mut ReplyBuffer) {
        let (Handled::Reply(reply) | Handled::Close(reply)) = *handled else { return };
        if reply.reason().is_none() {
            return;
        }
        let argument = line.get(self.step.len()..).unwrap_or_default();
        let address = match self.step {
            "MAIL" => Address::ReversePath(argument.trim_ascii()),
            "RCPT" => Address::ForwardPath(argument.trim_ascii()),
            _ => Address::Transaction,
        };
        self.note(reply, address, replies);
    }

    /// Notes what a line was refused with that is no command line.
    fn refuse_line(&mut self, handled: Handled, replies: &mut ReplyBuffer) -> Handled {
        self.note_command(None);
        self.step = "COMMAND";
        self.summary.commands_of_use += 1;
        self.note_handled(&handled, b"", replies);
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
        self.step = "COMMAND";
        if !self.said_hello && command::is_foreign_protocol(line) {
            self.note_command(None);
            self.summary.commands_of_use += 1;
            return Handled::Close(reply::NOT_SMTP);
        }
        let parsed = command::parse(line);
        self.note_command(parsed.as_ref().ok().map(|command| command.number));
        let Command { verb, row, argument, .. } = match parsed {
            Ok(command) => command,
            Err(error) => {
                self.summary.commands_of_use += 1;
                self.step = command::meant(line).map_or("COMMAND", |row| row.word);
                return match error {
                    LineError::BareCr => Handled::Close(reply::BARE_LINE_END),
                    // Nobody knows how many octets of a chunk follow.
                    LineError::Octet if command::announces_chunk(line.iter().copied()) => {
                        Handled::Close(reply::BAD_OCTET)
                    }
                    LineError::Octet => Handled::Reply(reply::BAD_OCTET),
                    LineError::Argument => Handled::Reply(reply::NO_ARGUMENT),
                    LineError::Unrecognized if line.is_empty() => Handled::Reply(reply::EMPTY_LINE),
                    LineError::Unrecognized => Handled::Reply(reply::UNRECOGNIZED),
                };
            }
        };
        self.step = row.word;
        self.summary.commands_of_use += u32::from(!row.is_of_a_health_check());
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

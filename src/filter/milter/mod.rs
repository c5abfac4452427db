//! The mail server's side of the milter protocol, versions 2 to 6, sans-IO: octets of a milter in; octets to
//! send and steps out. After `draft-adams-milter-protocol`, libmilter's `mfdef.h`, and what libmilter does.
//!
//! ```text
//!   Opening ─► Negotiating ─► Ready ─► Telling ─► Body ─► Ending ─► Settled ─┬─► Ready …
//!                                         └──────────┴────────────────┘      └─► Spent
//!                     any state ─► Over
//! ```
//!
//! [`Session::advance`] consumes what was received, appends to the output, and stops at a [`Step`] that needs
//! the outside. [`Session::begin`] begins a message, of which all is known: its mail data has ended. It comes
//! to [`Step::Done`], or to [`Step::Over`] where the milter has a fault or is lost; then nothing is known of
//! it, and it may be asked about again on another connection. Where the milter's octets are split changes
//! nothing, with one exception: what arrives together with a reply, before what comes next was said, answers
//! nothing and is a fault. Whatever a milter sends has a bounded, clear ending.
//!
//! **Recipients.** A milter may refuse one recipient, but after the end of the mail data nobody can: the
//! message is answered once, for all. It goes on for all recipients where the milter refuses only some of
//! them, since a refusal for all would keep it from those for whom it is wanted, and nobody would be dropped
//! without a word ([`Session::refused_recipients`] tells how many that were). Where it refuses each of them
//! the message is refused: with the last 4yz if there is one, because the client shall come back for that
//! recipient, else with the last reply.
//!
//! **Header fields that it adds** stand in front of the message, never in the middle of it or at its end: one
//! that is inserted, at whatever index, on top of those that were added so far; one that is added, below
//! them. A message that it puts into quarantine has `X-Quarantine:` with the reason above all of them, so
//! that whoever reads the message alone can see that.

mod agreement;
mod code;
mod fault;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod macro_names;
mod macros;
mod packet;
mod phase;
mod replies;
mod script;
#[cfg(test)]
mod tests;

use super::field::{Fields, Place};
use super::{Action, Ruling, Subject};
use crate::mail::foreign_reply::ForeignReply;
use agreement::Agreement;
use code::command;
pub use fault::{Fault, Loss};
use packet::PacketReader;
pub use phase::Phase;
use script::Script;

/// What a milter may say of one message without coming to an end: edits, and that it still works. A milter
/// that says so each second has said it longer than an SMTP client waits (RFC 5321 §4.5.3.2.6).
const INTERIM_REPLIES_MAX: u32 = 1000;

/// One connection to a milter.
#[derive(Debug)]
pub struct Session {
    state: State,
    reader: PacketReader,
    agreement: Agreement,
    /// What is still to be said of the message before its body.
    script: Script,
    /// The command whose reply is awaited.
    awaited: Option<u8>,
    /// What comes next was sent before something was said that it would answer.
    is_stale: bool,
    /// Header fields that it adds.
    added: Fields,
    /// Why the message is suspicious, if it was put into quarantine.
    quarantine: Option<String>,
    /// Recipients that were refused, and how.
    refused: usize,
    refusal: Option<ForeignReply>,
    /// Replies of this message that did not come to an end.
    interim: u32,
    messages: u64,
    replies: u64,
    /// How many replies there were when the message began.
    replies_before: u64,
}

/// What a session does now.
#[derive(Debug)]
enum State {
    /// The options are to be offered.
    Opening,
    /// The milter's options are awaited.
    Negotiating,
    /// A message may begin.
    Ready,
    /// The connection, the envelope and the header section are told.
    Telling,
    /// The body is told.
    Body,
    /// The final reply is awaited.
    Ending,
    /// The message has its ruling, which is to be told; whether another one may follow.
    Settled(Box<Ruling>, bool),
    /// No further message may follow.
    Spent,
    /// It is over.
    Over(Fault),
}

/// What a session needs from outside before it can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All input is consumed. What was appended to the output is to be sent, and the milter is awaited.
    NeedInput,
    /// A message may begin ([`Session::begin`]). A connection that is kept is still listened to.
    Ready,
    /// The body is to be given ([`Session::give_body`]), or its end ([`Session::end_body`]), once the output
    /// is sent.
    NeedBody,
    /// The message has this ruling. The output is to be sent.
    Done(Ruling),
    /// The connection can serve no further message: it is to be ended ([`Session::quit`]).
    Spent,
    /// The session is over: the connection is to be closed. A message that had begun has no ruling.
    Over(Fault),
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session on a connection that was just made.
    pub fn new() -> Self {
        Self {
            state: State::Opening,
            reader: PacketReader::default(),
            agreement: Agreement::default(),
            script: Script::default(),
            awaited: None,
            is_stale: false,
            added: Fields::default(),
            quarantine: None,
            refused: 0,
            refusal: None,
            interim: 0,
            messages: 0,
            replies: 0,
            replies_before: 0,
        }
    }

    /// Consumes octets that the milter sent, appends what is to be sent, and says what it needs. Also to be
    /// called without input: at first, and after each call and each step but `NeedInput` and `Over`.
    pub fn advance(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Step {
        loop {
            let said = output.len();
            let step = self.turn(input, output);
            // What was received before it was said is no answer to it.
            if output.len() > said {
                self.is_stale |= !input.is_empty() || !self.reader.is_between();
            }
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Begins a message: `header` is its header section as it came, with the empty line that ends it if it
    /// has one; what comes after that is its body. What is to be said is said by [`Self::advance`].
    ///
    /// # Panics
    /// When the last step was not [`Step::Ready`].
    pub fn begin(&mut self, subject: &Subject<'_>, header: &[u8]) {
        assert!(matches!(self.state, State::Ready), "a message begins after Step::Ready");
        self.script.write(subject, header, &self.agreement);
        self.refused = 0;
        self.interim = 0;
        self.messages += 1;
        self.replies_before = self.replies;
        self.state = State::Telling;
    }

    /// Takes octets of the body, as many as are said at once, and leaves the others: what came first is best
    /// given in pieces of [`Self::body_bytes_max`].
    ///
    /// # Panics
    /// When the last step was not [`Step::NeedBody`].
    pub fn give_body(&mut self, body: &mut &[u8], output: &mut Vec<u8>) {
        self.assert_needs_body();
        let most = body.len().min(self.body_bytes_max());
        let Some((chunk, rest)) = body.split_at_checked(most) else { return };
        *body = rest;
        if !chunk.is_empty() {
            self.is_stale |= !self.reader.is_between();
            self.say_chunk(chunk, output);
        }
    }

    /// The body has no more octets.
    ///
    /// # Panics
    /// When the last step was not [`Step::NeedBody`].
    pub fn end_body(&mut self, output: &mut Vec<u8>) {
        self.assert_needs_body();
        self.is_stale |= !self.reader.is_between();
        self.say_end(output);
    }

    fn assert_needs_body(&self) {
        let needs = matches!(self.state, State::Body) && self.awaited.is_none();
        assert!(needs || matches!(self.state, State::Over(_)), "the body is given after Step::NeedBody");
    }

    /// How many octets of the body are said at once, at most.
    pub fn body_bytes_max(&self) -> usize {
        self.agreement.data_bytes_max()
    }

    /// Ends the connection, which is to be closed once the output is sent. A message that has begun is given
    /// up.
    pub fn quit(self, output: &mut Vec<u8>) {
        let is_under_way = matches!(self.state, State::Telling | State::Body | State::Ending);
        if is_under_way {
            packet::push(output, command::ABORT, |_| {});
        }
        if !matches!(self.state, State::Over(_)) {
            packet::push(output, command::QUIT, |_| {});
        }
    }

    /// The connection is lost; also how a time-out is told. A ruling that is not told yet is told none the
    /// less.
    pub fn handle_lost(&mut self, how: Loss) {
        match &mut self.state {
            State::Over(_) | State::Spent => {}
            State::Settled(_, may_follow) => *may_follow = false,
            _ => self.end(Fault::Lost(how, self.phase())),
        }
    }

    /// What is awaited.
    pub fn phase(&self) -> Phase {
        match (&self.state, self.awaited) {
            (State::Opening | State::Negotiating, _) => Phase::Negotiation,
            (_, Some(command)) => Phase::of(command),
            (State::Body, None) => Phase::Body,
            (_, None) => Phase::Idle,
        }
    }

    /// Whether the connection was kept after another message, and the milter has said nothing of this one. If
    /// it is lost, then most likely because the milter does not keep connections, and a new one will do.
    pub fn is_kept_unheard(&self) -> bool {
        self.messages > 1 && self.replies == self.replies_before
    }

    /// Recipients of the last message that the milter refused. Unless it refused all, the message went on for
    /// them too.
    pub fn refused_recipients(&self) -> usize {
        self.refused
    }

    /// One state further; a step where the outside is needed.
    fn turn(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Option<Step> {
        let may_tell_body = matches!(self.state, State::Body) && self.awaited.is_none();
        if may_tell_body && self.tells_body_itself(output) {
            return None;
        }
        match &mut self.state {
            State::Over(fault) => return Some(Step::Over(*fault)),
            State::Spent => return Some(Step::Spent),
            State::Settled(ruling, may_follow) => {
                let ruling = std::mem::take(&mut **ruling);
                self.state = if *may_follow { State::Ready } else { State::Spent };
                return Some(Step::Done(ruling));
            }
            State::Opening => {
                agreement::push_offer(output);
                self.awaited = Some(command::NEGOTIATE);
                self.state = State::Negotiating;
                return None;
            }
            State::Telling if self.awaited.is_none() => {
                self.awaited = self.script.say(&self.agreement, output);
                if self.awaited.is_none() {
                    self.state = State::Body;
                }
                return None;
            }
            State::Telling | State::Body | State::Ending | State::Negotiating | State::Ready => {}
        }
        match self.reader.read(input) {
            Ok(Some(packet)) => {
                let said = replies::Said::of(packet);
                self.handle(said, output);
                None
            }
            Ok(None) => {
                if self.reader.is_between() {
                    self.is_stale = false;
                }
                Some(self.waits())
            }
            Err(fault) => {
                self.end(fault);
                None
            }
        }
    }

    /// What it waits for, when all input is consumed.
    fn waits(&self) -> Step {
        match (&self.state, self.awaited) {
            (State::Ready, _) => Step::Ready,
            (State::Body, None) => Step::NeedBody,
            _ => Step::NeedInput,
        }
    }

    /// Says what of the body needs nobody: what the header section had of it, or the end of one that the
    /// milter does not want.
    fn tells_body_itself(&mut self, output: &mut Vec<u8>) -> bool {
        if !self.agreement.wants(command::BODY) || self.script.skips(command::BODY) {
            self.say_end(output);
            return true;
        }
        let chunk = self.script.take_body(self.body_bytes_max());
        if chunk.is_empty() {
            return false;
        }
        self.say_chunk(&chunk, output);
        true
    }

    fn say_chunk(&mut self, chunk: &[u8], output: &mut Vec<u8>) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        packet::push_chunk(output, chunk);
        self.awaited = self.agreement.answers(command::BODY).then_some(command::BODY);
    }

    fn say_end(&mut self, output: &mut Vec<u8>) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        self.script.push_end(output);
        self.awaited = Some(command::END);
        self.state = State::Ending;
    }

    /// Takes a whole reply.
    fn handle(&mut self, said: Result<replies::Said, Fault>, output: &mut Vec<u8>) {
        self.replies += 1;
        let result = said.and_then(|said| self.handle_said(said, output));
        if let Err(fault) = result {
            self.end(fault);
        }
    }

    fn handle_said(&mut self, said: replies::Said, output: &mut Vec<u8>) -> Result<(), Fault> {
        use replies::Said;
        if let Said::Progress = said {
            return self.count_interim();
        }
        let Some(awaited) = self.awaited.filter(|_| !self.is_stale) else {
            return Err(Fault::Unasked(said.code()));
        };
        if let (Said::Options(agreement), command::NEGOTIATE) = (&said, awaited) {
            self.agreement = (**agreement).clone();
            self.awaited = None;
            self.state = State::Ready;
            return Ok(());
        }
        if awaited == command::NEGOTIATE {
            return Err(Fault::Unexpected(said.code(), self.phase()));
        }
        let is_end = awaited == command::END;
        match said {
            Said::Continue if is_end => self.settle(Action::Pass, true, output)?,
            Said::Continue => self.awaited = None,
            Said::Accept => self.settle(Action::Pass, false, output)?,
            // A message is what is discarded, and there is none yet: Sendmail and Postfix go on.
            Said::Discard if matches!(awaited, command::CONNECT | command::HELO) => self.awaited = None,
            Said::Discard => self.settle(Action::Discard, false, output)?,
            Said::Refuse(reply) if awaited == command::RECIPIENT => self.refuse_recipient(reply, output)?,
            Said::Refuse(reply) | Said::Shutdown(reply) => {
                self.settle(Action::Refuse(reply), false, output)?;
            }
            Said::Skip if !is_end => {
                self.script.skip(awaited);
                self.awaited = None;
            }
            Said::Add { place, name, value } if is_end && self.agreement.adds_fields() => {
                self.count_interim()?;
                self.added.add(place, &name, &value, self.agreement.keeps_leading_space())?;
            }
            Said::Quarantine(reason) if is_end && self.agreement.quarantines() => {
                self.count_interim()?;
                self.quarantine.get_or_insert(reason);
            }
            Said::Add { .. } | Said::Quarantine(_) | Said::Edit(_) => {
                return Err(Fault::Edit(said.code(), self.phase()));
            }
            Said::Skip | Said::Progress | Said::Options(_) => {
                return Err(Fault::Unexpected(said.code(), self.phase()));
            }
        }
        Ok(())
    }

    fn count_interim(&mut self) -> Result<(), Fault> {
        self.interim += 1;
        if self.interim > INTERIM_REPLIES_MAX { Err(Fault::Endless(self.phase())) } else { Ok(()) }
    }

    /// One recipient is refused; the message with the last of them.
    fn refuse_recipient(&mut self, reply: ForeignReply, output: &mut Vec<u8>) -> Result<(), Fault> {
        self.awaited = None;
        self.refused += 1;
        let is_overruled =
            reply.is_permanent() && self.refusal.as_ref().is_some_and(|kept| !kept.is_permanent());
        if !is_overruled {
            self.refusal = Some(reply);
        }
        if self.refused == self.script.recipients()
            && let Some(reply) = self.refusal.take()
        {
            self.settle(Action::Refuse(reply), false, output)?;
        }
        Ok(())
    }

    /// The message has its ruling. `is_continue`: the milter answered the end of the message by `c`.
    ///
    /// Only then does libmilter listen to `SMFIC_QUIT_NC`; after any other answer it ignores that, and the
    /// connection that is told next, without a reply. And a milter that is not told of connections cannot
    /// tell where the next one begins: pymilter fails there.
    fn settle(&mut self, action: Action, is_continue: bool, output: &mut Vec<u8>) -> Result<(), Fault> {
        let mut ruling = Ruling { action, ..Ruling::default() };
        if ruling.action == Action::Pass {
            if let Some(reason) = self.quarantine.take() {
                ruling.action = Action::Mark;
                let value = if reason.is_empty() { "Yes" } else { &reason };
                self.added.add(Place::Top, b"X-Quarantine", value.as_bytes(), false)?;
                ruling.symbols.extend(Some(reason).filter(|reason| !reason.is_empty()));
            }
            ruling.fields = self.added.take();
        }
        self.forget();
        let is_anew = self.agreement.wants(command::CONNECT);
        let may_follow = is_continue && is_anew && self.agreement.keeps_connections() && !self.is_stale;
        if may_follow {
            packet::push(output, command::QUIT_NEW_CONNECTION, |_| {});
        }
        self.awaited = None;
        self.state = State::Settled(Box::new(ruling), may_follow);
        Ok(())
    }

    /// Gives up what belongs to a message that is done.
    fn forget(&mut self) {
        self.script.forget();
        self.added = Fields::default();
        (self.quarantine, self.refusal) = (None, None);
    }

    fn end(&mut self, fault: Fault) {
        self.awaited = None;
        self.state = State::Over(fault);
    }
}

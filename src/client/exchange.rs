//! One transaction: what is said of it and when, which reply answers what, and what becomes of its
//! recipients.
//!
//! ```text
//!   Reset ─► Mail ─► Recipient(0) ─► … ─► Data ─► End ─► Finished
//! ```
//!
//! Two places move along this line. Up to `said` all is said, up to `awaited` all is answered. With
//! PIPELINING all is said in one run, if it is not too long; without, each waits for the reply to the one
//! before. A further run is said only when the one before is answered, so neither side ever waits for the
//! other to read. A reply is expected while `awaited` is behind `said`, and only then.
//!
//! `Data` is the DATA command, or BDAT with the content. BDAT has no reply of its own, so what is awaited
//! goes from the last RCPT to `End` at once.

use super::commands;
use super::phase::Phase;
use super::reply::{Class, Reply};
use super::results::{Answer, Results};
use super::settings::Protocol;
use super::step::Form;
use super::violation::Violation;

/// Octets of commands after which a run ends: so much a server takes while its replies wait to be read, and
/// the replies to so many commands fit into what a socket holds.
const RUN_BYTES_MAX: usize = 64 * 1024;

/// Content with more octets than these is not sent before RCPT is answered: it costs more than the time of a
/// round trip to send it for nothing.
const EAGER_CONTENT_BYTES_MAX: u64 = 256 * 1024;

/// Memory of commands that is kept for the next transaction: that of usual ones.
const KEPT_BYTES: usize = 16 * 1024;

/// A place on the line that is drawn above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Place {
    #[default]
    Reset,
    Mail,
    Recipient(usize),
    Data,
    End,
    Finished,
}

/// How far the content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sending {
    /// It is not to be sent yet.
    #[default]
    Not,
    /// The caller is to be told.
    Due,
    /// The caller was told.
    Told,
    /// All of it is on its way.
    Sent,
}

/// What a reply leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The transaction goes on.
    Goes,
    /// It has its results.
    Done,
    /// It has its results, but the server is not where we are: the session cannot go on.
    Broken(Violation),
    /// RSET was refused.
    Refused,
}

/// A transaction that is said. Memory is used again by the next one.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// MAIL.
    pub(super) mail: Vec<u8>,
    /// All RCPT.
    pub(super) recipients: Vec<u8>,
    /// How many there are.
    pub(super) count: usize,
    /// In which form the content goes. None before the transaction begins.
    pub(super) form: Option<Form>,
    /// Octets of the content.
    pub(super) content_bytes: u64,
    /// Commands go in runs.
    pub(super) groups: bool,
    /// It ends when RCPT is answered: no content follows.
    pub(super) only_asks: bool,
    /// Each recipient has a reply to the mail data.
    is_lmtp: bool,
    /// Octets of `recipients` that are said.
    recipients_said: usize,
    said: Place,
    awaited: Place,
    sending: Sending,
    /// MAIL was refused.
    is_refused: bool,
    /// Recipients whose RCPT was accepted.
    taken: usize,
    /// LMTP: the recipients before this one have their replies to the mail data.
    answered: usize,
}

impl Exchange {
    /// Forgets all, and keeps the memory if it is not much.
    pub(super) fn clear(&mut self) {
        let (mut mail, mut recipients) =
            (std::mem::take(&mut self.mail), std::mem::take(&mut self.recipients));
        for memory in [&mut mail, &mut recipients] {
            memory.clear();
            memory.shrink_to(KEPT_BYTES);
        }
        *self = Self { mail, recipients, ..Self::default() };
    }

    /// Begins; `resets`: the transaction before is still open in the server.
    pub(super) fn begin(&mut self, protocol: Protocol, resets: bool) {
        self.is_lmtp = protocol == Protocol::Lmtp;
        self.said = if resets { Place::Reset } else { Place::Mail };
        self.awaited = self.said;
    }

    /// Whether a reply is expected.
    pub(super) fn expects_reply(&self) -> bool {
        self.awaited < self.said
    }

    /// Whether all of the content is on its way, so that nobody but the server knows whether it took it.
    pub(super) fn content_is_sent(&self) -> bool {
        self.sending == Sending::Sent
    }

    /// The form of the content, once, when it is to be sent.
    pub(super) fn take_due(&mut self) -> Option<Form> {
        if self.sending != Sending::Due {
            return None;
        }
        self.sending = Sending::Told;
        self.form
    }

    /// All of the content is on its way. False when it was not to be sent.
    pub(super) fn handle_content_sent(&mut self) -> bool {
        let was_told = self.sending == Sending::Told;
        if was_told {
            self.sending = Sending::Sent;
            self.said = Place::Finished;
        }
        was_told
    }

    /// What is awaited.
    pub(super) fn phase(&self) -> Phase {
        if matches!(self.sending, Sending::Due | Sending::Told) {
            return Phase::Content;
        }
        self.phase_of_reply()
    }

    /// What the next reply is to.
    pub(super) fn phase_of_reply(&self) -> Phase {
        match self.awaited {
            Place::Reset => Phase::Reset,
            Place::Mail => Phase::Mail,
            Place::Recipient(_) => Phase::Recipient,
            Place::Data => Phase::Data,
            Place::End | Place::Finished => Phase::End,
        }
    }

    /// Appends what may be said now: a run, or one command.
    pub(super) fn say(&mut self, output: &mut Vec<u8>) {
        if self.expects_reply() {
            return;
        }
        let start = output.len();
        loop {
            match self.said {
                Place::Reset => {
                    output.extend_from_slice(b"RSET\r\n");
                    self.said = Place::Mail;
                }
                Place::Mail => {
                    output.extend_from_slice(&self.mail);
                    self.said = Place::Recipient(0);
                }
                Place::Recipient(_) if self.is_refused => return,
                Place::Recipient(index) => {
                    let rest = self.recipients.get(self.recipients_said..).unwrap_or_default();
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                    output.extend_from_slice(rest.get(..end).unwrap_or_default());
                    self.recipients_said += end;
                    self.said =
                        if index + 1 < self.count { Place::Recipient(index + 1) } else { Place::Data };
                }
                Place::Data if self.only_asks => return,
                Place::Data => return self.say_content(output),
                Place::End | Place::Finished => return,
            }
            if !self.groups || output.len() - start >= RUN_BYTES_MAX {
                return;
            }
        }
    }

    /// DATA, or BDAT and the content, unless that is for nobody or too much to be sent before it is known.
    fn say_content(&mut self, output: &mut Vec<u8>) {
        let is_known = !self.expects_reply();
        if is_known && self.is_for_nobody() {
            return;
        }
        match self.form {
            Some(Form::Dot) => {
                output.extend_from_slice(b"DATA\r\n");
                self.said = Place::End;
            }
            Some(Form::Chunk) if is_known || self.content_bytes <= EAGER_CONTENT_BYTES_MAX => {
                commands::push_last_chunk(self.content_bytes, output);
                self.said = Place::End;
                self.sending = Sending::Due;
                if is_known {
                    self.awaited = Place::End;
                }
            }
            Some(Form::Chunk) | None => {}
        }
    }

    /// Takes a reply other than 421. It says more where it may.
    pub(super) fn handle_reply(
        &mut self,
        reply: Reply<'_>,
        results: &mut Results,
        output: &mut Vec<u8>,
    ) -> Next {
        let class = Class::of(reply.code);
        if !self.expects_reply() {
            return self.handle_unasked(reply, class, results);
        }
        let unexpected = Next::Broken(Violation::Unexpected(reply.code));
        let goes = match self.awaited {
            Place::Reset if class != Class::Positive => return Next::Refused,
            Place::Reset => {
                self.awaited = Place::Mail;
                true
            }
            Place::Mail => self.handle_mail(reply, class, results),
            Place::Recipient(index) => self.handle_recipient(index, reply, class, results),
            Place::Data => self.handle_data(reply, class, results, output),
            Place::End => self.handle_end(reply, class, results),
            Place::Finished => false,
        };
        if !goes {
            return unexpected;
        }
        self.say(output);
        // Up to here all is said and answered, and nothing more may be said.
        let has_nothing_to_say = self.said <= Place::Data && !self.expects_reply();
        if self.awaited != Place::Finished && !has_nothing_to_say {
            return Next::Goes;
        }
        if self.only_asks {
            results.set_welcome();
        }
        Next::Done
    }

    /// Whether MAIL was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether no recipient is left that the content is for.
    fn is_for_nobody(&self) -> bool {
        let are_answered = self.awaited > Place::Mail && !matches!(self.awaited, Place::Recipient(_));
        self.is_refused || (are_answered && self.taken == 0)
    }

    /// Whether the server still has a transaction: after this one RSET is needed.
    pub(super) fn leaves_open(&self, results: &Results) -> bool {
        match self.awaited {
            Place::Reset => true,
            Place::Mail => false,
            // The end of mail data ends the transaction whatever its reply (RFC 5321 §4.1.1.4). A chunk that
            // is refused leaves a state of which nobody says what it is (RFC 3030 §2).
            Place::Finished if self.sending == Sending::Sent => {
                self.form == Some(Form::Chunk) && !results.any_accepted()
            }
            Place::Recipient(_) | Place::Data | Place::End | Place::Finished => !self.is_refused,
        }
    }

    /// A reply that comes before what it would answer is said: while the content is sent it may be a refusal,
    /// and the server reads no further. Whatever it is, we are out of step.
    fn handle_unasked(&mut self, reply: Reply<'_>, class: Class, results: &mut Results) -> Next {
        if self.awaited == Place::End
            && let Some(refusal) = refusal(reply, class, results)
        {
            results.set_open(refusal);
        }
        Next::Broken(Violation::Unasked(reply.code))
    }

    fn handle_mail(&mut self, reply: Reply<'_>, class: Class, results: &mut Results) -> bool {
        self.awaited = Place::Recipient(0);
        if class == Class::Positive {
            return true;
        }
        let Some(refusal) = refusal(reply, class, results) else { return false };
        results.set_all(refusal);
        self.is_refused = true;
        true
    }

    fn handle_recipient(
        &mut self,
        index: usize,
        reply: Reply<'_>,
        class: Class,
        results: &mut Results,
    ) -> bool {
        self.awaited = match (index + 1 < self.count, self.form) {
            (true, _) => Place::Recipient(index + 1),
            (false, Some(Form::Chunk)) if self.said > Place::Data => Place::End,
            (false, _) => Place::Data,
        };
        if self.is_refused {
            // What was said before it was known gets some refusal.
            return class != Class::Intermediate;
        }
        if class == Class::Positive {
            self.taken += 1;
            results.take(index);
            return true;
        }
        if reply.says_too_many_recipients() && self.taken > 0 {
            results.leave_untried(index);
            return true;
        }
        let class = if reply.says_too_many_recipients() { Class::Temporary } else { class };
        let Some(refusal) = refusal(reply, class, results) else { return false };
        results.set(index, refusal);
        true
    }

    fn handle_data(
        &mut self,
        reply: Reply<'_>,
        class: Class,
        results: &mut Results,
        output: &mut Vec<u8>,
    ) -> bool {
        match class {
            Class::Positive => false,
            // LMTP has a reply for each recipient and would have none here: we would be out of step (RFC 2033
            // §4.2 demands a refusal).
            Class::Intermediate if self.is_for_nobody() && self.is_lmtp => false,
            Class::Intermediate if self.is_for_nobody() => {
                // RFC 2920 §3.1: what was said with the rest cannot be taken back, so it is ended.
                output.extend_from_slice(b".\r\n");
                self.sending = Sending::Sent;
                self.awaited = Place::End;
                self.said = Place::Finished;
                true
            }
            Class::Intermediate => {
                self.sending = Sending::Due;
                self.awaited = Place::End;
                true
            }
            Class::Temporary | Class::Permanent => {
                if let Some(refusal) = refusal(reply, class, results) {
                    results.set_open(refusal);
                }
                self.awaited = Place::Finished;
                true
            }
        }
    }

    fn handle_end(&mut self, reply: Reply<'_>, class: Class, results: &mut Results) -> bool {
        if self.is_for_nobody() {
            // Whatever it says, it is about nothing.
            self.awaited = Place::Finished;
            return true;
        }
        let answer = match refusal(reply, class, results) {
            Some(refusal) => refusal,
            None if class == Class::Positive => results.accepted(reply),
            None => return false,
        };
        if !self.is_lmtp {
            results.set_open(answer);
            self.awaited = Place::Finished;
            return true;
        }
        if let Some(index) = results.next_taken(self.answered) {
            results.set(index, answer);
            self.answered = index + 1;
        }
        if results.next_taken(self.answered).is_none() {
            self.awaited = Place::Finished;
        }
        true
    }
}

/// The answer that a reply of 4yz or 5yz is.
fn refusal(reply: Reply<'_>, class: Class, results: &mut Results) -> Option<Answer> {
    match class {
        // "Must issue a STARTTLS command first" (RFC 3207 §4), or AUTH (RFC 4954 §4): it is about the
        // session, and the next one may have what it wants.
        Class::Permanent if reply.code == 530 => Some(results.temporary(reply)),
        Class::Temporary => Some(results.temporary(reply)),
        Class::Permanent => Some(results.permanent(reply)),
        Class::Positive | Class::Intermediate => None,
    }
}

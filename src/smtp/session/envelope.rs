//! MAIL, RCPT and VRFY in a session: the commands that take an address.
//!
//! MAIL and RCPT are in two halves: they propose what is asked about, and the answer concludes it, at once or
//! later.

use std::time::Instant;

use super::Session;
use super::handled::Handled;
use super::state::Wait;
use crate::smtp::command;
use crate::smtp::denial::Denial;
use crate::smtp::extension::Extension;
use crate::smtp::parameter::{self, ParameterError};
use crate::smtp::path::{self, Path, PathError};
use crate::smtp::policy::Verdict;
use crate::smtp::question::Question;
use crate::smtp::reply::{self, Reply};
use crate::smtp::supplies::Supplies;
use crate::smtp::transaction::{Proposed, Transaction};

impl Session {
    /// MAIL (RFC 5321 §4.1.1.2): proposes a transaction, and asks whether it may begin.
    pub(super) fn handle_mail(&mut self, argument: &[u8], supplies: &mut Supplies, now: Instant) -> Handled {
        match self.propose_transaction(argument, supplies) {
            Err(reply) => Handled::Reply(reply),
            Ok(transaction) => {
                let size = transaction.envelope.size_declared;
                self.transaction = Some(transaction);
                self.mail_at = now;
                Handled::Ask(Question::Beginning { asked: self.ask(Wait::Beginning, now), size })
            }
        }
    }

    fn propose_transaction(&self, argument: &[u8], supplies: &mut Supplies) -> Result<Transaction, Reply> {
        if self.transaction.is_some() {
            return Err(reply::MAIL_TWICE);
        }
        let text = command::after_keyword(argument, b"FROM:").ok_or(reply::MAIL_SYNTAX)?;
        let offered = self.offered();
        // Whether SMTPUTF8 is given stands after the path.
        let (path, rest) = match path::parse(text, offered.offers(Extension::SmtpUtf8)) {
            Ok(parsed) => parsed,
            Err(PathError::NotAscii) => return Err(reply::NOT_ASCII),
            Err(PathError::Syntax) => return Err(reply::BAD_REVERSE_PATH),
        };
        let mailbox = match &path {
            Path::Null => None,
            Path::Mailbox(mailbox) => Some(mailbox),
            Path::Postmaster => return Err(reply::BAD_REVERSE_PATH),
        };
        let parameters =
            parameter::parse_mail(rest, offered).map_err(|error| parameter_reply(error, rest))?;
        let path_bytes = text.len() - rest.len();
        if !parameters.smtputf8 && !text.get(..path_bytes).unwrap_or_default().is_ascii() {
            return Err(reply::NOT_ASCII);
        }
        if parameters.size.is_some_and(|size| size > self.settings.limits.message_size_max) {
            return Err(reply::TOO_LARGE);
        }
        Ok(Transaction::new(supplies.take_envelope(), mailbox, &parameters))
    }

    /// The transaction that MAIL proposed begins, or not now; gives the reply.
    pub(super) fn conclude_mail(&mut self, begins: Result<(), Denial>) -> Reply {
        match begins {
            Ok(()) => {
                self.smtputf8 =
                    self.transaction.as_ref().is_some_and(|transaction| transaction.envelope.smtputf8);
                reply::SENDER_OK
            }
            Err(why) => {
                self.abandon_transaction();
                why.reply()
            }
        }
    }

    /// RCPT (RFC 5321 §4.1.1.3): proposes the recipient, and concludes at once unless somebody has to be
    /// asked.
    pub(super) fn handle_rcpt(&mut self, argument: &[u8], now: Instant) -> Handled {
        match self.propose_recipient(argument) {
            Err(reply) => {
                self.note_recipient_refused(reply);
                Handled::Reply(reply)
            }
            Ok(Proposed::Repeated) => Handled::Reply(reply::RECIPIENT_OK),
            Ok(Proposed::Accepted) => Handled::Reply(match self.keep_recipient(Verdict::Accept) {
                Ok(()) => reply::RECIPIENT_OK,
                Err(refusal) => self.take_recipient_back(refusal),
            }),
            Ok(Proposed::Unjudged) => {
                Handled::Ask(Question::Recipient { asked: self.ask(Wait::Recipient, now) })
            }
        }
    }

    fn propose_recipient(&mut self, argument: &[u8]) -> Result<Proposed, Reply> {
        let offered = self.offered();
        let Some(transaction) = self.transaction.as_mut() else { return Err(reply::MAIL_FIRST) };
        if transaction.chunked.is_some() {
            return Err(reply::CHUNKS_BEGUN);
        }
        let text = command::after_keyword(argument, b"TO:").ok_or(reply::RCPT_SYNTAX)?;
        let smtputf8 = transaction.envelope.smtputf8;
        let (path, rest) = match path::parse(text, smtputf8) {
            Ok(parsed) => parsed,
            Err(PathError::NotAscii) => return Err(reply::NOT_ASCII),
            Err(PathError::Syntax) => return Err(reply::BAD_FORWARD_PATH),
        };
        let parameters =
            parameter::parse_rcpt(rest, offered, smtputf8).map_err(|error| parameter_reply(error, rest))?;
        transaction.propose(path, parameters, &self.settings, self.asks_about_each)
    }

    /// The recipient that RCPT proposed stays, unless it is refused, with what then is the reply.
    pub(super) fn keep_recipient(&mut self, verdict: Verdict) -> Result<(), Reply> {
        // Nothing else can end the transaction while the answer is awaited.
        let transaction = self.transaction.as_mut().ok_or(reply::MAIL_FIRST)?;
        transaction.conclude(verdict, &self.settings)
    }

    /// The recipient that RCPT proposed is refused; gives the reply.
    pub(super) fn take_recipient_back(&mut self, refusal: Reply) -> Reply {
        if let Some(transaction) = &mut self.transaction {
            transaction.retract_last();
        }
        self.note_recipient_refused(refusal);
        refusal
    }

    /// VRFY (RFC 5321 §3.5.3): nobody is told who exists. SMTPUTF8 may stand after the address (RFC 6531
    /// §3.1).
    pub(super) fn handle_vrfy(&self, argument: &[u8]) -> Reply {
        let utf8 = self.offered().offers(Extension::SmtpUtf8)
            && parameter::ends_with_smtputf8(argument)
            && std::str::from_utf8(argument).is_ok();
        if argument.is_ascii() || utf8 { reply::CANNOT_VRFY } else { reply::NOT_ASCII }
    }
}

fn parameter_reply(error: ParameterError, rest: &[u8]) -> Reply {
    if !rest.is_ascii() {
        return reply::BAD_OCTET;
    }
    match error {
        ParameterError::Syntax | ParameterError::Value => reply::BAD_PARAMETER,
        ParameterError::Unknown => reply::UNKNOWN_PARAMETER,
    }
}

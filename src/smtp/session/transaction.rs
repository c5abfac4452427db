//! MAIL, RCPT, DATA and VRFY in a session: the commands that take an address, and the one that begins mail data.

use std::time::Instant;

use super::super::command;
use super::super::data_watch::DataWatch;
use super::super::extension::Extension;
use super::super::mail_data::MailData;
use super::super::nul_watch::NulWatch;
use super::super::parameter::{self, ParameterError};
use super::super::path::{self, Path, PathError};
use super::super::policy::Verdict;
use super::super::question::Question;
use super::super::reply::{self, Reply};
use super::super::supplies::Supplies;
use super::data::{DataState, SizeLimit};
use super::{Handled, Hello, Session, State, Wait};
use crate::limits::{COPIES_BYTES_MAX, SIZE_NOMINAL};
use crate::mail::envelope::{BodyType, Envelope, RecipientParameters};
use crate::mail::outcome::TryAgain;

impl Session {
    /// MAIL (RFC 5321 §4.1.1.2): writes the envelope of the transaction that it proposes, and asks whether that may begin.
    pub(super) fn handle_mail(&mut self, argument: &[u8], supplies: &mut Supplies, now: Instant) -> Handled {
        if matches!(self.hello, Hello::None) {
            return Handled::Reply(reply::HELLO_FIRST);
        }
        if self.envelope.is_some() {
            return Handled::Reply(reply::MAIL_TWICE);
        }
        let Some(text) = command::after_keyword(argument, b"FROM:") else {
            return Handled::Reply(reply::MAIL_SYNTAX);
        };
        let offered = self.offered();
        // Whether SMTPUTF8 is given stands behind the path.
        let (path, rest) = match path::parse(text, offered.offers(Extension::SmtpUtf8)) {
            Ok(parsed) => parsed,
            Err(PathError::NotAscii) => return Handled::Reply(reply::NOT_ASCII),
            Err(PathError::Syntax) => return Handled::Reply(reply::BAD_REVERSE_PATH),
        };
        let mailbox = match path {
            Path::Null => None,
            Path::Mailbox(mailbox) => Some(mailbox),
            Path::Postmaster => return Handled::Reply(reply::BAD_REVERSE_PATH),
        };
        let parameters = match parameter::parse_mail(rest, offered) {
            Ok(parameters) => parameters,
            Err(error) => return Handled::Reply(parameter_reply(error, rest)),
        };
        let path_bytes = text.len() - rest.len();
        if !parameters.smtputf8 && !text.get(..path_bytes).unwrap_or_default().is_ascii() {
            return Handled::Reply(reply::NOT_ASCII);
        }
        if parameters.size.is_some_and(|size| size > self.settings.limits.message_size_max) {
            return Handled::Reply(reply::TOO_LARGE);
        }
        let mut envelope = supplies.take_envelope();
        envelope.write_reverse_path(|text| {
            if let Some(mailbox) = mailbox {
                mailbox.push_local_part(text);
                text.push(b'@');
                mailbox.push_domain(text);
            }
        });
        envelope.body = parameters.body.unwrap_or(BodyType::SevenBit);
        envelope.size_declared = parameters.size;
        envelope.smtputf8 = parameters.smtputf8;
        envelope.requiretls = parameters.requiretls;
        envelope.ret = parameters.ret;
        envelope.set_envid(parameters.envid.unwrap_or_default());
        self.envelope = Some(envelope);
        self.recipients = 0;
        Handled::Ask(Question::Beginning { asked: self.ask(Wait::Beginning, now), size: parameters.size })
    }

    /// The transaction that MAIL proposed begins, or not now; gives the reply.
    pub(super) fn conclude_mail(&mut self, begins: Result<(), TryAgain>) -> Reply {
        match begins {
            Ok(()) => {
                self.smtputf8 = self.envelope.as_ref().is_some_and(|envelope| envelope.smtputf8);
                reply::SENDER_OK
            }
            Err(why) => {
                self.abandon_transaction();
                why.into()
            }
        }
    }

    /// RCPT (RFC 5321 §4.1.1.3): proposes the recipient, and concludes at once unless the store has to be asked.
    pub(super) fn handle_rcpt(&mut self, argument: &[u8], now: Instant) -> Handled {
        match self.propose_recipient(argument) {
            Err(reply) => Handled::Reply(reply),
            Ok(Proposed::Repeated) => Handled::Reply(reply::RECIPIENT_OK),
            Ok(Proposed::New) if self.settings.policy.asks_store() => {
                Handled::Ask(Question::Recipient { asked: self.ask(Wait::Recipient, now) })
            }
            Ok(Proposed::New) => Handled::Reply(self.conclude_recipient(Verdict::Accept)),
        }
    }

    /// Puts the recipient of a RCPT that the policy accepts last into the envelope. On an error it is not there.
    fn propose_recipient(&mut self, argument: &[u8]) -> Result<Proposed, Reply> {
        let offered = self.offered();
        let Some(envelope) = self.envelope.as_mut() else { return Err(reply::MAIL_FIRST) };
        if self.chunked.is_some() {
            return Err(reply::CHUNKS_BEGUN);
        }
        let Some(text) = command::after_keyword(argument, b"TO:") else { return Err(reply::RCPT_SYNTAX) };
        let (path, rest) = match path::parse(text, envelope.smtputf8) {
            Ok(parsed) => parsed,
            Err(PathError::NotAscii) => return Err(reply::NOT_ASCII),
            Err(PathError::Syntax) => return Err(reply::BAD_FORWARD_PATH),
        };
        let parameters = parameter::parse_rcpt(rest, offered, envelope.smtputf8)
            .map_err(|error| parameter_reply(error, rest))?;
        let settings = &self.settings;
        let verdict = match path {
            Path::Null => return Err(reply::BAD_FORWARD_PATH),
            Path::Postmaster => {
                let (local_part, domain) = settings.policy.postmaster();
                envelope.push_recipient(local_part, domain);
                Verdict::Accept
            }
            Path::Mailbox(mailbox) => {
                envelope.propose_recipient(
                    |text| mailbox.push_local_part(text),
                    |text| mailbox.push_domain(text),
                );
                envelope
                    .last_recipient()
                    .map_or(Verdict::TryAgain, |mailbox| settings.policy.recipient(mailbox))
            }
        };
        // The rest stands, and whoever sends tries the others again (RFC 5321 §4.5.3.1.10).
        let refusal = match refusal(verdict) {
            None if self.recipients >= settings.limits.recipients_max
                || settings.policy.asks_store() && copies_exceed(envelope) =>
            {
                Some(reply::TOO_MANY_RECIPIENTS)
            }
            refusal => refusal,
        };
        if let Some(refusal) = refusal {
            envelope.retract_recipient();
            return Err(refusal);
        }
        let is_repeated = envelope.last_recipient_is_repeated(settings.local_part_case_sensitive);
        // Behind it, because it may take memory, too.
        if !envelope.count() {
            envelope.retract_recipient();
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        if is_repeated {
            // The parameters of the first one stand.
            envelope.retract_recipient();
            self.recipients += 1;
            return Ok(Proposed::Repeated);
        }
        envelope.set_recipient_parameters(RecipientParameters {
            notify: parameters.notify,
            orcpt: parameters.orcpt.unwrap_or_default(),
        });
        Ok(Proposed::New)
    }

    /// Keeps the recipient that was proposed last, or takes it back; gives the reply.
    pub(super) fn conclude_recipient(&mut self, verdict: Verdict) -> Reply {
        match refusal(verdict) {
            None => {
                self.recipients += 1;
                reply::RECIPIENT_OK
            }
            Some(refusal) => {
                if let Some(envelope) = self.envelope.as_mut() {
                    envelope.retract_recipient();
                }
                refusal
            }
        }
    }

    /// DATA (RFC 5321 §4.1.1.4): one good recipient is enough.
    pub(super) fn handle_data(&mut self, now: Instant) -> Reply {
        let Some(envelope) = &self.envelope else { return reply::MAIL_FIRST };
        if self.chunked.is_some() {
            return reply::CHUNKS_BEGUN;
        }
        // RFC 3030 §3: octets that are no lines cannot be told from the end of mail data.
        if envelope.body == BodyType::BinaryMime {
            return reply::DATA_FOR_BINARY;
        }
        if self.recipients == 0 {
            return reply::NO_RECIPIENTS;
        }
        let data = MailData::new(self.settings.bare_lf, self.settings.bare_cr);
        let limits = &self.settings.limits;
        let watch = DataWatch::new(limits.received_max, limits.data_line_bytes_max);
        self.state = State::Data(DataState {
            data,
            watch,
            nul: NulWatch::new(self.settings.nul),
            bytes: 0,
            limit: SizeLimit::of(&self.settings, self.envelope.as_deref()),
            refusal: None,
        });
        self.begin_mail_data(now);
        reply::START_MAIL_DATA
    }

    /// VRFY (RFC 5321 §3.5.3): nobody is told who exists. SMTPUTF8 may stand behind the address (RFC 6531 §3.1).
    pub(super) fn handle_vrfy(&self, argument: &[u8]) -> Reply {
        let utf8 = self.offered().offers(Extension::SmtpUtf8)
            && parameter::ends_with_smtputf8(argument)
            && std::str::from_utf8(argument).is_ok();
        if argument.is_ascii() || utf8 { reply::CANNOT_VRFY } else { reply::NOT_ASCII }
    }
}

/// Whether the copies of the message are too much, by what is known of its size. One copy of any size may be made.
fn copies_exceed(envelope: &Envelope) -> bool {
    let size = envelope.size_declared.unwrap_or(SIZE_NOMINAL);
    let copies = envelope.recipients().len();
    copies > 1 && size.saturating_mul(copies as u64) > COPIES_BYTES_MAX
}

/// A recipient that the policy accepts.
enum Proposed {
    /// It is the last one in the envelope.
    New,
    /// It was in the envelope before, and is there once.
    Repeated,
}

/// How a recipient is refused; none when it is accepted.
fn refusal(verdict: Verdict) -> Option<Reply> {
    match verdict {
        Verdict::Accept => None,
        Verdict::ForeignDomain => Some(reply::NO_SUCH_DOMAIN),
        Verdict::UnknownRecipient => Some(reply::NO_SUCH_RECIPIENT),
        Verdict::DeniedLocalPart => Some(reply::LOCAL_PART_DENIED),
        Verdict::Unstorable => Some(reply::CANNOT_STORE_RECIPIENT),
        Verdict::MailboxFull => Some(reply::MAILBOX_FULL),
        Verdict::TryAgain => Some(reply::POLICY_TROUBLE),
    }
}

fn parameter_reply(error: ParameterError, rest: &[u8]) -> Reply {
    match error {
        _ if !rest.is_ascii() => reply::BAD_OCTET,
        ParameterError::Syntax | ParameterError::Value => reply::BAD_PARAMETER,
        ParameterError::Unknown => reply::UNKNOWN_PARAMETER,
    }
}

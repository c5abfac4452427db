//! A mail transaction, from the MAIL that proposes it to the end of its mail data (RFC 5321 §3.3).
//!
//! It is there or it is not: all that is true only in a transaction is in here, so that nothing of it
//! outlives it.

use super::chunk::ChunkedData;
use super::message_clock::MessageClock;
use super::parameter::{MailParameters, RcptParameters};
use super::path::{Path, PathMailbox};
use super::policy::{Judgement, Policy, Verdict};
use super::reply::{self, Reply};
use super::settings::Settings;
use super::size_limit::{SizeLimit, copies_exceed};
use crate::mail::envelope::{BodyType, Brought, Envelope, RecipientParameters, Repeats};

/// A mail transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    /// What MAIL and RCPT said.
    pub(super) envelope: Box<Envelope>,
    /// Accepted RCPT commands, repeated recipients included.
    recipients: usize,
    /// The recipient that was proposed last is the bare `<postmaster>`.
    is_postmaster: bool,
    /// The recipient that was proposed last is in the envelope already, because of an alias.
    repeats: Option<Brought>,
    /// What came of the mail data in chunks, from the first one accepted on.
    pub(super) chunked: Option<ChunkedData>,
    /// The time of the message, from DATA or its first chunk on. A chunk has it while it is received, because
    /// it may outlive the transaction.
    pub(super) clock: Option<MessageClock>,
}

/// What becomes of a recipient that RCPT proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proposed {
    /// It is accepted, and the last one in the envelope.
    Accepted,
    /// It is the last one in the envelope, and has to be asked about.
    Unjudged,
    /// An RCPT put it into the envelope before, and it is there once.
    Repeated,
}

impl Transaction {
    /// The transaction that MAIL proposes, in an empty envelope. `mailbox`: none for the null reverse-path.
    pub(super) fn new(
        mut envelope: Box<Envelope>,
        mailbox: Option<&PathMailbox<'_>>,
        parameters: &MailParameters<'_>,
    ) -> Self {
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
        Self { envelope, recipients: 0, is_postmaster: false, repeats: None, chunked: None, clock: None }
    }

    /// Whether a recipient was accepted, so that mail data may come.
    pub(super) fn has_recipients(&self) -> bool {
        self.recipients > 0
    }

    /// Proposes a recipient: it is the last one in the envelope until [`Transaction::conclude`] keeps it or
    /// [`Transaction::retract_last`] takes it back. On an error, or when it is repeated, it is not there.
    pub(super) fn propose(
        &mut self,
        path: Path<'_>,
        parameters: RcptParameters<'_>,
        settings: &Settings,
        asks_about_each: bool,
    ) -> Result<Proposed, Reply> {
        let envelope = &mut *self.envelope;
        self.is_postmaster = matches!(path, Path::Postmaster);
        match path {
            Path::Null => return Err(reply::BAD_FORWARD_PATH),
            Path::Postmaster => {
                let (local_part, domain) = settings.policy.postmaster();
                envelope.push_recipient(local_part, domain);
            }
            Path::Mailbox(mailbox) => {
                envelope.propose_recipient(
                    |text| mailbox.push_local_part(text),
                    |text| mailbox.push_domain(text),
                );
            }
        }
        let judgement = if asks_about_each { Judgement::Asks } else { self.judge_last(&*settings.policy) };
        let envelope = &mut *self.envelope;
        let refusal = match judgement {
            Judgement::Known(verdict) => refusal(verdict),
            Judgement::Asks => None,
        };
        // The rest stands, and whoever sends tries the others again (RFC 5321 §4.5.3.1.10).
        let too_many = || {
            let copies = envelope.recipients().len();
            // An alias may have brought more than one.
            let is_one_too_many = self.recipients.max(copies - 1) >= settings.limits.recipients_max
                || copies > 1
                    && settings.envelope_json_bytes_max.is_some_and(|max| envelope.json_bytes_max() > max)
                || settings.policy.asks_store() && copies_exceed(envelope, copies);
            is_one_too_many.then_some(reply::TOO_MANY_RECIPIENTS)
        };
        if let Some(refusal) = refusal.or_else(too_many) {
            envelope.retract_recipient();
            return Err(refusal);
        }
        let repeats = envelope.last_recipient_repeats(settings.local_part_case_sensitive);
        // Only now, because that may take memory, too.
        if !envelope.count() {
            envelope.retract_recipient();
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        // Who stands behind an alias is asked about as anybody is: its members would be told otherwise.
        self.repeats = match repeats {
            None => None,
            Some(Repeats::Brought(brought)) => Some(brought),
            Some(Repeats::Named) => {
                // The parameters of the first one stand.
                envelope.retract_recipient();
                self.recipients += 1;
                return Ok(Proposed::Repeated);
            }
        };
        envelope.set_recipient_parameters(RecipientParameters {
            notify: parameters.notify,
            orcpt: parameters.orcpt.unwrap_or_default(),
        });
        Ok(match judgement {
            Judgement::Known(_) => Proposed::Accepted,
            Judgement::Asks => Proposed::Unjudged,
        })
    }

    /// What a policy says of the recipient that was proposed last.
    pub(super) fn judge_last(&self, policy: &dyn Policy) -> Judgement {
        if self.is_postmaster {
            return policy.judge_accepted();
        }
        let unknown = Judgement::Known(Verdict::TryAgain);
        self.envelope.last_recipient().map_or(unknown, |mailbox| policy.judge(mailbox))
    }

    /// Keeps the recipient that was proposed last. An alias becomes those that it stands for, and one that an
    /// alias brought before is there once.
    ///
    /// # Errors
    ///
    /// How it is refused. It is there, to be told of, until [`Transaction::retract_last`].
    pub(super) fn conclude(&mut self, verdict: Verdict, settings: &Settings) -> Result<(), Reply> {
        if let Some(refusal) = refusal(verdict) {
            return Err(refusal);
        }
        if !self.expand_last(settings) {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        self.recipients += 1;
        Ok(())
    }

    /// Takes the recipient back that was proposed last.
    pub(super) fn retract_last(&mut self) {
        self.envelope.retract_recipient();
    }
}

impl Transaction {
    /// Puts those in the place of the last recipient that it stands for, each once. False when they are too
    /// many, now: then it is there as before.
    fn expand_last(&mut self, settings: &Settings) -> bool {
        let last = self.envelope.last_recipient();
        let Some(targets) = last.and_then(|mailbox| settings.policy.aliased(mailbox)) else {
            if let Some(brought) = self.repeats.take() {
                self.envelope.merge_into(brought);
            }
            return true;
        };
        let copies = self.envelope.recipients().len() - 1 + targets.len();
        let exceeds_json = |max| {
            let of_targets = last.and_then(|mailbox| settings.policy.aliased(mailbox));
            let text_bytes = of_targets.map_or(0, |all| all.map(|mailbox| mailbox.whole.len()).sum());
            self.envelope.json_bytes_max_with(targets.len(), text_bytes) > max
        };
        let exceeds_store = || settings.policy.asks_store() && copies_exceed(&self.envelope, copies);
        let is_too_many = exceeds_store() || settings.envelope_json_bytes_max.is_some_and(exceeds_json);
        // The first one is always taken: its sender cannot send it to fewer.
        if self.recipients > 0 && is_too_many {
            return false;
        }
        self.envelope.replace_last_recipient(targets, settings.local_part_case_sensitive)
    }

    /// The most octets that its mail data may have.
    pub(super) fn size_limit(&self, settings: &Settings) -> SizeLimit {
        let copies = if self.recipients > 1 { self.envelope.recipients().len() } else { 1 };
        SizeLimit::of(settings, copies)
    }
}

/// How a recipient is refused; none when it is accepted.
fn refusal(verdict: Verdict) -> Option<Reply> {
    match verdict {
        Verdict::Accept => None,
        Verdict::ForeignDomain => Some(reply::NO_SUCH_DOMAIN),
        Verdict::DomainWithoutMail => Some(reply::DOMAIN_WITHOUT_MAIL),
        Verdict::UnknownRecipient => Some(reply::NO_SUCH_RECIPIENT),
        Verdict::DeniedLocalPart => Some(reply::LOCAL_PART_DENIED),
        Verdict::Unstorable => Some(reply::CANNOT_STORE_RECIPIENT),
        Verdict::MailboxFull => Some(reply::MAILBOX_FULL),
        Verdict::TryAgain => Some(reply::POLICY_TROUBLE),
        Verdict::Denied(denial) => Some(denial.reply()),
    }
}

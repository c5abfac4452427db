//! A transaction from MAIL to DATA: its envelope, and what may go into it (RFC 5321 §3.3).

use super::command::CommandError;
use super::envelope::{Envelope, Mailbox};
use super::parameter::{self, MailParameters};
use super::path::{self, Path, PathError};
use super::policy::{Policy, Verdict};
use super::reply::{self, Reply};
use super::session::Settings;

/// A good MAIL command.
#[derive(Debug)]
pub(super) struct Mail {
    path: Path,
    parameters: MailParameters,
}

/// A transaction that takes recipients.
#[derive(Debug)]
pub(super) struct Transaction {
    envelope: Box<Envelope>,
    /// RCPT commands accepted; the envelope may hold fewer, for it holds no recipient twice.
    recipients_accepted: usize,
}

impl Mail {
    /// Reads what follows `MAIL FROM:`.
    pub(super) fn read(argument: &[u8], settings: &Settings) -> Result<Self, CommandError> {
        let bad_path = |error| path_error(error, CommandError::BadReversePath);
        let (path, parameters) = path::split(argument).map_err(bad_path)?;
        let parameters = parameter::of_mail(parameters, settings.extensions)?;
        let path = path::parse(path).map_err(bad_path)?;
        // A reverse-path has a domain or is null; only RCPT knows the bare postmaster (RFC 5321 §4.1.1.3).
        if path == Path::Postmaster {
            return Err(CommandError::BadReversePath);
        }
        if parameters.size.is_some_and(|size| size > settings.limits.message_size_max) {
            return Err(CommandError::TooLarge);
        }
        Ok(Self { path, parameters })
    }

    /// The mailbox; none for the null reverse-path.
    pub(super) fn reverse_path(&self) -> Option<Mailbox<'_>> {
        match &self.path {
            Path::Mailbox(text) => Some(text.mailbox()),
            Path::Null | Path::Postmaster => None,
        }
    }

    /// SIZE= in octets.
    pub(super) fn size(&self) -> Option<u64> {
        self.parameters.size
    }
}

impl Transaction {
    /// Begins with a cleared envelope.
    pub(super) fn begin(mut envelope: Box<Envelope>, mail: &Mail) -> Self {
        match mail.reverse_path() {
            Some(mailbox) => envelope.set_reverse_path(mailbox.local_part, mailbox.domain),
            None => envelope.set_reverse_path(b"", b""),
        }
        envelope.size_declared = mail.parameters.size;
        envelope.body = mail.parameters.body.unwrap_or_default();
        Self { envelope, recipients_accepted: 0 }
    }

    /// Whether DATA would have somebody to go to.
    pub(super) fn has_recipients(&self) -> bool {
        self.recipients_accepted > 0
    }

    /// What was collected.
    pub(super) fn into_envelope(self) -> Box<Envelope> {
        self.envelope
    }

    /// Reads what follows `RCPT TO:` and adds the recipient if the policy has it.
    pub(super) fn add_recipient(
        &mut self,
        argument: &[u8],
        settings: &Settings,
    ) -> Result<Reply, CommandError> {
        let bad_path = |error| path_error(error, CommandError::BadForwardPath);
        let (path, parameters) = path::split(argument).map_err(bad_path)?;
        parameter::of_rcpt(parameters)?;
        let path = path::parse(path).map_err(bad_path)?;
        if self.recipients_accepted >= settings.limits.recipients_max {
            return Err(CommandError::TooManyRecipients);
        }
        let policy = &*settings.policy;
        match &path {
            Path::Null => return Err(CommandError::BadForwardPath),
            Path::Postmaster => {
                let (local_part, domain) = policy.postmaster();
                self.push_once(local_part, domain, policy);
            }
            Path::Mailbox(text) => {
                let mailbox = text.mailbox();
                if let Verdict::Refuse(refusal) = policy.recipient(mailbox) {
                    return Ok(refusal.reply());
                }
                self.push_once(mailbox.local_part, mailbox.domain, policy);
            }
        }
        self.recipients_accepted += 1;
        Ok(reply::RECIPIENT_OK)
    }

    /// The same recipient twice is stored once.
    fn push_once(&mut self, local_part: &[u8], domain: &[u8], policy: &dyn Policy) {
        self.envelope.push_recipient(local_part, domain);
        let mut recipients = self.envelope.recipients().rev();
        let is_there =
            recipients.next().is_some_and(|last| recipients.any(|other| policy.are_same(other, last)));
        drop(recipients);
        if is_there {
            self.envelope.pop_recipient();
        }
    }
}

fn path_error(error: PathError, syntax: CommandError) -> CommandError {
    match error {
        PathError::Syntax => syntax,
        PathError::NotAscii => CommandError::AddressNotAscii,
    }
}

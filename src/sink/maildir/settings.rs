//! What all workers of a maildir sink go by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::file_system::Commit;
use super::name::{self, NoName, Template};
use super::troubles::Troubles;
use crate::config::{LineEndings, Quarantine};
use crate::mail::envelope::Mailbox;
use crate::sink::opening::{OpenError, Surroundings};
use crate::sink::permission::Permission;

/// What all workers of one maildir sink share.
#[derive(Clone)]
pub struct MaildirSettings {
    /// For the log.
    pub(super) root: PathBuf,
    pub(super) template: Template,
    pub(super) create: bool,
    pub(super) line_endings: LineEndings,
    /// Where mail goes that is marked as suspicious.
    pub(super) quarantine: Quarantine,
    pub(super) commit: Commit,
    /// What files and directories get. `None` to leave them to their owner.
    pub(super) permission: Option<Permission>,
    pub(super) host: String,
    pub(super) surroundings: Surroundings,
    /// Makes names of files unique in this process.
    pub(super) sequence: Arc<AtomicU64>,
    /// Makes names of markers unique among workers.
    pub(super) workers: Arc<AtomicU64>,
    /// Maildirs that are refused at RCPT for a while.
    pub(super) troubles: Arc<Troubles>,
}

impl MaildirSettings {
    /// Checks the template. Each file is synced for itself unless [`Self::commit_by`] is told otherwise.
    pub fn new(
        root: &Path,
        template: &str,
        create: bool,
        line_endings: LineEndings,
        surroundings: Surroundings,
    ) -> Result<Self, OpenError> {
        let template =
            Template::parse(template, surroundings.local_part_case_sensitive).map_err(|why| OpenError {
                what: "use the template of the maildirs in",
                site: root.display().to_string(),
                why,
                cure: "write for instance `{domain}/{local}`, or nothing for one maildir",
            })?;
        Ok(Self {
            root: root.to_owned(),
            template,
            create,
            line_endings,
            quarantine: Quarantine::Inbox,
            commit: Commit::File,
            permission: None,
            host: name::host(&surroundings.hostname),
            surroundings,
            sequence: Arc::default(),
            workers: Arc::default(),
            troubles: Arc::default(),
        })
    }

    /// The maildir of a recipient, and whether it may be made. A tag is no part of its name, unless somebody
    /// is named with it: else whoever sends mail could have maildirs made.
    pub(super) fn maildir_of(&self, recipient: Mailbox<'_>) -> Result<(String, bool), NoName> {
        self.maildir_by(recipient, &*self.surroundings.is_named)
    }

    /// The same for a session, which has its own word for whom it knows by name.
    pub(super) fn maildir_by(
        &self,
        recipient: Mailbox<'_>,
        is_named: &dyn Fn(Mailbox<'_>) -> bool,
    ) -> Result<(String, bool), NoName> {
        let untagged = self.surroundings.recipient_delimiter.untagged(recipient.local_part);
        let Some(untagged) = untagged.filter(|_| !is_named(recipient)) else {
            return self.place_of(recipient, is_named);
        };
        let whole = [&*untagged, b"@", recipient.domain].concat();
        self.place_of(Mailbox { local_part: &untagged, domain: recipient.domain, whole: &whole }, is_named)
    }

    fn place_of(
        &self,
        mailbox: Mailbox<'_>,
        is_named: &dyn Fn(Mailbox<'_>) -> bool,
    ) -> Result<(String, bool), NoName> {
        let maildir = self.template.directory(mailbox)?;
        let may_make = self.may_make(&maildir, mailbox, is_named);
        Ok((maildir, may_make))
    }

    /// Whether a maildir may be made. One at the root belongs to the operator's own `path`: nobody needs to
    /// name it.
    fn may_make(&self, maildir: &str, mailbox: Mailbox<'_>, is_named: &dyn Fn(Mailbox<'_>) -> bool) -> bool {
        self.create || maildir.is_empty() || is_named(mailbox)
    }

    /// How files become durable. Unless each is synced for itself, the executor must sync the file system
    /// that all of them are on.
    #[must_use]
    pub fn commit_by(self, commit: Commit) -> Self {
        Self { commit, ..self }
    }

    /// Where mail goes that is marked as suspicious.
    #[must_use]
    pub fn quarantine_in(self, quarantine: Quarantine) -> Self {
        Self { quarantine, ..self }
    }

    /// Who may use files, and their directories, besides the user that runs ringmx.
    #[must_use]
    pub fn share_by(self, permission: Option<Permission>) -> Self {
        Self { permission, ..self }
    }
}

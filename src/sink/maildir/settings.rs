//! What all workers of a maildir sink go by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::file_system::Commit;
use super::name::{self, Template};
use super::troubles::Troubles;
use crate::config::LineEndings;
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
            commit: Commit::File,
            permission: None,
            host: name::host(&surroundings.hostname),
            surroundings,
            sequence: Arc::default(),
            workers: Arc::default(),
            troubles: Arc::default(),
        })
    }

    /// Whether a maildir may be made. One at the root belongs to the operator's own `path`: nobody needs to
    /// name it.
    pub(super) fn may_make(&self, maildir: &str, recipient: Mailbox<'_>) -> bool {
        self.may_make_if(maildir, recipient, &*self.surroundings.is_named)
    }

    /// The same for a session, which has its own word for whom it knows by name.
    pub(super) fn may_make_if(
        &self,
        maildir: &str,
        recipient: Mailbox<'_>,
        is_named: &dyn Fn(Mailbox<'_>) -> bool,
    ) -> bool {
        self.create || maildir.is_empty() || is_named(recipient)
    }

    /// How files become durable. Unless each is synced for itself, the executor must sync the file system
    /// that all of them are on.
    #[must_use]
    pub fn commit_by(self, commit: Commit) -> Self {
        Self { commit, ..self }
    }

    /// Who may use files, and their directories, besides the user that runs ringmx.
    #[must_use]
    pub fn share_by(self, permission: Option<Permission>) -> Self {
        Self { permission, ..self }
    }
}

//! `kind = "maildir"`: one file a message, for mail readers and delivery agents.

use std::path::{Path, PathBuf};

use super::facts::SinkFacts;
use crate::config::document::Fallback;
use crate::config::identity::Identity;
use crate::config::names;
use crate::config::section::Section;
use crate::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use crate::mail::domain::DomainPattern;

/// One file a message in maildirs below `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maildir {
    /// The root.
    pub path: PathBuf,
    /// Below the root, for instance `{domain}/{local}`; empty for one maildir at the root.
    pub template: String,
    /// Whether a maildir is made for a recipient that no table lists.
    pub create: bool,
    /// How line ends are stored.
    pub line_endings: LineEndings,
    /// How files become durable. `None` for what suits the file system.
    pub sync: Option<MaildirSync>,
}

/// Line ends in the files of a maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEndings {
    /// CRLF becomes LF where it can be converted back.
    #[default]
    Lf,
    /// As received.
    Crlf,
}

/// How the files of a maildir become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaildirSync {
    /// One sync of the file system for all files of a batch. Only where that is known to make them durable.
    Batch,
    /// One sync for each file and each directory. On every file system.
    Each,
}

/// The keys that no other kind has.
pub(super) const KEYS: &[&str] = &["template", "create", "line_endings", "sync"];

/// Reads them.
pub(super) fn read(section: &mut Section<'_>, path: PathBuf) -> Maildir {
    let template = section.text(
        "template",
        "path below `path` with {domain} and {local}",
        Fallback::Computed { example: "\"{domain}/{local}\"", default: "\"\", one maildir at `path` itself" },
        "Maildir: where a recipient's maildir is.",
        names::template,
    );
    Maildir {
        path,
        template: template.unwrap_or_default(),
        create: section.boolean(
            "create",
            false,
            "Maildir: whether one is made for a recipient that no table lists.",
        ),
        line_endings: section.choice(
            "line_endings",
            &[("lf", LineEndings::Lf), ("crlf", LineEndings::Crlf)],
            "Maildir: CRLF stored as LF where that can be undone, or as received.",
        ),
        sync: section.choice_or(
            "sync",
            &[("batch", MaildirSync::Batch), ("each", MaildirSync::Each)],
            Fallback::Computed {
                example: "\"batch\"",
                default: "\"batch\" on ext4, XFS and Btrfs, else \"each\"",
            },
            "Maildir: one sync of the whole file system for a batch of messages, or one for each file.",
        ),
    }
}

/// Warns of a template that is probably not meant.
pub(super) fn template_rules(section: &Section<'_>, maildir: &Maildir, identity: &Identity) {
    let Maildir { template, create, .. } = maildir;
    let many_domains = identity.domains.len() > 1
        || identity.domains.iter().any(|domain| matches!(domain, DomainPattern::Below(_)));
    if template.contains("{local}") && !template.contains("{domain}") && (many_domains || identity.any_domain)
    {
        section.warn(
            "template",
            "without {domain}, the same local-part of two domains shares a maildir".to_owned(),
        );
    }
    if !template.is_empty() && !create && identity.recipients.is_none() {
        section.warn(
            "template",
            "without `recipients` and without `create = true`, only maildirs that exist and postmaster get mail; all other \
             recipients are refused"
                .to_owned(),
        );
    }
}

impl SinkFacts for Maildir {
    fn summary(&self) -> String {
        format!("maildir at {}", self.path.display())
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn workers(&self, configured: usize) -> usize {
        configured
    }

    /// Workers of `sync = "each"` have a ring.
    fn rings(&self, workers: usize) -> usize {
        workers
    }

    /// The files of a batch are open at a time.
    fn open_files(&self, workers: usize) -> usize {
        workers * BATCH_MESSAGES_MAX
    }

    fn converted_bytes(&self, message_bytes_max: u64) -> u64 {
        match self.line_endings {
            LineEndings::Lf => BATCH_BYTES_MAX.saturating_add(message_bytes_max),
            LineEndings::Crlf => 0,
        }
    }

    fn has_mailboxes(&self) -> bool {
        !self.template.is_empty()
    }

    fn creates_mailboxes(&self) -> bool {
        self.create
    }
}

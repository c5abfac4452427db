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
    /// Where mail goes that is marked as suspicious.
    pub quarantine: Quarantine,
    /// How files become durable. `None` for what suits the file system.
    pub sync: Option<MaildirSync>,
    /// The permission bits of files; directories get the bits to enter them with those to read.
    pub mode: Option<u32>,
    /// The group of files and directories: a name, or a number.
    pub group: Option<String>,
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

/// Where mail goes that is marked as suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quarantine {
    /// Where all mail goes.
    #[default]
    Inbox,
    /// Into the folder `.Junk` of its maildir.
    Junk,
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
pub(super) const KEYS: &[&str] =
    &["template", "create", "line_endings", "quarantine", "sync", "mode", "group"];

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
            "Maildir: whether one is made for a recipient that no table lists. Nats: whether the stream, and its object store, are made where they are missing.",
        ),
        line_endings: section.choice(
            "line_endings",
            &[("lf", LineEndings::Lf), ("crlf", LineEndings::Crlf)],
            "Maildir: CRLF stored as LF where that can be undone, or as received.",
        ),
        quarantine: section.choice(
            "quarantine",
            &[("inbox", Quarantine::Inbox), ("junk", Quarantine::Junk)],
            "Maildir: where mail goes that [auth] marks as suspicious: to all other, or into the folder `.Junk`.",
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
        mode: section.text(
            "mode",
            "octal digits in quotes",
            Fallback::Computed { example: "\"0660\"", default: "\"0600\", or \"0660\" where `group` is given" },
            "Maildir: the mode of files; where one may be read, its directories may be entered, too.",
            mode,
        ),
        group: section.text(
            "group",
            "name or number of a group",
            Fallback::Computed { example: "\"vmail\"", default: "the one that the file system chooses" },
            "Maildir: the group of files and directories, of which the user that runs ringmx must be a member.",
            group,
        ),
    }
}

/// Reads the mode of a file as chmod(1) does.
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|octet| matches!(octet, b'0'..=b'7'));
    let Some(mode) = u32::from_str_radix(text, 8).ok().filter(|_| is_octal) else {
        return Err(format!("{text:?} is no mode; write three or four octal digits, such as \"0660\""));
    };
    if mode & !0o666 != 0 {
        return Err(format!(
            "{text:?} holds more than reading and writing; directories get what they need besides by themselves"
        ));
    }
    if mode & 0o600 != 0o600 {
        return Err(format!("{text:?} keeps ringmx itself out; the first digit that counts must be 6"));
    }
    // Who may write a file and not read it cannot keep it in step with anything.
    if (mode & 0o222) << 1 & !mode != 0 {
        return Err(format!("{text:?} lets somebody write who may not read"));
    }
    Ok(mode)
}

/// A name of a group, or its number.
fn group(text: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | ',' | '/');
    if text.is_empty() || text.contains(is_odd) {
        return Err(format!(
            "{text:?} is no name of a group; write for example \"vmail\", or its number in quotes"
        ));
    }
    Ok(text.to_owned())
}

/// Warns of mail that all users of the machine may read.
pub(super) fn mode_rules(section: &Section<'_>, maildir: &Maildir) {
    if maildir.mode.is_some_and(|mode| mode & 0o006 != 0) {
        section.warn(
            "mode",
            "every user of this machine may read this mail; give it to a `group` instead, and write mode = \"0660\""
                .to_owned(),
        );
    }
    if maildir.group.is_some() && maildir.mode.is_some_and(|mode| mode & 0o060 == 0) {
        section
            .warn("mode", "the `group` may not even read with this mode; write mode = \"0660\"".to_owned());
    }
}

/// Warns of a folder that nothing will ever go into.
pub(super) fn quarantine_rule(section: &Section<'_>, maildir: &Maildir, has_auth: bool) {
    if maildir.quarantine == Quarantine::Junk && !has_auth {
        section.warn(
            "quarantine",
            "without [auth] nothing is marked, so nothing goes into `.Junk`; write [auth] at the end of the file"
                .to_owned(),
        );
    }
}

impl Maildir {
    /// Whether mail for one domain and mail for another one can be in one maildir.
    pub fn mixes_domains(&self) -> bool {
        !self.template.contains("{domain}")
    }

    /// Whom it refuses, where that is nearly everybody.
    pub(in crate::config) fn unlisted_rule(&self, has_recipients: bool) -> Option<&'static str> {
        (!self.template.is_empty() && !self.create && !has_recipients).then_some(
            "without `recipients` and without `create = true`, only maildirs that exist and postmaster get mail; all other \
             recipients are refused",
        )
    }
}

/// Warns of a template that is probably not meant.
pub(super) fn template_rules(section: &Section<'_>, maildir: &Maildir, identity: &Identity) {
    let template = &maildir.template;
    let many_domains = identity.domains.len() > 1
        || identity.domains.iter().any(|domain| matches!(domain, DomainPattern::Below(_)));
    if template.contains("{local}") && maildir.mixes_domains() && (many_domains || identity.any_domain) {
        section.warn(
            "template",
            "without {domain}, the same local-part of two domains shares a maildir".to_owned(),
        );
    }
    if let Some(text) = maildir.unlisted_rule(identity.recipients.is_some()) {
        section.warn("template", text.to_owned());
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

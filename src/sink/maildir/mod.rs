//! The maildir sink: one file a maildir, written in `tmp`, made durable, renamed into `new`.
//!
//! Recipients who share a maildir share the file, which names each of them in a `Delivered-To:`. Files in
//! different maildirs name different recipients, so they never have the same content, and are no links to one
//! file.
//!
//! By which stages the files of a batch become durable, `stages.rs` tells. `sync = "batch"` is one sync for
//! all files of all messages, and when it fails, it fails the whole batch. It is not for directories beyond a
//! mount point below the root: a sync of the root's file system does not reach them, and they are refused.
//! 250 waits for the last stage.

mod clean;
mod content;
mod doubt;
mod file_system;
mod folders;
mod keeper;
mod name;
mod settings;
mod stages;
mod store;
mod troubles;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::file_system::Commit;
use self::keeper::{MaildirKeeper, explained};
use self::name::Template;
pub use self::settings::MaildirSettings;
pub use self::store::Maildir;
use super::contract::{Cost, Durability, Sink};
use super::executor::Executor;
use super::executor::blocking::Blocking;
use super::executor::uring::Uring;
use super::kind::{Kind, Unnameable};
use super::mailbox::{Mailboxes, MakeKeeper};
use super::opening::{Examined, OpenError, Opened, Surroundings, Worker};
use super::permission::{self, Permission};
use super::root::{self, Owner, Root};
use super::spill_file::SpillTo;
use super::trial::{self, Needs};
use crate::config::{self, MaildirSync, Quarantine};
use crate::handoff::mailbox::MailboxPath;
use crate::handoff::message::Message;
use crate::mail::envelope::Mailbox;
use crate::mail::outcome::Outcome;

impl Kind for config::Maildir {
    fn open(&self, workers: usize, surroundings: &Surroundings) -> Result<Opened, OpenError> {
        open(self, workers, surroundings)
    }

    fn make_store(&self, owner: Option<Owner>) -> Result<(), OpenError> {
        root::make(&self.path, permission_of(self)?, owner)
    }

    fn writes_in(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    fn examine(&self, examined: &mut Examined) {
        let permission = Permission::configured(self.mode, self.group.as_deref());
        if let Some(directory) = root::examine(&self.path, examined) {
            if let Some(why) = cannot_commit(&self.path, &directory, self.sync) {
                examined.error("path", why);
            }
            let kept_out = |permission: Permission| {
                if directory == self.path {
                    permission.keeps_out(&directory)
                } else {
                    permission.keeps_out_above(&directory)
                }
            };
            if let Ok(Some(permission)) = permission
                && let Some(why) = kept_out(permission)
            {
                examined.warn("group", why);
            }
        }
        if let Err(why) = permission {
            examined.error("group", why);
        }
    }

    fn look_into(&self, surroundings: &Surroundings) -> Result<Option<Mailboxes>, OpenError> {
        look_into(self, surroundings)
    }

    fn unnameable(&self, case_sensitive: bool) -> Option<Unnameable> {
        unnameable(&self.template, case_sensitive)
    }
}

fn permission_of(config: &config::Maildir) -> Result<Option<Permission>, OpenError> {
    let config::Maildir { path, mode, group, .. } = config;
    Permission::configured(*mode, group.as_deref()).map_err(|why| OpenError {
        what: "store mail for others in",
        site: path.display().to_string(),
        why,
        cure: "or take `group` out",
    })
}

/// Opens the sink: locks the root and removes what deliveries that were cut short left in `tmp`.
fn open(config: &config::Maildir, workers: usize, surroundings: &Surroundings) -> Result<Opened, OpenError> {
    let config::Maildir { path, template, create, line_endings, quarantine, sync, mode, group } = config;
    let permission = permission_of(config)?;
    let settings = MaildirSettings::new(path, template, *create, *line_endings, surroundings.clone())?;
    let settings = settings.share_by(permission).quarantine_in(*quarantine);
    let root = Arc::new(Root::open_shared(path, "maildir", permission)?);
    let cannot_open = |error: io::Error| OpenError {
        what: "open the store",
        site: path.display().to_string(),
        why: error.to_string(),
        cure: "allow more open files",
    };
    let commit = file_system::choose(*sync, path, root.directory().map_err(cannot_open)?)?;
    let settings = settings.commit_by(commit);
    let name_bytes_max = name::file_bytes_max(&settings.host);
    let needs = Needs { reserves: false, name_bytes_max, permission };
    let mut executor = Blocking::new(root.directory().map_err(cannot_open)?);
    let mut notes = trial::run(&root, needs, &mut executor)?;
    let folders: &[&str] = match quarantine {
        Quarantine::Inbox => &[],
        Quarantine::Junk => &[folders::JUNK],
    };
    let depth = settings.template.depth();
    let clean::Cleaned { removed, error } = match root.directory() {
        Ok(directory) => clean::remove_old(directory, depth, folders),
        Err(error) => clean::Cleaned { error: Some(error), ..clean::Cleaned::default() },
    };
    match removed {
        0 => {}
        1 => notes.push("removed 1 temporary file older than 36 h".to_owned()),
        count => notes.push(format!("removed {count} temporary files older than 36 h")),
    }
    if let Some(error) = error {
        notes.push(format!("cannot look everywhere for old temporary files: {error}"));
    }
    let mailboxes = watch_mailboxes(&settings, &root)?;
    let durability = Durability::of_store(root.directory().map_err(cannot_open)?);
    let shared = permission::described(*mode, group.as_deref());
    let workers = (0..workers.max(1)).map(|_| -> Worker {
        let (settings, root) = (settings.clone(), Arc::clone(&root));
        Box::new(move || {
            let directory = root.directory()?;
            let executor: Box<dyn Executor> = match settings.commit {
                Commit::Batch | Commit::Twice => Box::new(Blocking::on_one_file_system(directory)),
                Commit::File => Box::new(Uring::new(directory)?),
            };
            Ok(Box::new(Locked { _root: root, sink: Maildir::new(settings, executor) }))
        })
    });
    Ok(Opened {
        description: match settings.commit {
            Commit::Batch | Commit::Twice => format!("maildir {}, sync = \"batch\"{shared}", path.display()),
            Commit::File => format!("maildir {}, sync = \"each\"{shared}", path.display()),
        },
        durability,
        workers: workers.collect(),
        inline: None,
        spill: SpillTo::Directory(path.clone()),
        mailboxes,
        notes,
    })
}

/// Who is asked about recipients, where they have maildirs of their own. The one at the root is looked at
/// now.
fn watch_mailboxes(settings: &MaildirSettings, root: &Arc<Root>) -> Result<Option<Mailboxes>, OpenError> {
    let one_file_system = settings.commit != Commit::File;
    if settings.template.depth() > 0 {
        let naming = Arc::new(settings.clone());
        let (settings, root) = (settings.clone(), Arc::clone(root));
        let make_keeper: MakeKeeper =
            Box::new(move || Ok(Box::new(MaildirKeeper::new(root.directory()?, settings, one_file_system))));
        return Ok(Some(Mailboxes { naming, make_keeper }));
    }
    let refused = |path: &Path, error: &io::Error| OpenError {
        what: "store mail in",
        site: path.display().to_string(),
        why: explained(error).to_string(),
        cure: "the user that runs ringmx must be able to write it",
    };
    let directory = root.directory().map_err(|error| refused(&settings.root, &error))?;
    let at_root = MailboxPath { name: Box::from(""), may_make: true };
    match MaildirKeeper::new(directory, settings.clone(), one_file_system).find(&at_root) {
        Ok(_) => Ok(None),
        Err((directory, error)) => Err(refused(&settings.root.join(&*directory), &error)),
    }
}

/// Who is asked about recipients, without the lock of the store.
fn look_into(config: &config::Maildir, surroundings: &Surroundings) -> Result<Option<Mailboxes>, OpenError> {
    let config::Maildir { path, template, create, line_endings, sync, .. } = config;
    let settings = MaildirSettings::new(path, template, *create, *line_endings, surroundings.clone())?;
    if settings.template.depth() == 0 {
        return Ok(None);
    }
    let refused = |error: &io::Error| OpenError {
        what: "look into the store",
        site: path.display().to_string(),
        why: explained(error).to_string(),
        cure: "start the server once, or do this as its user",
    };
    let root: OwnedFd = File::open(path).map_err(|error| refused(&error))?.into();
    let one_file_system = file_system::choose(*sync, path, &root)? != Commit::File;
    let naming = Arc::new(settings.clone());
    let make_keeper: MakeKeeper =
        Box::new(move || Ok(Box::new(MaildirKeeper::new(root, settings, one_file_system))));
    Ok(Some(Mailboxes { naming, make_keeper }))
}

/// Why files cannot become durable as configured where this directory is, the root or the one that it would
/// be made in. None where they can.
fn cannot_commit(path: &Path, directory: &Path, sync: Option<MaildirSync>) -> Option<String> {
    let directory = File::open(directory).ok()?;
    file_system::choose(sync, path, directory).err().map(|error| error.to_string())
}

/// Tells of recipients, by local-part and domain, why they cannot have a maildir: what the name of its
/// directory would be. None where the template is none.
fn unnameable(template: &str, case_sensitive: bool) -> Option<Unnameable> {
    let template = Template::parse(template, case_sensitive).ok()?;
    Some(Box::new(move |local_part, domain| {
        let (local_part, domain) = (local_part.as_bytes(), domain.as_bytes());
        let recipient = Mailbox { local_part, domain, whole: b"" };
        template.directory(recipient).err().map(|why| why.to_string())
    }))
}

/// The sink of one worker with its share of the lock.
struct Locked<E> {
    sink: Maildir<E>,
    _root: Arc<Root>,
}

impl<E: Executor> Sink for Locked<E> {
    fn cost(&self, message: &Message) -> Cost {
        self.sink.cost(message)
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        self.sink.store(batch, outcomes);
    }
}

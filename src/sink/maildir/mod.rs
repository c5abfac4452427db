//! The maildir sink: one file a maildir, written in `tmp`, made durable, renamed into `new`.
//!
//! Recipients who share a maildir share the file, which names each of them in a `Delivered-To:`. Files in different maildirs name
//! different recipients, so they never have the same content, and are no links to one file.
//!
//! ```text
//!   file    make directories that may be new ║ sync their parents, and for every file create, write, sync, close ║ rename ║ sync `new`
//!   batch   make directories that may be new ║ for every file create, write, begin to write back ║ await that, close ║ rename ║ sync the file system
//!   twice   make directories that may be new ║ for every file create, write, close ║ sync the file system ║ rename ║ sync `new`
//! ```
//!
//! (`║` is a barrier; see [`Commit`].) Behind each stands a last stage that probes the journal ([`Action::ProbeJournal`]). `sync =
//! "batch"` is one of the last two: one sync for all files of all messages, and when it fails, it fails the whole batch. It is not for
//! directories behind a mount point below the root: a sync of the root's file system does not reach them, and they are refused. All
//! temporary files of all recipients of a message are durable, or written back where that is as good, before the first one is renamed,
//! so no name in `new` shows a part of one even after a power cut, and 250 waits for the last stage. A rename never replaces.

mod clean;
mod content;
mod doubt;
mod file_system;
mod mailbox;
mod name;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::content::Common;
use self::doubt::Doubts;
pub use self::file_system::Commit;
use self::mailbox::{MaildirKeeper, Troubles};
use self::name::{FileName, Template};
use super::contract::{Cost, Durability, Sink};
use super::executor::Executor;
use super::executor::blocking::Blocking;
use super::executor::uring::Uring;
use super::mailbox::{Mailboxes, MakeKeeper};
use super::opening::{OpenError, Opened, Surroundings, Worker};
use super::plan::{self, Action, Directory, Owners, Place, Plan, Results};
use super::report::{Site, outcome_of, report_failures};
use super::root::Root;
use super::spill::SpillTo;
use super::trial::{self, Needs};
use crate::buffer::NotWhole;
use crate::config::{LineEndings, MaildirSync};
use crate::handoff::mailbox::Place as MailboxPlace;
use crate::handoff::message::Message;
use crate::limits::MAILDIRS_KNOWN_MAX;
use crate::mail::envelope::Mailbox;
use crate::mail::outcome::{Outcome, Refused, TryAgain};

/// Directories that [`Commit::Twice`] syncs one by one; where it renamed into more, it syncs the file system once more. A few syncs
/// of directories write nothing of others.
const DIRECTORY_SYNCS_MAX: usize = 4;

/// Files of a batch that are open at a time, and under way to the disk.
const OPEN_FILES_MAX: usize = 128;

/// Opens the sink: locks the root and removes what deliveries that were cut short left in `tmp`.
pub(super) fn open(
    path: &Path,
    template: &str,
    create: bool,
    line_endings: LineEndings,
    sync: Option<MaildirSync>,
    workers: usize,
    surroundings: &Surroundings,
) -> Result<Opened, OpenError> {
    let mut settings = Settings::new(path, template, create, line_endings, surroundings.clone())?;
    let root = Arc::new(Root::open(path, "maildir")?);
    let cannot_open = |error: io::Error| OpenError {
        what: "open the store",
        site: path.display().to_string(),
        why: error.to_string(),
        cure: "allow more open files",
    };
    settings.commit = file_system::choose(sync, path, root.directory().map_err(cannot_open)?)?;
    let needs = Needs { reserves: false, name_bytes_max: name::file_bytes_max(&settings.host) };
    let mut executor = Blocking::new(root.directory().map_err(cannot_open)?);
    let mut notes = trial::run(&root, needs, &mut executor)?;
    match root.directory().and_then(|directory| clean::remove_old(directory, settings.template.depth())) {
        Ok(0) => {}
        Ok(1) => notes.push("removed 1 temporary file older than 36 h".to_owned()),
        Ok(count) => notes.push(format!("removed {count} temporary files older than 36 h")),
        Err(error) => notes.push(format!("cannot look for old temporary files: {error}")),
    }
    let mailboxes = watch_mailboxes(&settings, &root)?;
    let durability = Durability::of_store(root.directory().map_err(cannot_open)?);
    let workers = (0..workers.max(1)).map(|_| -> Worker {
        let (settings, root) = (settings.clone(), Arc::clone(&root));
        Box::new(move || {
            let directory = root.directory()?;
            let executor: Box<dyn Executor> = match settings.commit {
                Commit::Batch | Commit::Twice => Box::new(Blocking::on_one_file_system(directory)),
                Commit::File => Box::new(Uring::new(directory)?),
            };
            Ok(Box::new(Locked { _root: root, durability, sink: Maildir::new(settings, executor) }))
        })
    });
    Ok(Opened {
        description: match settings.commit {
            Commit::Batch | Commit::Twice => format!("maildir {}, sync = \"batch\"", path.display()),
            Commit::File => format!("maildir {}, sync = \"each\"", path.display()),
        },
        durability,
        workers: workers.collect(),
        inline: None,
        spill: SpillTo::Directory(path.to_owned()),
        mailboxes,
        notes,
    })
}

/// Who is asked about recipients, where they have maildirs of their own. The one at the root is looked at now.
fn watch_mailboxes(settings: &Settings, root: &Arc<Root>) -> Result<Option<Mailboxes>, OpenError> {
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
        why: mailbox::explained(error).to_string(),
        cure: "the user that runs ringmx must be able to write it",
    };
    let directory = root.directory().map_err(|error| refused(&settings.root, &error))?;
    let at_root = MailboxPlace { name: Box::from(""), may_make: true };
    match MaildirKeeper::new(directory, settings.clone(), one_file_system).find(&at_root) {
        Ok(_) => Ok(None),
        Err((directory, error)) => Err(refused(&settings.root.join(&*directory), &error)),
    }
}

/// Why files cannot become durable as configured where this directory is, the root or the one that it would
/// be made in. None where they can.
pub(super) fn examine(path: &Path, directory: &Path, sync: Option<MaildirSync>) -> Option<String> {
    let directory = std::fs::File::open(directory).ok()?;
    file_system::choose(sync, path, directory).err().map(|error| error.to_string())
}

/// Tells of recipients, by local-part and domain, why they cannot have a maildir: what the name of its directory would be. None where the
/// template is none.
pub(super) fn unnameable(
    template: &str,
    case_sensitive: bool,
) -> Option<impl Fn(&str, &str) -> Option<String>> {
    let template = Template::parse(template, case_sensitive).ok()?;
    Some(move |local_part: &str, domain: &str| {
        let (local_part, domain) = (local_part.as_bytes(), domain.as_bytes());
        let recipient = Mailbox { local_part, domain, whole: b"" };
        template.directory(recipient).err().map(|why| why.to_string())
    })
}

/// The sink of one worker with its share of the lock.
struct Locked<E> {
    sink: Maildir<E>,
    durability: Durability,
    _root: Arc<Root>,
}

impl<E: Executor> Sink for Locked<E> {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn cost(&self, message: &Message) -> Cost {
        self.sink.cost(message)
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        self.sink.store(batch, outcomes);
    }
}

/// What all workers of one maildir sink share.
#[derive(Clone)]
pub struct Settings {
    /// For the log.
    root: PathBuf,
    template: Template,
    create: bool,
    line_endings: LineEndings,
    commit: Commit,
    host: String,
    surroundings: Surroundings,
    /// Makes names of files unique in this process.
    sequence: Arc<AtomicU64>,
    /// Makes names of markers unique among workers.
    workers: Arc<AtomicU64>,
    /// Maildirs that are refused at RCPT for a while.
    troubles: Arc<Troubles>,
}

impl Settings {
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
            host: name::host(&surroundings.hostname),
            surroundings,
            sequence: Arc::default(),
            workers: Arc::default(),
            troubles: Arc::default(),
        })
    }

    /// Whether a maildir may be made. One at the root belongs to the operator's own `path`: nobody needs to name it.
    fn may_make(&self, maildir: &str, recipient: Mailbox<'_>) -> bool {
        self.create || maildir.is_empty() || (self.surroundings.is_named)(recipient)
    }

    /// How files become durable. Unless each is synced for itself, the executor must sync the file system that all of them are on.
    #[must_use]
    pub fn commit_by(self, commit: Commit) -> Self {
        Self { commit, ..self }
    }
}

/// Stores each message in the maildirs of its recipients.
pub struct Maildir<E> {
    executor: E,
    settings: Settings,
    /// Maildirs whose directories and their entries are durable. `known.len() <= MAILDIRS_KNOWN_MAX`
    known: HashSet<Directory>,
    /// Directories whose sync failed: only maildirs that are known to be durable are used below them until that is settled.
    doubts: Doubts,
}

/// One file to be delivered.
struct Delivery {
    /// Index in the batch.
    message: usize,
    /// Index of what all files of the message have in common.
    common: usize,
    /// Return-Path and Delivered-To.
    head: Vec<u8>,
    maildir: Directory,
    /// Whether the maildir may be made.
    may_make: bool,
    temporary: Rc<Place>,
    delivered: Rc<Place>,
}

impl<E: Executor> Sink for Maildir<E> {
    fn durability(&self) -> Durability {
        Durability::Disk
    }

    /// As if no two recipients shared a maildir, unless all do.
    fn cost(&self, message: &Message) -> Cost {
        let files = if self.settings.template.depth() == 0 { 1 } else { message.envelope.recipients().len() };
        Cost { bytes: message.data.bytes().saturating_mul(files as u64), files }
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        let to_lf = self.settings.line_endings == LineEndings::Lf;
        let unsettled = self.settle_doubts(batch);
        let mut commons = Vec::with_capacity(batch.len());
        let mut deliveries = Vec::new();
        let mut unplanned = vec![None; batch.len()];
        for (index, message) in batch.iter().enumerate() {
            let of_message = Common::new(message, to_lf).map_err(|why| self.refuse(why)).and_then(|common| {
                let of_message = self.deliveries(index, commons.len(), message, &common, &unsettled);
                commons.push(common);
                of_message
            });
            match of_message {
                Ok(of_message) => deliveries.extend(of_message),
                Err(outcome) => unplanned[index] = Some(outcome),
            }
        }
        let plan = self.plan(batch.len(), &deliveries, &commons);
        let results = self.executor.run(&plan);
        self.conclude(&plan, &results, &deliveries);
        drop(plan);
        drop(commons);
        // The first recipient's file is the one that the log names.
        for delivery in deliveries.iter().rev().filter(|delivery| results.error(delivery.message).is_none()) {
            batch[delivery.message].place = delivery.delivered.to_string();
        }
        outcomes.extend(unplanned.into_iter().enumerate().map(|(index, unplanned)| {
            unplanned.unwrap_or_else(|| results.error(index).map_or(Outcome::Stored, outcome_of))
        }));
    }
}

impl<E: Executor> Maildir<E> {
    /// The sink of one worker, for the root that the executor works in.
    pub fn new(settings: Settings, executor: E) -> Self {
        let doubts = Doubts::new(settings.workers.fetch_add(1, Ordering::Relaxed));
        Self { executor, settings, known: HashSet::new(), doubts }
    }

    /// Settles the doubts about directories that this batch needs: for those where that failed, what mail gets below them.
    fn settle_doubts(&mut self, batch: &[Box<Message>]) -> HashMap<Directory, Outcome> {
        let mut needed = BTreeSet::new();
        if self.doubts.is_empty() {
            return HashMap::new();
        }
        for recipient in batch.iter().flat_map(|message| message.envelope.recipients()) {
            let Ok(maildir) = self.settings.template.directory(recipient).map(Directory::from) else {
                continue;
            };
            if !self.known.contains(&maildir) && self.settings.may_make(&maildir, recipient) {
                let parents = lineage(&maildir).into_iter().map(|(_, parent, _)| parent);
                needed.extend(parents.filter(|parent| self.doubts.contains(parent)));
            }
        }
        if needed.is_empty() {
            return HashMap::new();
        }
        let Settings { surroundings, root, .. } = &self.settings;
        self.doubts.settle(&needed, &mut self.executor, &*surroundings.report, root)
    }

    /// For a message whose mail data cannot be read: a mistake of ours, which must cost no mail.
    fn refuse(&self, why: NotWhole) -> Outcome {
        let error = io::Error::other(why);
        self.settings.surroundings.report.machine_error(
            "store a message in",
            Site::Path(&self.settings.root),
            &error,
        );
        outcome_of(&error)
    }

    /// The files of one message, one for each of its maildirs, or why there can be none.
    fn deliveries(
        &self,
        index: usize,
        common_index: usize,
        message: &Message,
        common: &Common<'_>,
        unsettled: &HashMap<Directory, Outcome>,
    ) -> Result<Vec<Delivery>, Outcome> {
        let mut deliveries = Vec::with_capacity(message.envelope.recipients().len());
        for (maildir, recipients) in self.by_maildir(message)? {
            let may_make = recipients.iter().any(|recipient| self.settings.may_make(&maildir, *recipient));
            if may_make
                && !self.known.contains(&maildir)
                && let Some(why) = lineage(&maildir).iter().find_map(|(_, parent, _)| unsettled.get(parent))
            {
                return Err(*why);
            }
            let head = common.head(&message.envelope, &recipients);
            let name = self.name(message, head.len() as u64 + common.bytes());
            let place = |folder, name| Rc::new(Place { directory: below(&maildir, folder), name });
            deliveries.push(Delivery {
                message: index,
                common: common_index,
                head,
                may_make,
                temporary: place("tmp", name.clone()),
                delivered: place("new", name),
                maildir,
            });
        }
        // Stored for nobody would be lost.
        if deliveries.is_empty() { Err(Outcome::TryAgain(TryAgain::Local)) } else { Ok(deliveries) }
    }

    /// The recipients of a message by maildir, in the order in which each was first named. A template may leave out what
    /// recipients differ in, and without one all share the maildir at the root.
    fn by_maildir<'m>(&self, message: &'m Message) -> Result<Vec<(Directory, Vec<Mailbox<'m>>)>, Outcome> {
        let mut groups: Vec<(Directory, Vec<Mailbox<'_>>)> = Vec::new();
        let mut indices: HashMap<Directory, usize> = HashMap::new();
        for recipient in message.envelope.recipients() {
            let maildir = self.settings.template.directory(recipient);
            let maildir: Directory = maildir.map_err(|_| Outcome::Refused(Refused::Recipient))?.into();
            let index = *indices.entry(Rc::clone(&maildir)).or_insert(groups.len());
            match groups.get_mut(index) {
                Some((_, recipients)) => recipients.push(recipient),
                None => groups.push((maildir, vec![recipient])),
            }
        }
        Ok(groups)
    }

    /// A name for a file of so many octets, never given before.
    fn name(&self, message: &Message, bytes: u64) -> String {
        let settings = &self.settings;
        let name = FileName {
            time: message.received_at,
            // Only uniqueness counts, not order.
            sequence: settings.sequence.fetch_add(1, Ordering::Relaxed),
            shard: message.origin.shard,
            host: &settings.host,
            bytes,
        };
        name.text()
    }

    fn plan<'a>(&self, messages: usize, deliveries: &'a [Delivery], commons: &'a [Common<'_>]) -> Plan<'a> {
        let mut plan = Plan::new(messages);
        if deliveries.is_empty() {
            return plan;
        }
        self.plan_directories(&mut plan, deliveries);
        self.plan_files(&mut plan, deliveries, commons);
        let all = || Owners::Many(planned(deliveries));
        if self.settings.commit == Commit::Twice {
            plan.push(all(), Action::SyncFilesystem);
            plan.barrier();
        }
        let mut entered: BTreeMap<&Directory, Vec<usize>> = BTreeMap::new();
        for delivery in deliveries {
            let (from, to) = (Rc::clone(&delivery.temporary), Rc::clone(&delivery.delivered));
            plan.push(Owners::One(delivery.message), Action::Rename(from, to));
            entered.entry(&delivery.delivered.directory).or_default().push(delivery.message);
        }
        plan.barrier();
        let by_directory = match self.settings.commit {
            Commit::File => true,
            Commit::Batch => false,
            Commit::Twice => entered.len() <= DIRECTORY_SYNCS_MAX,
        };
        if by_directory {
            for (directory, owners) in &entered {
                plan.push(Owners::Many(owners.clone()), Action::SyncDirectory(Rc::clone(directory)));
            }
        } else {
            plan.push(all(), Action::SyncFilesystem);
            if self.settings.commit == Commit::Twice {
                // Without a journal ext4 flushes the disk's cache before the names have been written; a sync of any directory flushes it again.
                plan.barrier();
                plan.push(all(), Action::SyncDirectory(Rc::from("")));
            }
        }
        plan.barrier();
        if self.settings.commit == Commit::File {
            // Each may be on a file system of its own.
            for (directory, owners) in entered {
                plan.push(Owners::Many(owners), Action::ProbeJournal(Rc::clone(directory)));
            }
        } else {
            plan.push(all(), Action::ProbeJournal(Rc::from("")));
        }
        plan
    }

    /// The temporary files: written, and by [`Commit::File`] durable.
    fn plan_files<'a>(&self, plan: &mut Plan<'a>, deliveries: &'a [Delivery], commons: &'a [Common<'_>]) {
        for some in deliveries.chunks(OPEN_FILES_MAX) {
            for delivery in some {
                let common = &commons[delivery.common];
                let mut slices = vec![delivery.head.as_slice()];
                common.push_slices(&mut slices);
                let file = || Rc::clone(&delivery.temporary);
                let owner = || Owners::One(delivery.message);
                plan.push(owner(), Action::Create(file()));
                plan.push(owner(), Action::Write(file(), 0, slices));
                match self.settings.commit {
                    Commit::File => plan.push(owner(), Action::SyncFile(file())),
                    Commit::Batch => {
                        plan.push(owner(), Action::StartWriteback(file()));
                        continue;
                    }
                    Commit::Twice => {}
                }
                plan.push(owner(), Action::Close(file()));
            }
            if self.settings.commit == Commit::Batch {
                plan.barrier();
                for delivery in some {
                    let file = || Rc::clone(&delivery.temporary);
                    plan.push(Owners::One(delivery.message), Action::AwaitWriteback(file()));
                    plan.push(Owners::One(delivery.message), Action::Close(file()));
                }
                plan.barrier();
            }
        }
        plan.barrier();
    }

    /// Directories of maildirs that are not known to be durable: made where they are missing, and their entries synced even
    /// where they are there, for whoever made them may have been cut short before the sync. The sync of a batch covers them.
    fn plan_directories(&self, plan: &mut Plan<'_>, deliveries: &[Delivery]) {
        let mut levels: Vec<BTreeMap<Directory, Vec<usize>>> = Vec::new();
        let mut parents: BTreeMap<Directory, Vec<usize>> = BTreeMap::new();
        for delivery in deliveries {
            if self.known.contains(&delivery.maildir) || !delivery.may_make {
                continue;
            }
            for (depth, parent, directory) in lineage(&delivery.maildir) {
                if levels.len() <= depth {
                    levels.resize_with(depth + 1, BTreeMap::new);
                }
                levels[depth].entry(directory).or_default().push(delivery.message);
                parents.entry(parent).or_default().push(delivery.message);
            }
        }
        for level in levels {
            for (directory, owners) in level {
                plan.push(Owners::Many(owners), Action::MakeDirectory(directory));
            }
            plan.barrier();
        }
        if self.settings.commit != Commit::File {
            return;
        }
        for (directory, owners) in parents {
            plan.push(Owners::Many(owners), Action::SyncDirectory(directory));
        }
    }

    /// Reports what failed, removes what was written for nothing, and learns which maildirs are durable.
    fn conclude(&mut self, plan: &Plan<'_>, results: &Results, deliveries: &[Delivery]) {
        let settings = &self.settings;
        if results.any_failed() {
            report_failures(&*settings.surroundings.report, &settings.root, plan, results);
            let undo = plan::undo(plan, results);
            let undone = self.executor.run(&undo);
            report_failures(&*settings.surroundings.report, &settings.root, &undo, &undone);
        }
        self.doubt(plan, results, deliveries);
        self.note_troubles(plan, results, deliveries);
        if self.known.len() + deliveries.len() > MAILDIRS_KNOWN_MAX {
            self.known.clear();
        }
        for delivery in deliveries {
            if let Some(error) = results.error(delivery.message) {
                if is_gone(error) {
                    self.known.remove(&delivery.maildir);
                }
            } else if delivery.may_make && !self.known.contains(&delivery.maildir) {
                self.known.insert(Rc::clone(&delivery.maildir));
            }
        }
    }

    /// Notes the maildirs that stand in the way of their own mail.
    fn note_troubles(&self, plan: &Plan<'_>, results: &Results, deliveries: &[Delivery]) {
        let failures = results.failures(plan).filter(|(_, error)| mailbox::is_of_maildir(error));
        for (action, error) in failures {
            let place = action.path();
            // Its own files and folders, or a directory above it.
            let is_concerned = |maildir: &str| is_within(&place, maildir) || is_within(maildir, &place);
            for delivery in deliveries.iter().filter(|delivery| is_concerned(&delivery.maildir)) {
                self.settings.troubles.note(&delivery.maildir, error);
            }
        }
    }

    /// Notes which directories may hold names of new maildirs that no later sync makes durable.
    fn doubt(&mut self, plan: &Plan<'_>, results: &Results, deliveries: &[Delivery]) {
        if !results.any_failed() {
            return;
        }
        let may_be_new = |delivery: &&Delivery| delivery.may_make && !self.known.contains(&delivery.maildir);
        let parents: BTreeSet<Directory> = deliveries
            .iter()
            .filter(may_be_new)
            .flat_map(|delivery| lineage(&delivery.maildir).into_iter().map(|(_, parent, _)| parent))
            .collect();
        for (action, error) in results.failures(plan) {
            match action {
                Action::SyncDirectory(directory)
                    if parents.contains(directory) && !is_from_opening(error) =>
                {
                    self.doubts.add(Rc::clone(directory));
                }
                Action::SyncFilesystem => self.doubts.add_all(),
                _ => {}
            }
        }
    }
}

/// The messages that have a file, each once.
fn planned(deliveries: &[Delivery]) -> Vec<usize> {
    let mut messages: Vec<usize> = deliveries.iter().map(|delivery| delivery.message).collect();
    // Those of one message lie side by side.
    messages.dedup();
    messages
}

/// Whether a maildir, or a directory of it, may be gone or another one: what was known of it holds no more. A write or sync that
/// failed says nothing of that kind.
fn is_gone(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::CrossesDevices,
        io::ErrorKind::StaleNetworkFileHandle,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(libc::ELOOP)
}

/// Whether a directory could not even be opened to be synced: then nothing was tried, and nothing is in doubt.
fn is_from_opening(error: &io::Error) -> bool {
    let never_synced = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOENT,
        libc::ENOTDIR,
        libc::ELOOP,
        libc::EACCES,
        libc::EXDEV,
        libc::EAGAIN,
    ];
    error.kind() == io::ErrorKind::CrossesDevices
        || error.raw_os_error().is_some_and(|number| never_synced.contains(&number))
}

/// The directories of a maildir from the root down: depth, parent and path of each.
fn lineage(maildir: &Directory) -> Vec<(usize, Directory, Directory)> {
    let mut lineage = Vec::new();
    let mut parent: Directory = Rc::from("");
    let names = maildir.split('/').filter(|name| !name.is_empty());
    for (depth, name) in names.enumerate() {
        let directory = below(&parent, name);
        lineage.push((depth, parent, Rc::clone(&directory)));
        parent = directory;
    }
    let depth = lineage.len();
    for folder in ["tmp", "new", "cur"] {
        lineage.push((depth, Rc::clone(&parent), below(&parent, folder)));
    }
    lineage
}

/// Whether a path is a directory or below it. Nothing is within the root, for all is.
fn is_within(path: &str, directory: &str) -> bool {
    !directory.is_empty()
        && path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn below(directory: &Directory, name: &str) -> Directory {
    if directory.is_empty() { name.into() } else { format!("{directory}/{name}").into() }
}

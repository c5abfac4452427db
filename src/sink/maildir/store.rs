//! The sink of one worker: which files a batch becomes, and what is made of their results.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::content::Common;
use super::doubt::Doubts;
use super::folders::{below, is_within, junk_of};
use super::name::{FileName, Size};
use super::settings::MaildirSettings;
use super::stages::{MaildirDelivery, Stages, may_be_new};
use super::troubles::is_of_maildir;
use crate::buffer::NotWhole;
use crate::config::{LineEndings, Quarantine};
use crate::handoff::message::Message;
use crate::limits::MAILDIRS_KNOWN_MAX;
use crate::mail::envelope::Mailbox;
use crate::mail::outcome::{Outcome, Refused, TryAgain};
use crate::sink::contract::{Cost, Sink};
use crate::sink::executor::Executor;
use crate::sink::plan::{self, Action, Directory, FilePath, Plan, Results};
use crate::sink::report::{Site, outcome_of, report_failures};

/// Stores each message in the maildirs of its recipients.
pub struct Maildir<E> {
    executor: E,
    settings: MaildirSettings,
    /// Maildirs, and folders for suspicious mail in them, whose directories and their entries are durable.
    /// `known.len() <= MAILDIRS_KNOWN_MAX`
    known: HashSet<Directory>,
    /// Directories whose sync failed: only maildirs that are known to be durable are used below them until
    /// that is settled.
    doubts: Doubts,
}

/// A message of a batch that is to be stored.
#[derive(Clone, Copy)]
struct Planned {
    /// Index in the batch.
    index: usize,
    /// Index of what all its files have in common.
    common: usize,
    /// Its mark decides the folder; else it goes where all mail goes.
    by_mark: bool,
}

/// What became of a message.
#[derive(Clone, Default)]
struct Fate {
    outcome: Option<Outcome>,
    /// Its first file.
    place: String,
}

/// Recipients of a message who share a maildir.
struct Group<'m> {
    maildir: Directory,
    /// It may be made, if it is not there.
    may_make: bool,
    recipients: Vec<Mailbox<'m>>,
}

impl<E: Executor> Sink for Maildir<E> {
    /// As if no two recipients shared a maildir, unless all do.
    fn cost(&self, message: &Message) -> Cost {
        let files = if self.settings.template.depth() == 0 { 1 } else { message.envelope.recipients().len() };
        Cost { bytes: message.data.bytes().saturating_mul(files as u64), files }
    }

    fn store(&mut self, batch: &mut [Box<Message>], outcomes: &mut Vec<Outcome>) {
        let to_lf = self.settings.line_endings == LineEndings::Lf;
        let mut fates = vec![Fate::default(); batch.len()];
        let (mut commons, mut planned) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (index, message) in batch.iter().enumerate() {
            match Common::new(message, to_lf) {
                Ok(common) => {
                    planned.push(Planned { index, common: commons.len(), by_mark: true });
                    commons.push(common);
                }
                Err(why) => fates[index].outcome = Some(self.refuse(why)),
            }
        }
        // A plan may end at the first folder that stands in the way: a message has a second try without
        // those that are known then, and a last one without any.
        let mut obstructed = HashSet::new();
        let mut again = self.store_some(&planned, &mut obstructed, batch, &commons, &mut fates);
        for by_mark in [true, false] {
            for one in &mut again {
                one.by_mark = by_mark;
            }
            if !again.is_empty() {
                again = self.store_some(&again, &mut obstructed, batch, &commons, &mut fates);
            }
        }
        drop(commons);
        for (message, fate) in batch.iter_mut().zip(fates) {
            message.place = fate.place;
            outcomes.push(fate.outcome.unwrap_or(Outcome::TryAgain(TryAgain::Local)));
        }
    }
}

impl<E: Executor> Maildir<E> {
    /// The sink of one worker, for the root that the executor works in.
    pub fn new(settings: MaildirSettings, executor: E) -> Self {
        let doubts = Doubts::new(settings.workers.fetch_add(1, Ordering::Relaxed));
        Self { executor, settings, known: HashSet::new(), doubts }
    }

    /// Stores messages by one plan, and tells of each what became of it. Gives those that a folder for
    /// suspicious mail stood in the way of, and notes its maildir as `obstructed`: a mark must cost no mail,
    /// so there they go where all mail goes.
    fn store_some(
        &mut self,
        planned: &[Planned],
        obstructed: &mut HashSet<Directory>,
        batch: &[Box<Message>],
        commons: &[Common<'_>],
        fates: &mut [Fate],
    ) -> Vec<Planned> {
        let unsettled = self.settle_doubts(planned, batch);
        let mut deliveries = Vec::new();
        for one in planned {
            match self.deliveries(*one, &batch[one.index], &commons[one.common], (obstructed, &unsettled)) {
                Ok(of_message) => deliveries.extend(of_message),
                Err(outcome) => fates[one.index].outcome = Some(outcome),
            }
        }
        let MaildirSettings { commit, permission, .. } = self.settings;
        let stages = Stages { commit, permission, known: &self.known };
        let plan = stages.plan(batch.len(), &deliveries, commons);
        let results = self.executor.run(&plan);
        self.conclude(&plan, &results, &deliveries);
        // The first recipient's file is the one that the log names.
        for delivery in deliveries.iter().rev() {
            let fate = &mut fates[delivery.message];
            fate.outcome = Some(results.error(delivery.message).map_or(Outcome::Stored, outcome_of));
            if fate.outcome == Some(Outcome::Stored) {
                fate.place = delivery.delivered.to_string();
            }
        }
        let failed = |delivery: &&MaildirDelivery| {
            delivery.is_junk
                && results.error(delivery.message).is_some()
                && is_obstructed(delivery, &plan, &results)
        };
        let failed: Vec<&MaildirDelivery> = deliveries.iter().filter(failed).collect();
        obstructed.extend(failed.iter().map(|delivery| Rc::clone(&delivery.maildir)));
        let is_of = |one: &&Planned| failed.iter().any(|delivery| delivery.message == one.index);
        planned.iter().filter(is_of).copied().collect()
    }

    /// Whether a message goes into the folder for suspicious mail.
    fn is_junk(&self, planned: Planned, message: &Message) -> bool {
        match self.settings.quarantine {
            Quarantine::Junk => planned.by_mark && message.authentication.is_suspicious,
            Quarantine::Inbox => false,
        }
    }

    /// Settles the doubts about directories that these messages need: for those where that failed, what mail
    /// gets below them.
    fn settle_doubts(&mut self, planned: &[Planned], batch: &[Box<Message>]) -> HashMap<Directory, Outcome> {
        let mut needed = BTreeSet::new();
        if self.doubts.is_empty() {
            return HashMap::new();
        }
        for one in planned {
            let message = &batch[one.index];
            let is_junk = self.is_junk(*one, message);
            for recipient in message.envelope.recipients() {
                let Ok((maildir, may_make)) = self.settings.maildir_of(recipient) else { continue };
                let new = may_be_new(&self.known, &maildir.into(), may_make, is_junk);
                let parents = new.into_iter().map(|(_, parent, _)| parent);
                needed.extend(parents.filter(|parent| self.doubts.contains(parent)));
            }
        }
        if needed.is_empty() {
            return HashMap::new();
        }
        let MaildirSettings { surroundings, root, .. } = &self.settings;
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
        planned: Planned,
        message: &Message,
        common: &Common<'_>,
        (obstructed, unsettled): (&HashSet<Directory>, &HashMap<Directory, Outcome>),
    ) -> Result<Vec<MaildirDelivery>, Outcome> {
        let mut deliveries = Vec::with_capacity(message.envelope.recipients().len());
        for Group { maildir, may_make, recipients } in self.by_maildir(message)? {
            let put_off = |is_junk| {
                let new = may_be_new(&self.known, &maildir, may_make, is_junk);
                new.iter().find_map(|(_, parent, _)| unsettled.get(parent)).copied()
            };
            if let Some(why) = put_off(false) {
                return Err(why);
            }
            let is_junk =
                self.is_junk(planned, message) && !obstructed.contains(&maildir) && put_off(true).is_none();
            let folder = if is_junk { junk_of(&maildir) } else { Rc::clone(&maildir) };
            let head = common.head(&message.envelope, &recipients);
            let name = self.name(message, common.size(&head));
            let place = |part, name| Rc::new(FilePath { directory: below(&folder, part), name });
            deliveries.push(MaildirDelivery {
                message: planned.index,
                common: planned.common,
                head,
                may_make,
                is_junk,
                temporary: place("tmp", name.clone()),
                delivered: place("new", name),
                maildir,
            });
        }
        // Stored for nobody would be lost.
        if deliveries.is_empty() { Err(Outcome::TryAgain(TryAgain::Local)) } else { Ok(deliveries) }
    }

    /// The recipients of a message by maildir, in the order in which each was first named. A template may
    /// leave out what recipients differ in, and without one all share the maildir at the root.
    fn by_maildir<'m>(&self, message: &'m Message) -> Result<Vec<Group<'m>>, Outcome> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut indices: HashMap<Directory, usize> = HashMap::new();
        for recipient in message.envelope.recipients() {
            let maildir = self.settings.maildir_of(recipient);
            let (maildir, may_make) = maildir.map_err(|_| Outcome::Refused(Refused::Recipient))?;
            let maildir: Directory = maildir.into();
            let index = *indices.entry(Rc::clone(&maildir)).or_insert(groups.len());
            match groups.get_mut(index) {
                Some(group) => {
                    group.may_make |= may_make;
                    group.recipients.push(recipient);
                }
                None => groups.push(Group { maildir, may_make, recipients: vec![recipient] }),
            }
        }
        Ok(groups)
    }

    /// A name for a file of this size, never given before.
    fn name(&self, message: &Message, size: Size) -> String {
        let settings = &self.settings;
        let name = FileName {
            time: message.received_at,
            // Only uniqueness counts, not order.
            sequence: settings.sequence.fetch_add(1, Ordering::Relaxed),
            shard: message.origin.shard,
            host: &settings.host,
            size,
        };
        name.text()
    }

    /// Reports what failed, removes what was written for nothing, and learns which maildirs are durable.
    fn conclude(&mut self, plan: &Plan<'_>, results: &Results, deliveries: &[MaildirDelivery]) {
        let settings = &self.settings;
        if results.any_failed() {
            report_failures(&*settings.surroundings.report, &settings.root, plan, results);
            let undo = plan::undo(plan, results);
            let undone = self.executor.run(&undo);
            report_failures(&*settings.surroundings.report, &settings.root, &undo, &undone);
        }
        self.doubt(plan, results, deliveries);
        self.note_troubles(plan, results, deliveries);
        if self.known.len() + 2 * deliveries.len() > MAILDIRS_KNOWN_MAX {
            self.known.clear();
        }
        for delivery in deliveries {
            match results.error(delivery.message) {
                Some(error) if is_gone(error) => {
                    self.known.remove(&delivery.maildir);
                    self.known.remove(&junk_of(&delivery.maildir));
                }
                Some(_) => {}
                None => {
                    self.known.extend(delivery.may_make.then(|| Rc::clone(&delivery.maildir)));
                    self.known.extend(delivery.is_junk.then(|| junk_of(&delivery.maildir)));
                }
            }
        }
    }

    /// Notes the maildirs that stand in the way of their own mail.
    fn note_troubles(&self, plan: &Plan<'_>, results: &Results, deliveries: &[MaildirDelivery]) {
        let failures = results.failures(plan).filter(|(_, error)| is_of_maildir(error));
        for (action, error) in failures {
            let place = action.path();
            // Its own files and folders, or a directory above it. Mail that cannot go into the folder for
            // suspicious mail goes elsewhere.
            let is_concerned = |maildir: &Directory| {
                (is_within(&place, maildir) || is_within(maildir, &place))
                    && !(is_within(&place, &junk_of(maildir)) && is_of_folder(error))
            };
            for delivery in deliveries.iter().filter(|delivery| is_concerned(&delivery.maildir)) {
                self.settings.troubles.note(&delivery.maildir, error);
            }
        }
    }

    /// Notes which directories may hold names of new maildirs that no later sync makes durable.
    fn doubt(&mut self, plan: &Plan<'_>, results: &Results, deliveries: &[MaildirDelivery]) {
        if !results.any_failed() {
            return;
        }
        let parents: BTreeSet<Directory> = deliveries
            .iter()
            .flat_map(|one| may_be_new(&self.known, &one.maildir, one.may_make, one.is_junk))
            .map(|(_, parent, _)| parent)
            .collect();
        for (action, error) in results.failures(plan) {
            match action {
                Action::SyncDirectory(directory)
                    if parents.contains(directory) && !is_from_opening(error) =>
                {
                    self.doubts.add(Rc::clone(directory));
                }
                Action::SyncFilesystem => self.doubts.add_all(),
                // None of them says anything about names that were made before.
                Action::SyncDirectory(_)
                | Action::MakeDirectory(_)
                | Action::PermitDirectory(..)
                | Action::Create(_)
                | Action::Permit(..)
                | Action::Open(_)
                | Action::Link(..)
                | Action::Reserve(..)
                | Action::Write(..)
                | Action::StartWriteback(_)
                | Action::AwaitWriteback(_)
                | Action::SyncFile(_)
                | Action::SyncFileWhole(_)
                | Action::Truncate(..)
                | Action::Close(_)
                | Action::Rename(..)
                | Action::Replace(..)
                | Action::Remove(_)
                | Action::ProbeJournal(_) => {}
            }
        }
    }
}

/// Whether the folder for suspicious mail stands in the way of this delivery.
fn is_obstructed(delivery: &MaildirDelivery, plan: &Plan<'_>, results: &Results) -> bool {
    let junk = junk_of(&delivery.maildir);
    results.failures(plan).any(|(action, error)| is_within(&action.path(), &junk) && is_of_folder(error))
}

/// Whether an error of an operation in a folder concerns that folder, and not the disk or a quota, which no
/// other folder of the maildir is free of.
fn is_of_folder(error: &io::Error) -> bool {
    is_gone(error) || is_of_maildir(error) && error.kind() != io::ErrorKind::QuotaExceeded
}

/// Whether a maildir, or a directory of it, may be gone or another one: what was known of it holds no more. A
/// write or sync that failed says nothing of that kind.
fn is_gone(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::CrossesDevices,
        io::ErrorKind::StaleNetworkFileHandle,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(libc::ELOOP)
}

/// Whether a directory could not even be opened to be synced: then nothing was tried, and nothing is in
/// doubt.
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

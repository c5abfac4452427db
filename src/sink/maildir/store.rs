//! The sink of one worker: which files a batch becomes, and what is made of their results.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::content::Common;
use super::doubt::Doubts;
use super::folders::{below, is_within, lineage};
use super::name::{FileName, Size};
use super::settings::MaildirSettings;
use super::stages::{MaildirDelivery, Stages};
use super::troubles::is_of_maildir;
use crate::buffer::NotWhole;
use crate::config::LineEndings;
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
    /// Maildirs whose directories and their entries are durable. `known.len() <= MAILDIRS_KNOWN_MAX`
    known: HashSet<Directory>,
    /// Directories whose sync failed: only maildirs that are known to be durable are used below them until
    /// that is settled.
    doubts: Doubts,
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
        let MaildirSettings { commit, permission, .. } = self.settings;
        let stages = Stages { commit, permission, known: &self.known };
        let plan = stages.plan(batch.len(), &deliveries, &commons);
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
    pub fn new(settings: MaildirSettings, executor: E) -> Self {
        let doubts = Doubts::new(settings.workers.fetch_add(1, Ordering::Relaxed));
        Self { executor, settings, known: HashSet::new(), doubts }
    }

    /// Settles the doubts about directories that this batch needs: for those where that failed, what mail
    /// gets below them.
    fn settle_doubts(&mut self, batch: &[Box<Message>]) -> HashMap<Directory, Outcome> {
        let mut needed = BTreeSet::new();
        if self.doubts.is_empty() {
            return HashMap::new();
        }
        for recipient in batch.iter().flat_map(|message| message.envelope.recipients()) {
            let Ok((maildir, may_make)) = self.settings.maildir_of(recipient) else { continue };
            let maildir = Directory::from(maildir);
            if !self.known.contains(&maildir) && may_make {
                let parents = lineage(&maildir).into_iter().map(|(_, parent, _)| parent);
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
        index: usize,
        common_index: usize,
        message: &Message,
        common: &Common<'_>,
        unsettled: &HashMap<Directory, Outcome>,
    ) -> Result<Vec<MaildirDelivery>, Outcome> {
        let mut deliveries = Vec::with_capacity(message.envelope.recipients().len());
        for Group { maildir, may_make, recipients } in self.by_maildir(message)? {
            if may_make
                && !self.known.contains(&maildir)
                && let Some(why) = lineage(&maildir).iter().find_map(|(_, parent, _)| unsettled.get(parent))
            {
                return Err(*why);
            }
            let head = common.head(&message.envelope, &recipients);
            let name = self.name(message, common.size(&head));
            let place = |folder, name| Rc::new(FilePath { directory: below(&maildir, folder), name });
            deliveries.push(MaildirDelivery {
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
    fn note_troubles(&self, plan: &Plan<'_>, results: &Results, deliveries: &[MaildirDelivery]) {
        let failures = results.failures(plan).filter(|(_, error)| is_of_maildir(error));
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
    fn doubt(&mut self, plan: &Plan<'_>, results: &Results, deliveries: &[MaildirDelivery]) {
        if !results.any_failed() {
            return;
        }
        let may_be_new =
            |delivery: &&MaildirDelivery| delivery.may_make && !self.known.contains(&delivery.maildir);
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
                | Action::Remove(_)
                | Action::ProbeJournal(_) => {}
            }
        }
    }
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

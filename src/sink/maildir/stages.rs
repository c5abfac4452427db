//! The plan by which the files of a batch become durable: stages, with a barrier between them.
//!
//! ```text
//!   file    make directories that may be new ║ sync their parents; create, write, sync and close every file
//!           ║ rename ║ sync `new`
//!   batch   make directories that may be new ║ create and write every file, begin to write it back
//!           ║ await that, close ║ rename ║ sync the file system
//!   twice   make directories that may be new ║ create, write and close every file ║ sync the file system
//!           ║ rename ║ sync `new`
//! ```
//!
//! (`║` is a barrier; see [`Commit`].) After each of these comes a last stage that probes the journal
//! ([`Action::ProbeJournal`]). All temporary files of all recipients of a message are durable, or written
//! back where that is as good, before the first one is renamed. So no name in `new` shows a part of one even
//! after a power cut. A rename never replaces.
//!
//! Where a mode and a group are configured, directories that may be new get theirs in a stage of their own
//! after all are made, and a file gets them right after it was created: before it has a name in `new`, and
//! before the sync that makes it durable.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::content::Common;
use super::file_system::Commit;
use super::folders::{Lineage, junk_of, lineage, lineage_of_junk};
use crate::sink::permission::Permission;
use crate::sink::plan::{Action, Directory, FilePath, Owners, Plan};

/// Directories that [`Commit::Twice`] syncs one by one; where it renamed into more, it syncs the file system
/// once more. A few syncs of directories write nothing of others.
const DIRECTORY_SYNCS_MAX: usize = 4;

/// Files of a batch that are open at a time, and under way to the disk.
const OPEN_FILES_MAX: usize = 128;

/// One file to be delivered.
pub(super) struct MaildirDelivery {
    /// Index in the batch.
    pub(super) message: usize,
    /// Index of what all files of the message have in common.
    pub(super) common: usize,
    /// Return-Path and Delivered-To.
    pub(super) head: Vec<u8>,
    /// The maildir it goes to.
    pub(super) maildir: Directory,
    /// Whether the maildir may be made.
    pub(super) may_make: bool,
    /// It goes into the folder for suspicious mail of the maildir.
    pub(super) is_junk: bool,
    /// Where it is written.
    pub(super) temporary: Rc<FilePath>,
    /// Where it is renamed to.
    pub(super) delivered: Rc<FilePath>,
}

/// The directories of one delivery that are not known to be durable and may be made. The folder for
/// suspicious mail may be made in every maildir that is there: one recipient can have no more than one.
pub(super) fn may_be_new(
    known: &HashSet<Directory>,
    maildir: &Directory,
    may_make: bool,
    is_junk: bool,
) -> Lineage {
    let mut directories = Lineage::new();
    if may_make && !known.contains(maildir) {
        directories.extend(lineage(maildir));
    }
    if is_junk && !known.contains(&junk_of(maildir)) {
        directories.extend(lineage_of_junk(maildir));
    }
    directories
}

/// What decides which stages there are.
#[derive(Clone, Copy)]
pub(super) struct Stages<'s> {
    /// How files become durable.
    pub(super) commit: Commit,
    /// What files get, if it is configured.
    pub(super) permission: Option<Permission>,
    /// Maildirs, and folders for suspicious mail, whose directories and their entries are durable.
    pub(super) known: &'s HashSet<Directory>,
}

impl Stages<'_> {
    /// The plan for a batch of so many messages, whose files have these octets in common.
    pub(super) fn plan<'a>(
        self,
        messages: usize,
        deliveries: &'a [MaildirDelivery],
        commons: &'a [Common<'_>],
    ) -> Plan<'a> {
        let mut plan = Plan::new(messages);
        if deliveries.is_empty() {
            return plan;
        }
        self.directories(&mut plan, deliveries);
        self.files(&mut plan, deliveries, commons);
        let all = || Owners::Many(planned(deliveries));
        if self.commit == Commit::Twice {
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
        let by_directory = match self.commit {
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
            if self.commit == Commit::Twice {
                // Without a journal ext4 flushes the disk's cache before the names have been written; a sync
                // of any directory flushes it again.
                plan.barrier();
                plan.push(all(), Action::SyncDirectory(Rc::from("")));
            }
        }
        plan.barrier();
        if self.commit == Commit::File {
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
    fn files<'a>(self, plan: &mut Plan<'a>, deliveries: &'a [MaildirDelivery], commons: &'a [Common<'_>]) {
        for some in deliveries.chunks(OPEN_FILES_MAX) {
            for delivery in some {
                let common = &commons[delivery.common];
                let mut slices = vec![delivery.head.as_slice()];
                common.push_slices(&mut slices);
                let file = || Rc::clone(&delivery.temporary);
                let owner = || Owners::One(delivery.message);
                plan.push(owner(), Action::Create(file()));
                if let Some(permission) = self.permission {
                    plan.push(owner(), Action::Permit(file(), permission));
                }
                plan.push(owner(), Action::Write(file(), 0, slices));
                match self.commit {
                    Commit::File if self.permission.is_some() => {
                        plan.push(owner(), Action::SyncFileWhole(file()));
                    }
                    Commit::File => plan.push(owner(), Action::SyncFile(file())),
                    Commit::Batch => {
                        plan.push(owner(), Action::StartWriteback(file()));
                        continue;
                    }
                    Commit::Twice => {}
                }
                plan.push(owner(), Action::Close(file()));
            }
            if self.commit == Commit::Batch {
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

    /// Directories of maildirs that are not known to be durable: made where they are missing, and their
    /// entries synced even where they are there, because whoever made them may have been cut short before the
    /// sync. The sync of a batch covers them.
    fn directories(self, plan: &mut Plan<'_>, deliveries: &[MaildirDelivery]) {
        let mut levels: Vec<BTreeMap<Directory, Vec<usize>>> = Vec::new();
        let mut parents: BTreeMap<Directory, Vec<usize>> = BTreeMap::new();
        for MaildirDelivery { message, maildir, may_make, is_junk, .. } in deliveries {
            for (depth, parent, directory) in may_be_new(self.known, maildir, *may_make, *is_junk) {
                if levels.len() <= depth {
                    levels.resize_with(depth + 1, BTreeMap::new);
                }
                levels[depth].entry(directory).or_default().push(*message);
                parents.entry(parent).or_default().push(*message);
            }
        }
        for level in &levels {
            for (directory, owners) in level {
                plan.push(Owners::Many(owners.clone()), Action::MakeDirectory(Rc::clone(directory)));
            }
            plan.barrier();
        }
        if let Some(permission) = self.permission.map(Permission::of_directories) {
            for (directory, owners) in levels.into_iter().flatten() {
                let action = Action::PermitDirectory(Rc::clone(&directory), permission);
                plan.push(Owners::Many(owners.clone()), action);
                // `new` is synced after the renames.
                if directory.rsplit('/').next() != Some("new") {
                    parents.entry(directory).or_insert(owners);
                }
            }
            plan.barrier();
        }
        if self.commit != Commit::File {
            return;
        }
        for (directory, owners) in parents {
            plan.push(Owners::Many(owners), Action::SyncDirectory(directory));
        }
    }
}

/// The messages that have a file, each once.
fn planned(deliveries: &[MaildirDelivery]) -> Vec<usize> {
    let mut messages: Vec<usize> = deliveries.iter().map(|delivery| delivery.message).collect();
    // Those of one message lie side by side.
    messages.dedup();
    messages
}

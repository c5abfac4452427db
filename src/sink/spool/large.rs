//! Large messages: the spill file of one gets a name beside the segments and holds all its mail data; the record names it and
//! holds only what we put in front.
//!
//! ```text
//!   link s-o.message │ write what was still in memory │ sync it     (each file of the batch)
//!   sync directory
//!   probe the journal
//!   write the batch, sync the segment
//! ```
//!
//! Each line waits for the one before, so the file and its name are durable before a record that names it can be. A power cut in
//! between leaves a file that no record names; the next start removes it where that is certain, or else recycling does. The file
//! is synced behind the link, not before: Btrfs does not write back files that have no name.

use std::path::Path;
use std::rc::Rc;

use super::format::PREPARED_SUFFIX;
use super::message_file::{MessageFile, message_file_name};
use super::supply::place;
use crate::handoff::message::Message;
use crate::sink::executor::Executor;
use crate::sink::plan::{Action, Directory, Owners, Plan};
use crate::sink::spill;

/// What a record tells of the file of its message; none when all of the message goes into the record.
pub(super) fn facts(message: &Message) -> Option<MessageFile> {
    let file = message.data.spill_file()?;
    let crc32c = message.data.pieces_behind_file().fold(file.crc32c(), crc32c::crc32c_append);
    Some(MessageFile { bytes: message.data.bytes(), crc32c })
}

/// The content that goes into the record.
pub(super) fn inline(message: &Message) -> impl Iterator<Item = &[u8]> {
    let data = message.data.spill_file().is_none().then(|| message.data.pieces());
    std::iter::once(message.received.as_slice()).chain(data.into_iter().flatten())
}

/// Octets of the content that goes into the record.
pub(super) fn inline_bytes(message: &Message) -> u64 {
    let data = if message.data.spill_file().is_some() { 0 } else { message.data.bytes() };
    message.received.len() as u64 + data
}

/// Makes the files of these messages durable, with their names: those of records in this segment at these offsets. A failure
/// fails the whole batch, for nothing of it is written then.
pub(super) fn plan_files<'a>(
    plan: &mut Plan<'a>,
    owners: &Owners,
    sequence: u64,
    messages: impl Iterator<Item = (&'a Message, u64)>,
) {
    let mut directory: Option<Directory> = None;
    for (message, offset) in messages {
        let Some(spilled) = message.data.spill_file() else { continue };
        let file = place(message_file_name(sequence, offset));
        let mut push = |action| plan.push(owners.clone(), action);
        push(Action::Link(spilled.file(), Rc::clone(&file)));
        let rest: Vec<&[u8]> = message.data.pieces_behind_file().collect();
        if !rest.is_empty() {
            push(Action::Write(Rc::clone(&file), spilled.bytes(), rest));
        }
        push(Action::SyncFile(Rc::clone(&file)));
        push(Action::Close(Rc::clone(&file)));
        directory = Some(Rc::clone(&file.directory));
    }
    if let Some(directory) = directory {
        plan.barrier();
        plan.push(owners.clone(), Action::SyncDirectory(Rc::clone(&directory)));
        plan.barrier();
        plan.push(owners.clone(), Action::ProbeJournal(directory));
        plan.barrier();
    }
}

/// Whether spill files in this directory can get a name there: tried out, for it depends on the file system, the kernel and `/proc`.
pub(super) fn can_link(directory: &Path, executor: &mut dyn Executor) -> bool {
    let Ok(file) = spill::open(directory) else { return false };
    // A name that every start removes, should this one end here.
    let name = place(format!("{:016x}{PREPARED_SUFFIX}", u64::MAX));
    let mut plan = Plan::new(1);
    plan.push(Owners::One(0), Action::Link(&file, Rc::clone(&name)));
    plan.push(Owners::One(0), Action::Remove(name));
    !executor.run(&plan).any_failed()
}

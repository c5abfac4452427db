//! Large messages: the spill file of one gets a name beside the segments and holds all its mail data; the
//! record names it and holds only what we put in front.
//!
//! ```text
//!   link s-o.message │ write what was still in memory │ sync it     (each file of the batch)
//!   sync directory
//!   probe the journal
//!   write the batch, sync the segment
//! ```
//!
//! Each line waits for the one before, so the file and its name are durable before a record that names it can
//! be. A power cut in between leaves a file that no record names; the next start removes it where that is
//! certain, or else recycling does. The file is synced after the link, not before: Btrfs does not write back
//! files that have no name.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use super::format::PREPARED_SUFFIX;
use super::message_file::MessageFile;
use super::open_segment::OpenSegment;
use crate::buffer::{NotWhole, Spilled, Whole};
use crate::handoff::message::Message;
use crate::sink::executor::Executor;
use crate::sink::plan::{Action, Directory, FilePath, Owners, Plan};
use crate::sink::spill_file;

/// The mail data of a message, by where it goes.
#[derive(Clone, Copy)]
enum Data<'a> {
    /// Into the record.
    Record(Whole<'a>),
    /// Into a file of its own, which is its spill file.
    File(Spilled<'a>),
    /// Into a file of its own: this one, which is whole and gets one more name.
    Linked(&'a File, u64),
    /// Into a file of its own, which has its name already and is synced.
    Made(u64),
    /// There is none besides what is in front.
    Nothing,
}

/// The content of a message: what we put in front, and its mail data.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    received: &'a [u8],
    data: Data<'a>,
}

impl<'a> Content<'a> {
    /// Of this message. An error where its mail data cannot be read from its beginning on.
    pub(super) fn of(message: &'a Message) -> Result<Self, NotWhole> {
        let data = match message.data.spilled() {
            Some(spilled) => Data::File(spilled),
            None => Data::Record(message.data.whole()?),
        };
        Ok(Self { received: &message.received, data })
    }

    /// Of a record as it lies somewhere else: what is in the record, and how its file comes here.
    pub(super) fn of_record(inline: &'a [u8], file: Option<RecordFile<'a>>) -> Self {
        let data = match file {
            None => Data::Nothing,
            Some(RecordFile::Linked(file, bytes)) => Data::Linked(file, bytes),
            Some(RecordFile::Made(bytes)) => Data::Made(bytes),
        };
        Self { received: inline, data }
    }

    /// What goes into the record.
    pub(super) fn inline(self) -> impl Iterator<Item = &'a [u8]> {
        let data = match self.data {
            Data::Record(whole) => Some(whole.pieces()),
            Data::File(_) | Data::Linked(..) | Data::Made(_) | Data::Nothing => None,
        };
        std::iter::once(self.received).chain(data.into_iter().flatten())
    }

    /// How many octets go into the record.
    pub(super) fn inline_bytes(self) -> u64 {
        let data = match self.data {
            Data::Record(whole) => whole.bytes(),
            Data::File(_) | Data::Linked(..) | Data::Made(_) | Data::Nothing => 0,
        };
        self.received.len() as u64 + data
    }

    /// How many octets go into a file of its own.
    pub(super) fn file_bytes(self) -> u64 {
        match self.data {
            Data::Record(_) | Data::Nothing => 0,
            Data::File(spilled) => spilled.bytes(),
            Data::Linked(_, bytes) | Data::Made(bytes) => bytes,
        }
    }
}

/// How the file of a record comes to its place.
#[derive(Clone, Copy)]
pub(super) enum RecordFile<'a> {
    /// This file, of so many octets, gets one more name.
    Linked(&'a File, u64),
    /// It was made there, and synced; its name is not durable.
    Made(u64),
}

/// What a record tells of the file of its message; none when all of the message goes into the record.
pub(super) fn facts(message: &Message) -> Option<MessageFile> {
    let spilled = message.data.spilled()?;
    let crc32c = spilled.rest().fold(spilled.file().crc32c(), crc32c::crc32c_append);
    Some(MessageFile { bytes: spilled.bytes(), crc32c })
}

/// Makes the files of these records of a segment, each at its offset, durable with their names. A failure
/// fails the whole batch, because nothing of it is written then.
pub(super) fn plan_files<'a>(
    plan: &mut Plan<'a>,
    owners: &Owners,
    segment: &OpenSegment,
    contents: impl Iterator<Item = (Content<'a>, u64)>,
) {
    let mut directory: Option<Directory> = None;
    for (content, offset) in contents {
        let file = segment.message_file(offset);
        let (source, written, rest) = match content.data {
            Data::Record(_) | Data::Nothing => continue,
            Data::Made(_) => {
                directory = Some(Rc::clone(&file.directory));
                continue;
            }
            Data::Linked(source, bytes) => (source, bytes, Vec::new()),
            Data::File(spilled) => {
                (spilled.file().file(), spilled.file().bytes(), spilled.rest().collect::<Vec<&[u8]>>())
            }
        };
        let mut push = |action| plan.push(owners.clone(), action);
        push(Action::Link(source, Rc::clone(&file)));
        if !rest.is_empty() {
            push(Action::Write(Rc::clone(&file), written, rest));
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

/// Whether spill files in this directory can get a name there: tried out, because it depends on the file
/// system, the kernel and `/proc`.
pub(super) fn can_link(directory: &Path, executor: &mut dyn Executor) -> bool {
    let Ok(file) = spill_file::open(directory) else { return false };
    // A name that every start removes, should this one end here.
    let name = FilePath::in_root(format!("{:016x}{PREPARED_SUFFIX}", u64::MAX));
    let mut plan = Plan::new(1);
    plan.push(Owners::One(0), Action::Link(&file, Rc::clone(&name)));
    plan.push(Owners::One(0), Action::Remove(name));
    !executor.run(&plan).any_failed()
}

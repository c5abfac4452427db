//! What a disk holds, looked at by no code of the keeper's but its reading of the journal; and a disk that
//! holds it.

use std::collections::BTreeSet;
use std::rc::Rc;

use ringmx::forward::keep::Place;
use ringmx::sink::executor::Executor;
use ringmx::sink::executor::simulated::{Image, Simulated};
use ringmx::sink::plan::{Action, FilePath, Owners, Plan};
use ringmx::sink::spool::cursor::Cursor;
use ringmx::sink::spool::envelope::{self, StoredEnvelope};
use ringmx::sink::spool::scan;

/// Envelope and content of the record at a place; none where it is not there, whole.
pub fn record(image: &Image, place: Place) -> Option<(StoredEnvelope, Vec<u8>)> {
    let cursor = place.cursor();
    let below = |name: String| match place.directory() {
        "" => name,
        directory => format!("{directory}/{name}"),
    };
    let segment = image.get(&below(cursor.segment_name()))?;
    let found = scan::scan(segment.as_slice()).expect("memory").ok()?;
    let record = found.records.iter().find(|record| record.offset == cursor.offset)?;
    let at = |offset| usize::try_from(offset).expect("small");
    let (start, end) = (at(record.content_start()), at(record.content_start() + record.content_bytes));
    let stored = envelope::decode(&segment[at(record.envelope_start())..start]).expect("readable");
    let mut content = segment[start..end].to_vec();
    if let Some(facts) = stored.file {
        let file = image.get(&below(envelope::message_file_name(cursor.sequence, cursor.offset)))?;
        if file.len() as u64 != facts.bytes || crc32c::crc32c(file) != facts.crc32c {
            return None;
        }
        content.extend_from_slice(file);
    }
    Some((stored, content))
}

/// The cursors of the log, in order.
pub fn log(image: &Image) -> Vec<Cursor> {
    let mut cursors = Vec::new();
    for (name, octets) in image.iter().filter(|(name, _)| name.ends_with(".segment") && !name.contains('/')) {
        let Ok(found) = scan::scan(octets.as_slice()).expect("memory") else { panic!("{name} is damaged") };
        let sequence = found.segment.sequence;
        cursors.extend(found.records.iter().map(|record| Cursor { sequence, offset: record.offset }));
    }
    cursors
}

/// A disk that holds this, all of it durable.
pub fn disk_of(image: &Image, seed: u64) -> Simulated {
    let mut disk = Simulated::new(seed);
    let mut directories = BTreeSet::new();
    for path in image.keys() {
        let mut directory = path.as_str();
        while let Some((parent, _)) = directory.rsplit_once('/') {
            directories.insert(parent);
            directory = parent;
        }
    }
    let mut plan = Plan::new(1);
    let mut push = |action| plan.push(Owners::One(0), action);
    for directory in &directories {
        push(Action::MakeDirectory(Rc::from(*directory)));
    }
    let results = disk.run(&ordered(&plan));
    assert!(!results.any_failed(), "{results:?}");
    let mut plan = Plan::new(1);
    for (path, octets) in image {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let file = Rc::new(FilePath { directory: Rc::from(directory), name: name.to_owned() });
        for action in [
            Action::Create(Rc::clone(&file)),
            Action::Write(Rc::clone(&file), 0, vec![octets]),
            Action::SyncFile(Rc::clone(&file)),
            Action::Close(Rc::clone(&file)),
        ] {
            plan.push(Owners::One(0), action);
        }
    }
    plan.barrier();
    plan.push(Owners::One(0), Action::SyncFilesystem);
    let results = disk.run(&plan);
    assert!(!results.any_failed(), "{results:?}");
    disk
}

/// The same with a barrier after each operation.
fn ordered<'a>(plan: &Plan<'a>) -> Plan<'a> {
    let mut ordered = Plan::new(1);
    for operation in plan.operations() {
        ordered.push(Owners::One(0), operation.action.clone());
        ordered.barrier();
    }
    ordered
}

//! Begins anew where the journal cannot be believed: everything that lies in `later/` waits again, for all
//! its recipients. Some mail is delivered twice, and none is lost.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::change::NOTICES;
use super::entry::{Entry, Wait, Why};
use super::files::Files;
use super::keeper::Keeper;
use super::opening::{begin, make_directories};
use super::place::Place;
use super::recipients::Recipients;
use super::replay::{Replayed, published};
use super::settings::Settings;
use super::state::State;
use super::store::damaged_name;
use super::writer::{Disk, stages};
use super::{DEAD, FORWARD, JOURNAL, LATER};
use crate::sink::Report;
use crate::sink::executor::Executor;
use crate::sink::plan::{Action, FilePath};
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope;
use crate::sink::spool::format::{segment_name, segment_sequence};
use crate::sink::spool::scan::scan;
use crate::timestamp;

/// The name that the journal is kept under.
const DAMAGED: &str = "journal.damaged";

/// Reads what is in `later/` and `dead/`, puts the journal aside as `journal.damaged`, and opens the keeper.
/// The log is delivered from `consumed` on. Notes tell what cannot be read. A segment of which nothing can be
/// read is put aside under its name with `.damaged` after it, and nobody removes that.
pub fn rebuild(
    executor: Box<dyn Executor>,
    files: Box<dyn Files>,
    settings: Settings,
    report: Arc<dyn Report>,
) -> io::Result<Keeper> {
    let published = published(&*files)?;
    let mut state = State::new(published);
    let mut unreadable = Vec::new();
    for (directory, is_dead) in [(LATER, false), (DEAD, true)] {
        for (name, _) in files.names(directory)? {
            let Some(sequence) = segment_sequence(&name) else { continue };
            if !take_segment(&*files, directory, sequence, is_dead, &mut state, &*report)? {
                let file = |name| Rc::new(FilePath { directory: Rc::from(directory), name });
                unreadable.push(vec![Action::Rename(file(name), file(damaged_name(sequence)))]);
            }
        }
    }
    let root = files.root();
    let mut disk = Disk::new(executor, report, root);
    make_directories(&mut disk)?;
    disk.run(&stages(unreadable))?;
    if files.names(FORWARD)?.iter().any(|(name, _)| name == JOURNAL) {
        let file = |name: &str| Rc::new(FilePath { directory: Rc::from(FORWARD), name: name.to_owned() });
        disk.run(&stages([vec![Action::Replace(file(JOURNAL), file(DAMAGED))]]))?;
    }
    begin(disk, files, settings, Replayed { state, published })
}

/// Takes the records of a segment in. False where there is none that can be read.
fn take_segment(
    files: &dyn Files,
    directory: &str,
    sequence: u64,
    is_dead: bool,
    state: &mut State,
    report: &dyn Report,
) -> io::Result<bool> {
    let name = segment_name(sequence);
    let file = files.open(directory, &name)?;
    let found = scan(&file)?.ok().filter(|found| found.segment.sequence == sequence);
    let Some(found) = found else {
        report.note(&format!(
            "{directory}/{name}: its header is damaged; it is kept as {}",
            damaged_name(sequence)
        ));
        return Ok(false);
    };
    for gap in &found.gaps {
        report
            .note(&format!("{directory}/{name}: DAMAGE from octet {} to {}: passed over", gap.from, gap.to));
    }
    for record in &found.records {
        let octets = file.read_exact_at(record.envelope_start(), record.envelope_bytes as usize)?;
        let (recipients, received_at, destination) = match envelope::decode(&octets) {
            Ok(stored) => {
                let count = u32::try_from(stored.envelope.recipients().count()).unwrap_or(u32::MAX);
                let seconds = timestamp::micros(stored.received_at) / 1_000_000;
                // A notice has no route.
                let destination = if stored.protocol == envelope::OWN_PROTOCOL { NOTICES } else { "" };
                (Recipients::first(count.max(1)), u32::try_from(seconds).unwrap_or(u32::MAX), destination)
            }
            // Somebody's all the same.
            Err(_) => (Recipients::first(1), 0, ""),
        };
        let at = Cursor { sequence, offset: record.offset };
        let octets = record.frame_bytes + envelope::file_of(&octets).map_or(0, |file| file.bytes);
        state.apply(&if is_dead {
            let (from, why, reply) = (Place::Dead(at), Why::Operator, String::new());
            Entry::Dead { from, at, octets, recipients, died_at: received_at, why, reply }
        } else {
            let wait = Wait { destination: destination.to_owned(), received_at, ..Wait::default() };
            Entry::Later { from: Place::Later(at), to: at, octets, recipients, wait }
        });
    }
    // One without any record was made, and nothing was written to it.
    Ok(!found.records.is_empty() || found.gaps.is_empty())
}

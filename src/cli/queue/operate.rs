//! What changes a queue: which messages are meant is read from the disk, and the running forwarder is asked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::super::control::{self, Unanswered};
use super::super::output::{print, print_each};
use crate::forward::keep::{self, Folder, Listed, Place, Waiting};
use crate::forward::operations::{Chosen, Done, Operation, Target};
use crate::server::control_socket;
use crate::sink::spool::cursor::Cursor;

/// Places in a command: they fit its line.
const PLACES_MAX: usize = 1000;

/// A message that was busy is asked for again so often, after so long each.
const BUSY_TIMES_MAX: usize = 10;
const BUSY_WAIT: Duration = Duration::from_millis(300);

/// A command is answered when the disk has what it changes.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// Who only looks does not wait for a forwarder that stands still.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Which of the messages that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Which {
    /// Queue ids, as `ringmx queue list` shows them; of a message that cannot be read its place in the spool.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that waits for this destination, as `ringmx queue summary` names it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["ids", "all"])]
    destination: Option<String>,
    /// All that waits.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// What to do with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Retry,
    Hold,
    Release,
    Remove,
}

impl Verb {
    fn operation(self, places: Vec<Place>, destination: Option<&String>) -> Operation {
        let chosen = |places| Chosen { places, destination: destination.cloned() };
        match self {
            Self::Retry => Operation::Retry(Target::Places(places)),
            Self::Hold => Operation::Hold(chosen(places)),
            Self::Release => Operation::Release(chosen(places)),
            Self::Remove => Operation::Remove(chosen(places)),
        }
    }

    fn done(self, count: u64) -> String {
        match (self, count) {
            (Self::Retry | Self::Release, 1) => "1 message is tried now".to_owned(),
            (Self::Retry | Self::Release, _) => format!("{count} messages are tried now"),
            (Self::Hold, 1) => "1 message is held".to_owned(),
            (Self::Hold, _) => format!("{count} messages are held"),
            (Self::Remove, 1) => "1 message is removed".to_owned(),
            (Self::Remove, _) => format!("{count} messages are removed"),
        }
    }

    /// Whether it concerns a message in this state, where it was not named by its id.
    fn concerns(self, state: &str) -> bool {
        match self {
            // Only somebody who names it means it.
            _ if state == UNREADABLE => false,
            Self::Retry | Self::Hold => state != "held",
            Self::Release => state == "held",
            Self::Remove => true,
        }
    }
}

/// The state of a message of the spool that cannot be read.
const UNREADABLE: &str = "unreadable";

/// What a line says of its state.
pub(super) fn state_of(waiting: &Waiting) -> &'static str {
    match (waiting.place, waiting.wait.held) {
        (Place::Log(_), _) => UNREADABLE,
        (Place::Dead(_), _) => "dead",
        (Place::Later(_), true) => "held",
        (Place::Later(_), false) => "waiting",
    }
}

/// Hands on what waits and what was given up, then what cannot be read, as the forwarder says if it runs.
pub(super) fn list(spool: &Path, mut visit: impl FnMut(Listed) -> io::Result<()>) -> io::Result<()> {
    let files = Folder(spool.to_owned());
    keep::list(&files, &mut visit)?;
    let unreadable = unreadable(spool);
    if unreadable.is_empty() {
        return Ok(());
    }
    let state = keep::look(&files)?;
    unreadable.into_iter().try_for_each(|(at, why)| visit(keep::listed_unreadable(&files, &state, at, why)))
}

/// The messages of the spool that cannot be read, and why; none where no forwarder runs.
pub(super) fn unreadable(spool: &Path) -> Vec<(Cursor, String)> {
    match ask(spool, &Operation::Unreadable, LOOK_WAIT_MAX) {
        Ok(done) => done.failed.into_iter().map(|(place, why)| (place.cursor(), why)).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            print_each("ringmx: ", &[format!("what cannot be read is not shown: {error}")]);
            Vec::new()
        }
    }
}

/// Does it with these messages: those that wait, or those that were given up. False where it was not done for
/// all that were named.
pub(super) fn messages(spool: &Path, verb: Verb, which: &Which, of_dead: bool) -> io::Result<bool> {
    if which.ids.is_empty() && which.destination.is_none() && !which.all {
        let ways =
            if of_dead { "name queue ids, or --all" } else { "name queue ids, --destination NAME, or --all" };
        return Err(io::Error::other(ways));
    }
    if verb == Verb::Retry && which.ids.is_empty() && !of_dead {
        let target = which.destination.clone().map_or(Target::All, Target::Destination);
        let done = ask(spool, &Operation::Retry(target), WAIT_MAX)?;
        print(&format!("{}\n", verb.done(done.count)));
        return Ok(true);
    }
    let found = find(spool, verb, which, of_dead)?;
    let mut is_good = true;
    for id in &which.ids {
        if !found.values().any(|one| one.id == *id) {
            is_good = false;
            let where_to_look = if of_dead { "was given up" } else { "waits" };
            print_each(
                "ringmx: ",
                &[format!("{id}: no such message {where_to_look}; `ringmx queue list` shows all")],
            );
        }
    }
    let places: Vec<Place> = found.keys().copied().collect();
    let (mut count, mut broken) = (0, None);
    for places in places.chunks(PLACES_MAX) {
        let mut failed = Vec::new();
        broken = ask_for(spool, verb, places.to_vec(), which.destination.as_ref(), (&mut count, &mut failed))
            .err();
        is_good &= failed.is_empty();
        for (place, why) in &failed {
            let id = found.get(place).map_or("a message", |one| one.id.as_str());
            print_each("ringmx: ", &[format!("{id}: {why}")]);
        }
        if broken.is_some() {
            break;
        }
        if verb == Verb::Remove {
            let is_removed = |place: &Place| !failed.iter().any(|(one, _)| one == place);
            let losses = places.iter().filter(|place| is_removed(place)).filter_map(|place| found.get(place));
            print(&losses.map(|one| one.loss.as_str()).collect::<String>());
        }
    }
    // What was done was done, whatever came after it.
    print(&format!("{}\n", verb.done(count)));
    broken.map_or(Ok(is_good), Err)
}

/// Asks until none of them is busy, or for the last time. Counts those for whom it was done, and names the
/// others, also where an error comes after them.
fn ask_for(
    spool: &Path,
    verb: Verb,
    mut places: Vec<Place>,
    destination: Option<&String>,
    (count, failed): (&mut u64, &mut Vec<(Place, String)>),
) -> io::Result<()> {
    for time in 1..=BUSY_TIMES_MAX {
        let done = ask(spool, &verb.operation(places, destination), WAIT_MAX)?;
        *count += done.count;
        let is_busy = |why: &str| time < BUSY_TIMES_MAX && why.ends_with("ask again");
        let (busy, others): (Vec<_>, Vec<_>) = done.failed.into_iter().partition(|(_, why)| is_busy(why));
        failed.extend(others);
        if busy.is_empty() {
            break;
        }
        places = busy.into_iter().map(|(place, _)| place).collect();
        std::thread::sleep(BUSY_WAIT);
    }
    Ok(())
}

/// A message that is meant.
struct Found {
    /// Its name, as the operator has it.
    id: String,
    /// What its removal takes away, as a line; empty where the list has told it.
    loss: String,
}

/// Where they are.
fn find(spool: &Path, verb: Verb, which: &Which, of_dead: bool) -> io::Result<BTreeMap<Place, Found>> {
    let mut found = BTreeMap::new();
    list(spool, |listed| {
        let waiting = &listed.waiting;
        if matches!(waiting.place, Place::Dead(_)) != of_dead {
            return Ok(());
        }
        let place = waiting.place.to_string();
        let id = match &listed.envelope {
            // What cannot be read has two names.
            Ok(known) if !which.ids.contains(&place) => known.id.to_string(),
            Ok(_) | Err(_) => place,
        };
        let is_meant = match &which.destination {
            _ if which.ids.contains(&id) => true,
            _ if !which.ids.is_empty() => false,
            Some(name) => *name == waiting.wait.destination && verb.concerns(state_of(waiting)),
            None => verb.concerns(state_of(waiting)),
        };
        if is_meant {
            let loss = match waiting.place {
                Place::Log(_) => loss(&listed),
                Place::Later(_) | Place::Dead(_) => String::new(),
            };
            found.insert(waiting.place, Found { id, loss });
        }
        Ok(())
    })?;
    Ok(found)
}

/// What is lost with a message that cannot be read, as a line.
fn loss(listed: &Listed) -> String {
    let (place, octets) = (listed.waiting.place, listed.content_bytes);
    let Ok(stored) = &listed.envelope else {
        return format!("{place} is lost for its recipients; who they are, and its sender, cannot be read\n");
    };
    let mut line = format!("{place} ({}, {octets} octets) is lost: from <", stored.id);
    let _ = write!(line, "{}> to ", stored.envelope.reverse_path().escape_ascii());
    for (index, recipient) in listed.recipients().enumerate() {
        let _ = write!(line, "{}<{}>", if index == 0 { "" } else { "," }, recipient.escape_ascii());
    }
    line + "\n"
}

/// Suspends or resumes a destination, or a next hop.
pub(super) fn next_hops(spool: &Path, operation: &Operation) -> io::Result<bool> {
    let done = ask(spool, operation, WAIT_MAX)?;
    let hops = if done.count == 1 { "1 next hop".to_owned() } else { format!("{} next hops", done.count) };
    let said = match operation {
        Operation::Suspend(_) => format!("no mail goes to {hops} until `ringmx queue resume`\n"),
        _ => format!("mail goes to {hops} again\n"),
    };
    print(&said);
    Ok(true)
}

fn ask(spool: &Path, operation: &Operation, wait: Duration) -> io::Result<Done> {
    let socket = control_socket(spool);
    let answer = control::ask(&socket, &operation.to_string(), wait).map_err(|unanswered| {
        let Unanswered { text, kind } = unanswered;
        match kind {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                let spool = spool.display();
                let text = format!(
                    "no forwarder runs with the spool {spool}: start it (`ringmx forward FILE`), and ask again"
                );
                io::Error::new(ErrorKind::NotFound, text)
            }
            _ => io::Error::other(text),
        }
    })?;
    if !answer.is_good {
        return Err(io::Error::other(answer.text.trim_end().to_owned()));
    }
    Done::parse(&answer.text).ok_or_else(|| {
        io::Error::other("the forwarder answers something else: is it of another version?".to_owned())
    })
}

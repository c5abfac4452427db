//! What changes a queue: which messages are meant is read from the disk, and the running forwarder is asked.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::super::control::{self, Unanswered};
use super::super::output::{print, print_each};
use crate::forward::keep::{self, Folder, Place, Waiting};
use crate::forward::operations::{Chosen, Done, Operation, Target};
use crate::server::control_socket;

/// Places in a command: they fit its line.
const PLACES_MAX: usize = 1000;

/// A message that was busy is asked for again so often, after so long each.
const BUSY_TIMES_MAX: usize = 10;
const BUSY_WAIT: Duration = Duration::from_millis(300);

/// A command is answered when the disk has what it changes.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// Which of the messages that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Which {
    /// Queue ids, as `ringmx queue list` shows them.
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
            Self::Retry | Self::Hold => state != "held",
            Self::Release => state == "held",
            Self::Remove => true,
        }
    }
}

/// What a line says of its state.
pub(super) fn state_of(waiting: &Waiting) -> &'static str {
    match (waiting.place, waiting.wait.held) {
        (Place::Dead(_), _) => "dead",
        (_, true) => "held",
        (Place::Log(_) | Place::Later(_), false) => "waiting",
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
        let done = ask(spool, &Operation::Retry(target))?;
        print(&format!("{}\n", verb.done(done.count)));
        return Ok(true);
    }
    let found = find(spool, verb, which, of_dead)?;
    let mut is_good = true;
    for id in &which.ids {
        if !found.values().any(|known| known == id) {
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
        for (place, why) in failed {
            let id = found.get(&place).map_or("a message", String::as_str);
            print_each("ringmx: ", &[format!("{id}: {why}")]);
        }
        if broken.is_some() {
            break;
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
        let done = ask(spool, &verb.operation(places, destination))?;
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

/// Where they are, and their ids.
fn find(spool: &Path, verb: Verb, which: &Which, of_dead: bool) -> io::Result<BTreeMap<Place, String>> {
    let mut found = BTreeMap::new();
    keep::list(&Folder(spool.to_owned()), |listed| {
        let waiting = &listed.waiting;
        if matches!(waiting.place, Place::Dead(_)) != of_dead {
            return Ok(());
        }
        let id =
            listed.envelope.as_ref().map_or_else(|_| waiting.place.to_string(), |known| known.id.to_string());
        let is_meant = match &which.destination {
            _ if which.ids.contains(&id) => true,
            _ if !which.ids.is_empty() => false,
            Some(name) => *name == waiting.wait.destination && verb.concerns(state_of(waiting)),
            None => verb.concerns(state_of(waiting)),
        };
        if is_meant {
            found.insert(waiting.place, id);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Suspends or resumes a destination, or a next hop.
pub(super) fn next_hops(spool: &Path, operation: &Operation) -> io::Result<bool> {
    let done = ask(spool, operation)?;
    let hops = if done.count == 1 { "1 next hop".to_owned() } else { format!("{} next hops", done.count) };
    let said = match operation {
        Operation::Suspend(_) => format!("no mail goes to {hops} until `ringmx queue resume`\n"),
        _ => format!("mail goes to {hops} again\n"),
    };
    print(&said);
    Ok(true)
}

fn ask(spool: &Path, operation: &Operation) -> io::Result<Done> {
    let socket = control_socket(spool);
    let answer = control::ask(&socket, &operation.to_string(), WAIT_MAX).map_err(|unanswered| {
        let Unanswered { text, kind } = unanswered;
        let text = match kind {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                "no forwarder runs with the spool {}: start it (`ringmx forward FILE`), and ask again",
                spool.display()
            ),
            _ => text,
        };
        io::Error::other(text)
    })?;
    if !answer.is_good {
        return Err(io::Error::other(answer.text.trim_end().to_owned()));
    }
    Done::parse(&answer.text).ok_or_else(|| {
        io::Error::other("the forwarder answers something else: is it of another version?".to_owned())
    })
}

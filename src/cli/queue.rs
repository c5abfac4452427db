//! `ringmx queue …`: what the forwarder has not delivered, as its journal says; what operators do with it;
//! and the journal made anew.

mod operate;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Subcommand;

use self::operate::{Verb, Which, state_of};
use super::config_file::ConfigFile;
use super::output::print_each;
use crate::config::{self, SinkKind};
use crate::escape::{Json, Quoted};
use crate::forward;
use crate::forward::keep::{self, Folder, Listed, Place, Suspended, Waiting};
use crate::forward::operations::Operation;
use crate::sink::spool::reader::{self, Notes};
use crate::timestamp::{self, Rfc3339};

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum QueueCommand {
    /// How many recipients wait for each destination, are held or were given up, by the age of their
    /// messages.
    Summary {
        /// With what the forwarder runs.
        #[command(flatten)]
        config: ConfigFile,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// One line a message and destination: id, state, age, next attempt, attempts that were deferred and
    /// connections that were lost, reverse-path, recipients, destination, the last reply. The age of one that
    /// was given up counts from then. What the forwarder, if it runs, cannot read is `unreadable`, with its
    /// place in the spool for an id, and why.
    List {
        /// With what the forwarder runs.
        #[command(flatten)]
        config: ConfigFile,
        /// As lines of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try deferred mail now, as far as its next hops take it; mail that was given up waits again with
    /// --dead. What could not be read is read once more, where it is named. The forwarder has to run, as for
    /// all that changes the queue.
    Retry {
        /// Which messages.
        #[command(flatten)]
        which: Which,
        /// What was given up instead: these ids, or --all of it.
        #[arg(long, conflicts_with = "destination")]
        dead: bool,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Nobody tries these messages, and they do not expire, until they are released.
    Hold {
        /// Which messages.
        #[command(flatten)]
        which: Which,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Try these messages, which are held, now.
    Release {
        /// Which messages.
        #[command(flatten)]
        which: Which,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Throw these messages away. Nobody is told. What cannot be read is given up so, where it is named.
    Remove {
        /// Which messages.
        #[command(flatten)]
        which: Which,
        /// What was given up instead: these ids, or --all of it.
        #[arg(long, conflicts_with = "destination")]
        dead: bool,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// No mail goes to a destination, or to one next hop, until it is resumed, over restarts too. What is on
    /// a connection ends as it does; mail that waits expires as ever.
    Suspend {
        /// The destination, as `ringmx queue summary` shows it; or a next hop, as `to` has it.
        name: String,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Mail goes there again.
    Resume {
        /// The same name.
        name: String,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Make the journal anew from what is in `later` and `dead`, where it is damaged: the forwarder says so,
    /// and must not run. The spool is delivered from `consumed` on: mail may come twice, and none is lost.
    Rebuild {
        /// With what the forwarder runs.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// The mail data of one message, with our trace information.
    Show {
        /// The queue id.
        id: String,
        /// With what the forwarder runs.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Ages of the columns of the summary; what is older is in the last one.
const AGES: [(&str, Duration); 6] = [
    ("5m", Duration::from_mins(5)),
    ("20m", Duration::from_mins(20)),
    ("1h", Duration::from_hours(1)),
    ("5h", Duration::from_hours(5)),
    ("1d", Duration::from_hours(24)),
    ("more", Duration::MAX),
];

/// So many messages in the spool itself are counted.
const LOG_COUNTED_MAX: usize = 10_000;

/// The longest state.
const STATE_COLUMNS: usize = 10;

/// `ringmx queue …`.
pub fn queue(command: &QueueCommand) -> ExitCode {
    let file = match command {
        QueueCommand::Summary { config, .. }
        | QueueCommand::List { config, .. }
        | QueueCommand::Rebuild { config } => config.path(),
        QueueCommand::Show { config, .. }
        | QueueCommand::Retry { config, .. }
        | QueueCommand::Hold { config, .. }
        | QueueCommand::Release { config, .. }
        | QueueCommand::Remove { config, .. }
        | QueueCommand::Suspend { config, .. }
        | QueueCommand::Resume { config, .. } => config.as_deref(),
    };
    let spool = match spool_of(file) {
        Ok(spool) => spool,
        Err(why) => {
            print_each("ringmx: ", &[why]);
            return ExitCode::FAILURE;
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = reader::require_spool(&spool).and_then(|()| run(command, &spool, &mut out));
    match done.and_then(|found| out.flush().map(|()| found)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            print_each("ringmx: ", &[error]);
            ExitCode::FAILURE
        }
    }
}

/// The spool of the configuration.
fn spool_of(file: Option<&Path>) -> Result<PathBuf, String> {
    let file = file.ok_or("name the configuration file (--config FILE)")?;
    let (config, _) = config::read_for_others(file)
        .result()
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    match config.sink.kind {
        SinkKind::Spool(spool) => Ok(spool.path),
        other => Err(format!("mail is forwarded from a spool, and the sink is of kind {:?}", other.word())),
    }
}

/// Runs a command; false when there is no such message.
fn run(command: &QueueCommand, spool: &Path, out: &mut impl Write) -> io::Result<bool> {
    let files = Folder(spool.to_owned());
    match command {
        QueueCommand::Summary { json, .. } => {
            summary(spool, *json, out)?;
            if !*json {
                tell_of_log(spool);
            }
            Ok(true)
        }
        QueueCommand::List { json, .. } => {
            let now = SystemTime::now();
            let mut is_empty = true;
            operate::list(spool, |listed| {
                is_empty = false;
                if *json { line_json(&listed, out) } else { line(&listed, now, out) }
            })?;
            if is_empty && !*json {
                tell_of_log(spool);
            }
            Ok(true)
        }
        QueueCommand::Show { id, .. } => show(&files, id, out),
        QueueCommand::Retry { which, dead, .. } => operate::messages(spool, Verb::Retry, which, *dead),
        QueueCommand::Hold { which, .. } => operate::messages(spool, Verb::Hold, which, false),
        QueueCommand::Release { which, .. } => operate::messages(spool, Verb::Release, which, false),
        QueueCommand::Remove { which, dead, .. } => operate::messages(spool, Verb::Remove, which, *dead),
        QueueCommand::Suspend { name, .. } => operate::next_hops(spool, &Operation::Suspend(name.clone())),
        QueueCommand::Resume { name, .. } => operate::next_hops(spool, &Operation::Resume(name.clone())),
        QueueCommand::Rebuild { .. } => {
            let (rebuilt, told) = forward::rebuild(spool);
            print_each("", &told);
            let (waiting, dead) = rebuilt.map_err(io::Error::other)?;
            writeln!(out, "{waiting} wait, {dead} were given up; the old journal is journal.damaged")?;
            Ok(true)
        }
    }
}

/// Says how many messages wait in the spool itself, which nobody lists: who sees nothing may take that for
/// all.
fn tell_of_log(spool: &Path) {
    // What cannot be read now is told by who needs it.
    let Ok(count) = unconsumed(spool) else { return };
    let count = match count {
        0 => return,
        LOG_COUNTED_MAX.. => format!("{LOG_COUNTED_MAX} messages or more"),
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    };
    let text = format!(
        "{count} in the spool itself, not tried yet, on the way, or for a next hop that is down: `ringmx spool list {}`",
        spool.display()
    );
    print_each("ringmx: ", &[text]);
}

/// Messages that the receiver keeps for the forwarder, up to a bound.
fn unconsumed(spool: &Path) -> io::Result<usize> {
    let consumed = reader::last_consumed(spool)?;
    let mut count = 0;
    let from = consumed.map_or(0, |cursor| cursor.sequence);
    reader::for_each_segment(spool, from, &mut Notes::default(), |segment| {
        let records = segment.scan().records.iter();
        count += records.filter(|record| Some(segment.cursor(record)) > consumed).count();
        Ok(count < LOG_COUNTED_MAX)
    })?;
    Ok(count)
}

fn show(files: &Folder, id: &str, out: &mut impl Write) -> io::Result<bool> {
    let mut found = None;
    keep::list(files, |listed| {
        if listed.envelope.as_ref().is_ok_and(|envelope| envelope.id.to_string() == id) {
            found.get_or_insert(listed.waiting.place);
        }
        Ok(())
    })?;
    let Some(place) = found else {
        print_each("ringmx: ", &["no such message waits or was given up; `ringmx queue list` shows the ids"]);
        return Ok(false);
    };
    let (_, content) = keep::record(files, place)?;
    out.write_all(&content)?;
    Ok(true)
}

fn age_of(waiting: &Waiting, now: SystemTime) -> Duration {
    // Of a dead one it is known when it was given up.
    let wait = &waiting.wait;
    let since = if matches!(waiting.place, Place::Dead(_)) { wait.next_at } else { wait.received_at };
    let received = Duration::from_secs(since.into());
    now.duration_since(SystemTime::UNIX_EPOCH + received).unwrap_or_default()
}

fn line(listed: &Listed, now: SystemTime, out: &mut impl Write) -> io::Result<()> {
    let wait = &listed.waiting.wait;
    let place = listed.waiting.place;
    // The name by which commands take it.
    let id = match &listed.envelope {
        Ok(stored) if !matches!(place, Place::Log(_)) => stored.id.to_string(),
        Ok(_) | Err(_) => place.to_string(),
    };
    let from = listed.envelope.as_ref().map_or(&[][..], |stored| stored.envelope.reverse_path());
    let age = match wait.received_at {
        0 if listed.envelope.is_err() => "?".to_owned(),
        _ => age_of(&listed.waiting, now).as_secs().to_string(),
    };
    let seconds = timestamp::seconds(now);
    let next = u64::from(wait.next_at).saturating_sub(seconds);
    let [attempts, lost] = wait.attempts.to_le_bytes();
    write!(
        out,
        "{id} {} {age}s next={next}s attempts={attempts}+{lost} <{}>",
        state_of(&listed.waiting),
        from.escape_ascii()
    )?;
    for (index, recipient) in listed.recipients().enumerate() {
        write!(out, "{}<{}>", if index == 0 { " " } else { "," }, recipient.escape_ascii())?;
    }
    write!(out, " to={} reply={}", Quoted(wait.destination.as_bytes()), Quoted(wait.reply.as_bytes()))?;
    match &listed.envelope {
        Err(why) if !matches!(place, Place::Log(_)) => writeln!(out, " error={}", Quoted(why.as_bytes())),
        Ok(_) | Err(_) => writeln!(out),
    }
}

fn line_json(listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    let wait = &listed.waiting.wait;
    let [attempts, lost] = wait.attempts.to_le_bytes();
    let is_unread = matches!(listed.waiting.place, Place::Log(_));
    let time = |seconds: u32| match seconds {
        0 if is_unread => "null".to_owned(),
        _ => format!("\"{}\"", Rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()))),
    };
    let next_at = if is_unread { 0 } else { wait.next_at };
    write!(out, "{{\"place\":\"{}\",\"state\":\"{}\"", listed.waiting.place, state_of(&listed.waiting))?;
    if let Ok(stored) = &listed.envelope {
        write!(out, ",\"id\":\"{}\",\"from\":{}", stored.id, Json(stored.envelope.reverse_path()))?;
    }
    write!(out, ",\"recipients\":[")?;
    for (index, recipient) in listed.recipients().enumerate() {
        write!(out, "{}{}", if index == 0 { "" } else { "," }, Json(recipient))?;
    }
    writeln!(
        out,
        "],\"destination\":{},\"received_at\":{},\"next_at\":{},\"attempts\":{attempts},\"lost\":{lost},\"reply\":{}}}",
        Json(wait.destination.as_bytes()),
        time(wait.received_at),
        time(next_at),
        Json(wait.reply.as_bytes())
    )
}

/// Recipients by destination, and by age.
fn summary(spool: &Path, json: bool, out: &mut impl Write) -> io::Result<()> {
    let now = SystemTime::now();
    let files = &Folder(spool.to_owned());
    let mut rows: BTreeMap<(String, &'static str), [u64; AGES.len()]> = BTreeMap::new();
    let state = keep::look(files)?;
    let unreadable = operate::unreadable(spool).into_iter();
    let unreadable = unreadable.map(|(at, why)| keep::listed_unreadable(files, &state, at, why).waiting);
    for waiting in state.waiting().chain(state.dead()).chain(unreadable) {
        let age = age_of(&waiting, now);
        let column = AGES.iter().position(|(_, most)| age < *most).unwrap_or(AGES.len() - 1);
        let row = rows.entry((waiting.wait.destination.clone(), state_of(&waiting))).or_default();
        // Somebody's it is, also where nobody can tell whose.
        row[column] += u64::from(waiting.recipients.count().max(1));
    }
    if json {
        write!(out, "[")?;
        for (index, ((destination, state), counts)) in rows.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{{\"destination\":{},\"state\":\"{state}\"", Json(destination.as_bytes()))?;
            for ((name, _), count) in AGES.iter().zip(counts) {
                write!(out, ",\"{name}\":{count}")?;
            }
            write!(out, "}}")?;
        }
        return writeln!(out, "]");
    }
    write!(out, "{:>8}", "total")?;
    for (name, _) in AGES {
        write!(out, "{name:>8}")?;
    }
    writeln!(out, "  {:<STATE_COLUMNS$} destination", "state")?;
    for ((destination, state), counts) in &rows {
        write!(out, "{:>8}", counts.iter().sum::<u64>())?;
        for count in counts {
            write!(out, "{count:>8}")?;
        }
        writeln!(out, "  {state:<STATE_COLUMNS$} {destination}")?;
    }
    for Suspended { destination, next_hop } in keep::suspended(files)? {
        let of = if destination == next_hop { String::new() } else { format!(" of {destination}") };
        writeln!(out, "suspended by an operator: {next_hop}{of}")?;
    }
    Ok(())
}

//! `ringmx spool …`: reads a spool beside a running receiver; no lock, and nothing is changed but the file
//! `consumed`.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::output::{counted, print_each};
use crate::config::LineEndings;
use crate::mail::queue_id::QueueId;
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::export::{self, Target};
use crate::sink::spool::follow::Follower;
use crate::sink::spool::{prune, reader, verify};

/// How often `follow` looks for new records.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What to do with a spool.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SpoolCommand {
    /// One line a message: id, time, octets, reverse-path, recipients, version of TLS or `-`, `stored` or
    /// `consumed`, cursor.
    List {
        /// The spool's directory.
        dir: PathBuf,
        /// Only what comes after this record.
        #[arg(long, value_name = "CURSOR")]
        after: Option<Cursor>,
    },
    /// The mail data of one message, with our trace information.
    Show {
        /// The spool's directory.
        dir: PathBuf,
        /// The queue id that the reply to the mail data gave.
        id: String,
        /// Instead of that the envelope: client, TLS, paths and their parameters, as a JSON line like those
        /// of `follow`.
        #[arg(long)]
        envelope: bool,
    },
    /// Copy messages out, durably; run again, it copies nothing twice.
    #[command(group = clap::ArgGroup::new("target").required(true))]
    Export {
        /// The spool's directory.
        dir: PathBuf,
        /// Into this maildir, one file a message.
        #[arg(long, value_name = "DIR", group = "target")]
        maildir: Option<PathBuf>,
        /// Into this new file, mboxrd.
        #[arg(long, value_name = "FILE", group = "target")]
        mbox: Option<PathBuf>,
        /// Into this directory, one file `<queue id>.eml` a message, octets as received.
        #[arg(long, value_name = "DIR", group = "target")]
        eml: Option<PathBuf>,
        /// Line ends in maildir and mbox; lf only where that can be converted back.
        #[arg(long, value_enum, default_value = "lf", conflicts_with = "eml")]
        line_endings: LineEndingsChoice,
        /// Only what comes after this record.
        #[arg(long, value_name = "CURSOR")]
        after: Option<Cursor>,
    },
    /// One JSON line a message in order, each only when it is durable, and then wait for more.
    Follow {
        /// The spool's directory.
        dir: PathBuf,
        /// Begin after this record; without it after what `prune` marked, else with the oldest.
        #[arg(long, value_name = "CURSOR")]
        after: Option<Cursor>,
        /// End where nothing more is.
        #[arg(long)]
        once: bool,
    },
    /// Check every checksum; exit code 1 when something is damaged. A torn write is no damage.
    Verify {
        /// The spool's directory.
        dir: PathBuf,
    },
    /// Mark messages as consumed: the receiver may recycle their segments.
    Prune {
        /// The spool's directory.
        dir: PathBuf,
        /// The last consumed record, as `follow` and `list` name it.
        #[arg(long, value_name = "CURSOR")]
        through: Cursor,
    },
}

/// Line ends of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LineEndingsChoice {
    /// LF, where that can be converted back.
    Lf,
    /// As received.
    Crlf,
}

/// `ringmx spool …`.
pub fn spool(command: &SpoolCommand) -> ExitCode {
    let mut out = io::BufWriter::new(StandardOutput(io::stdout().lock()));
    let is_spool = reader::require_spool(command.directory());
    let done = is_spool.and_then(|()| run(command, &mut out));
    match done.and_then(|is_good| out.flush().map(|()| is_good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            print_each("ringmx: ", &[error]);
            ExitCode::FAILURE
        }
    }
}

impl SpoolCommand {
    fn directory(&self) -> &Path {
        match self {
            Self::List { dir, .. }
            | Self::Show { dir, .. }
            | Self::Export { dir, .. }
            | Self::Follow { dir, .. }
            | Self::Verify { dir }
            | Self::Prune { dir, .. } => dir,
        }
    }
}

/// Standard output, whose errors say that they are its own: a spool is read at the same time.
struct StandardOutput<'a>(io::StdoutLock<'a>);

impl Write for StandardOutput<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets).map_err(of_output)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_output)
    }
}

fn of_output(error: io::Error) -> io::Error {
    // A write that was only interrupted is tried again, by its kind.
    io::Error::new(error.kind(), format!("standard output cannot be written: {error}"))
}

/// Runs a command; false when what it found is not well.
fn run(command: &SpoolCommand, out: &mut impl Write) -> io::Result<bool> {
    match command {
        SpoolCommand::List { dir, after } => reader::list(dir, *after, out).map(|notes| {
            print_each("warning: ", &notes);
            true
        }),
        SpoolCommand::Show { dir, id, envelope } => show(dir, id, *envelope, out),
        SpoolCommand::Export { dir, maildir, mbox, eml, line_endings, after } => {
            let line_endings = match line_endings {
                LineEndingsChoice::Lf => LineEndings::Lf,
                LineEndingsChoice::Crlf => LineEndings::Crlf,
            };
            let target = match (maildir, mbox, eml) {
                (Some(path), _, _) => Target::Maildir(path.clone(), line_endings),
                (_, Some(path), _) => Target::Mbox(path.clone(), line_endings),
                (_, _, Some(path)) => Target::Eml(path.clone()),
                (None, None, None) => return Ok(false),
            };
            export(dir, *after, &target, out)
        }
        SpoolCommand::Follow { dir, after, once } => follow(dir, *after, *once, out),
        SpoolCommand::Verify { dir } => verify::verify(dir).and_then(|summary| {
            print_each("", &summary.notes.lines);
            writeln!(out, "{summary}")?;
            Ok(summary.notes.problems == 0)
        }),
        SpoolCommand::Prune { dir, through } => prune::prune(dir, *through).and_then(|pruned| {
            let messages = counted(usize::try_from(pruned.records).unwrap_or(usize::MAX), "message");
            let segments = counted(usize::try_from(pruned.segments).unwrap_or(usize::MAX), "segment");
            writeln!(out, "consumed through {through}: {messages} more, {segments} free to recycle")?;
            Ok(true)
        }),
    }
}

fn show(dir: &Path, id: &str, envelope: bool, out: &mut impl Write) -> io::Result<bool> {
    let view = if envelope { reader::View::Envelope } else { reader::View::Content };
    let found = match QueueId::parse(id.as_bytes()) {
        Some(id) => reader::show(dir, id, view, out)?,
        None => false,
    };
    if !found {
        print_each("ringmx: ", &["no such message; `ringmx spool list DIR` shows the ids"]);
    }
    Ok(found)
}

fn export(dir: &Path, after: Option<Cursor>, target: &Target, out: &mut impl Write) -> io::Result<bool> {
    let exported = export::export(dir, after, target)?;
    print_each("warning: ", &exported.notes.lines);
    let (new, already) = (exported.new, exported.already);
    writeln!(out, "{new} messages exported, {already} were there already")?;
    Ok(exported.notes.problems == 0)
}

fn follow(dir: &Path, after: Option<Cursor>, once: bool, out: &mut impl Write) -> io::Result<bool> {
    let mut note = |line: String| print_each("warning: ", &[line]);
    let mut follower = match after {
        Some(after) => Follower::new(dir, Some(after), once, &mut note)?,
        None => Follower::behind_consumed(dir, once, &mut note)?,
    };
    loop {
        let moved = follower.advance(&mut note, &mut |found| out.write_all(found.json().as_bytes()));
        // What came before an error was handed on.
        out.flush()?;
        if !moved? {
            if once {
                return Ok(true);
            }
            follower.wait(LOOK_EVERY);
            if has_gone()? {
                return Ok(true);
            }
        }
    }
}

/// Whether the reader of our standard output has gone.
fn has_gone() -> io::Result<bool> {
    let output = io::stdout();
    let mut waits = [PollFd::new(&output, PollFlags::empty())];
    match poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
        Ok(_) => Ok(waits[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)),
        Err(error) => Err(error.into()),
    }
}

//! The forwarder as a process beside a receiver: `ringmx serve --with-forward`.
//!
//! ```text
//!   ringmx serve ──► minder ──► ringmx forward ──► it ends: again after a while
//! ```
//!
//! A receiver that has given up what it may do starts no process any more. So it starts the minder before,
//! which does nothing else than to have a forwarder run. Minder and forwarder end when their standard input
//! does: with the receiver, however that ends. What the receiver writes there is no end: its configuration
//! may have changed, and the forwarder is told as by SIGHUP.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ChildStdin, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::own_program::{OWN_PROGRAM, own_program};
use crate::config::{Config, Finding, Problem, SinkKind};
use crate::limits::{LAST_WORDS_MAX, MINDED_KILL_AFTER};
use crate::log::{self, events};
use crate::sandbox::{self, Account};
use crate::sink::spool::reader;

/// A forwarder that has ended is started again after this time, and after twice as long each time that it did
/// not run for [`RUNS_WELL_AFTER`].
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// But after so long at most.
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(1);

const RUNS_WELL_AFTER: Duration = Duration::from_mins(1);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a service manager tells the receiver, and nobody else.
const OF_SERVICE: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The minder that a receiver has started. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Minder {
    process: u32,
    input: Option<ChildStdin>,
    ended: Receiver<Infallible>,
}

impl Minder {
    /// Starts the minder of a forwarder with this configuration.
    pub(super) fn start(file: &Path) -> io::Result<Self> {
        let mut command = own_program();
        for name in OF_SERVICE {
            command.env_remove(name);
        }
        command.args(["forward", "--minder", "--config"]).arg(file);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        if let Some(input) = &input {
            // Who does not read is not waited for.
            rustix::io::ioctl_fionbio(input, true)?;
        }
        let (alive, ended) = bounded(0);
        // A confined process waits for no other one, but that one's output ends with it. Nothing is ever said
        // there.
        let wait = move || {
            let _ = output.map(|mut output| io::copy(&mut output, &mut io::sink()));
            drop(alive);
        };
        thread::Builder::new().name("minder".to_owned()).spawn(wait)?;
        Ok(Self { process: child.id(), input, ended })
    }

    /// Its number.
    pub(super) fn process(&self) -> u32 {
        self.process
    }

    /// Disconnected when it has ended.
    pub(super) fn ended(&self) -> &Receiver<Infallible> {
        &self.ended
    }

    /// Has its forwarder read the configuration again.
    pub(super) fn renew(&mut self) {
        if let Some(input) = &mut self.input {
            // Where there is no room, it has not read yet that this was asked for before.
            let _ = input.write(b"\n");
        }
    }

    /// From now on it ends, when its forwarder has.
    pub(super) fn begin_end(&mut self) {
        drop(self.input.take());
    }

    /// Waits for its end until then. Whether it came.
    pub(super) fn has_ended_by(&self, until: Instant) -> bool {
        self.ended.recv_deadline(until) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Why no forwarder can run beside a receiver with this configuration.
pub fn cannot_mind(config: &Config, file: Option<&Path>) -> Option<Problem> {
    let problem = |text| {
        let file = file.map_or_else(String::new, |file| file.display().to_string());
        Some(Problem(Finding { file, line: None, key: "--with-forward".to_owned(), text }))
    };
    let Some(known) = file.filter(|_| !config.forward.routes.is_empty()) else {
        let text = "there is no [[forward]], so there is no forwarder to run: write one, or leave this out";
        return problem(text.to_owned());
    };
    if !can_be_read_again(known) {
        let text = "the forwarder reads the configuration by itself, each time that it starts: name a file, and no pipe and not \
                    standard input";
        return problem(text.to_owned());
    }
    // Where it cannot become that user, the check of the configuration says so.
    let account = Account::to_become(&config.run_as).ok().flatten()?;
    problem(account.act(|| cannot_run(&account, known)).ok().flatten()?)
}

/// Whether another process finds the same under this name, and as often as it likes.
fn can_be_read_again(file: &Path) -> bool {
    let Ok(facts) = fs::metadata(file) else { return false };
    let is_input =
        fstat(io::stdin()).is_ok_and(|input| (input.st_dev, input.st_ino) == (facts.dev(), facts.ino()));
    facts.is_file() && !is_input
}

/// Why this user, who acts, cannot run a forwarder.
fn cannot_run(account: &Account, file: &Path) -> Option<String> {
    let forwarder = format!("the forwarder runs as user {account} of [run_as], who");
    if let Err(error) = File::open(file) {
        return Some(format!(
            "{forwarder} cannot read this file: {error}; let that user read it (`chgrp` and `chmod g+r`), and enter the \
             directories above it"
        ));
    }
    let error = rustix::fs::access(OWN_PROGRAM, Access::EXEC_OK).err()?;
    let program = fs::read_link(OWN_PROGRAM).unwrap_or_default();
    let error = io::Error::from(error);
    Some(format!(
        "{forwarder} cannot run {}: {error}; let everybody run it (`chmod 0755`)",
        program.display()
    ))
}

/// Minds a forwarder: has one run until standard input ends. Signals that ask for an end are held back: a
/// receiver whose minder has ended has no forwarder any more.
pub fn mind_forwarder(config: &Config, file: &Path) -> ExitCode {
    let say = |event, text: &str| log::last_words(config.log.format, event, text, LAST_WORDS_MAX);
    if let Err(error) = sandbox::give_up_capabilities() {
        say(&events::ERROR, &format!("the forwarder is not started: {error}"));
        return ExitCode::FAILURE;
    }
    let SinkKind::Spool(spool) = &config.sink.kind else { return ExitCode::FAILURE };
    let mut again_after = AGAIN_AFTER;
    // The receiver makes it.
    while reader::require_spool(&spool.path).is_err() {
        if input_within(LOOK_EVERY) == Input::Ended {
            return ExitCode::SUCCESS;
        }
    }
    loop {
        let started_at = Instant::now();
        let ended = run(file);
        if started_at.elapsed() >= RUNS_WELL_AFTER {
            again_after = AGAIN_AFTER;
        }
        let (event, how) = match ended {
            Ok(Ended::WithInput) => return ExitCode::SUCCESS,
            Ok(Ended::Killed) => {
                let seconds = MINDED_KILL_AFTER.as_secs();
                let text = format!(
                    "the forwarder did not end within {seconds} s, so it was killed: what was under way is delivered again"
                );
                say(&events::ERROR, &text);
                return ExitCode::FAILURE;
            }
            // Somebody wanted it to.
            Ok(Ended::First(status)) if status.success() => {
                again_after = AGAIN_AFTER;
                (&events::NOTE, "ended as it was asked to".to_owned())
            }
            Ok(Ended::First(status)) => (&events::ERROR, format!("ended: {status}")),
            Err(error) => (&events::ERROR, format!("cannot be started: {error}")),
        };
        say(event, &format!("the forwarder {how}; it is started again in {} s", again_after.as_secs()));
        match input_within(again_after) {
            Input::Ended => return ExitCode::SUCCESS,
            // What it ended for may be mended.
            Input::Changed | Input::Silent => {}
        }
        if event.name == events::ERROR.name {
            again_after = (again_after * 2).min(AGAIN_AFTER_MAX);
        }
    }
}

/// How a forwarder has ended.
enum Ended {
    /// By itself.
    First(ExitStatus),
    /// After its input.
    WithInput,
    /// Long after that, by us.
    Killed,
}

/// Runs one forwarder.
fn run(file: &Path) -> io::Result<Ended> {
    let mut command = own_program();
    command.args(["forward", "--ends-with-input", "--config"]).arg(file);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    loop {
        match input_within(LOOK_EVERY) {
            Input::Ended => break,
            Input::Changed => {
                // One that has ended is waited for below, so this is nobody else.
                let _ = kill_process(Pid::from_child(&child), Signal::HUP);
            }
            Input::Silent => {}
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::First(status));
        }
    }
    drop(child.stdin.take());
    let until = Instant::now() + MINDED_KILL_AFTER;
    while child.try_wait()?.is_none() {
        if Instant::now() >= until {
            // It is not waited for: it may stand in a wait for a disk, which nothing ends.
            return child.kill().map(|()| Ended::Killed);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(Ended::WithInput)
}

/// What came of standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Silent,
    /// The receiver's configuration may have changed.
    Changed,
    Ended,
}

/// Waits so long for standard input.
fn input_within(wait: Duration) -> Input {
    let input = io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut polled, Timespec::try_from(wait).ok().as_ref()) {
        Ok(0) | Err(Errno::INTR) => Input::Silent,
        Ok(_) => match rustix::io::read(&input, &mut [0; 64]) {
            Ok(1..) => Input::Changed,
            Err(Errno::INTR | Errno::AGAIN) => Input::Silent,
            Ok(0) | Err(_) => Input::Ended,
        },
        Err(_) => Input::Ended,
    }
}

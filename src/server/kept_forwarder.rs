//! The forwarder as a process beside a receiver: `ringmx serve --with-forward`.
//!
//! ```text
//!   ringmx serve ──► keeper ──► ringmx forward ──► it ends: again after a while
//! ```
//!
//! A receiver that has given up what it may do starts no process any more. So it starts the keeper before,
//! which does nothing else than to have a forwarder run. Keeper and forwarder end when their standard input
//! does: with the receiver, however that ends.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Config, Finding, Problem, SinkKind};
use crate::limits::LAST_WORDS_MAX;
use crate::log::{self, events};
use crate::sandbox::{Account, cannot_become};
use crate::shutdown::Shutdown;
use crate::{forward, resource_limits};

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

/// The keeper that a receiver has started.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Waits until the forwarder has ended.
    pub fn end(mut self) {
        drop(self.0.stdin.take());
        // A confined process waits for none. Nothing is ever said there: it ends with the keeper.
        if let Some(mut stdout) = self.0.stdout.take() {
            let _ = stdout.read(&mut [0]);
        }
    }
}

/// Starts the keeper of this receiver's forwarder.
pub fn start_keeper(config: &Config, file: Option<&Path>) -> Result<Keeper, Problem> {
    let Some(known) = file.filter(|_| !config.forward.routes.is_empty()) else {
        let text = "there is no [[forward]], so there is no forwarder to run: write one, or leave this out";
        return Err(problem(file, text.to_owned()));
    };
    let started = this_program().and_then(|mut command| {
        command.arg("--kept").arg("--config").arg(known).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    });
    started.map(Keeper).map_err(|error| problem(file, format!("the forwarder cannot be started: {error}")))
}

fn problem(file: Option<&Path>, text: String) -> Problem {
    let file = file.map_or_else(String::new, |file| file.display().to_string());
    Problem(Finding { file, line: None, key: "--with-forward".to_owned(), text })
}

fn this_program() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("forward");
    for name in OF_SERVICE {
        command.env_remove(name);
    }
    Ok(command)
}

/// Has a forwarder run until this process is to end.
pub fn keep_forwarder(config: &Config, file: &Path, shutdown: &Arc<Shutdown>) -> ExitCode {
    shutdown.speak(config.log.format);
    end_with_input(shutdown);
    let SinkKind::Spool(spool) = &config.sink.kind else { return ExitCode::FAILURE };
    let mut again_after = AGAIN_AFTER;
    while !shutdown.has_begun() {
        // The receiver makes it.
        if !spool.path.is_dir() {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        let started_at = Instant::now();
        let ended = run(file, shutdown);
        if shutdown.has_begun() {
            break;
        }
        if started_at.elapsed() >= RUNS_WELL_AFTER {
            again_after = AGAIN_AFTER;
        }
        let how =
            ended.map_or_else(|error| format!("cannot be started: {error}"), |how| format!("ended: {how}"));
        let text = format!("the forwarder {how}; it is started again in {} s", again_after.as_secs());
        log::last_words(config.log.format, &events::ERROR, &text, LAST_WORDS_MAX);
        let until = Instant::now() + again_after;
        while Instant::now() < until && !shutdown.has_begun() {
            thread::sleep(LOOK_EVERY);
        }
        again_after = (again_after * 2).min(AGAIN_AFTER_MAX);
    }
    ExitCode::SUCCESS
}

/// Runs one forwarder, until it has ended by itself or has to; how it ended.
fn run(file: &Path, shutdown: &Shutdown) -> io::Result<String> {
    let mut command = this_program()?;
    command.arg("--ends-with-input").arg("--config").arg(file);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    loop {
        if shutdown.has_begun() {
            drop(child.stdin.take());
            return child.wait().map(|status| status.to_string());
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status.to_string());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The stop begins when standard input ends.
pub fn end_with_input(shutdown: &Arc<Shutdown>) {
    let shutdown = Arc::clone(shutdown);
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        shutdown.begin();
    });
}

/// Where the forwarder of a spool is asked.
pub fn control_socket(spool: &Path) -> PathBuf {
    spool.join(forward::CONTROL_SOCKET)
}

/// What an operator should know where mail is to be forwarded, and nobody does that now.
pub fn no_forwarder(config: &Config) -> Option<String> {
    let SinkKind::Spool(spool) = &config.sink.kind else { return None };
    if config.forward.routes.is_empty() || UnixStream::connect(control_socket(&spool.path)).is_ok() {
        return None;
    }
    let note = "no forwarder runs now: mail for [[forward]] waits in the spool until there is one (`ringmx forward FILE`, or \
                `ringmx serve --with-forward FILE`)";
    Some(note.to_owned())
}

/// As root, begins this process anew as the user of `[run_as]`, whose spool it is.
pub fn become_user(config: &Config) -> Result<(), String> {
    let Some(account) = Account::to_become(&config.run_as).map_err(|error| error.to_string())? else {
        return Ok(());
    };
    // Root may have more locked memory than the user.
    resource_limits::raise();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // On a thread that is the user already: the whole process becomes what it begins.
    let error = account.act(|| match std::env::current_exe() {
        Ok(program) => Command::new(program).args(&arguments).exec(),
        Err(error) => error,
    });
    match error {
        Ok(error) => Err(format!("user {account} of [run_as] cannot run this program: {error}")),
        Err(error) => Err(cannot_become(&account, &error)),
    }
}

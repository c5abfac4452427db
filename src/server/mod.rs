//! The receiver as a whole, on the control thread: everything that is not per message.
//!
//! ```text
//!   serve ──► start ──► addresses, sink, sockets, workers, shards ──► Control ──► the end
//!              (each thing once, in this order)               (signals, reload, order of stop)
//! ```
//!
//! At the end each wait has a bound.

mod addresses;
mod client_state;
mod confinement;
mod control;
mod error;
mod event;
mod explain;
mod forwarded_by;
mod forwarding;
mod generation;
mod held_back;
mod lent;
mod log_report;
mod minder;
mod own_program;
mod reload;
mod reloader;
mod renewal;
mod report;
mod shard_start;
mod start;
mod watch;
mod workers;

pub use self::error::ServeError;
pub use self::explain::{Supposed, explain};
pub use self::forwarding::{control_socket, forward};
pub use self::minder::{cannot_mind, mind_forwarder};
pub use self::own_program::{become_user, name_process};

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::forwarded_by::ForwardedBy;
use self::lent::Lent;
use crate::config::{Config, Lists, LogFormat, Problem, Warning};
use crate::limits::{LAST_WORDS_MAX, LOG_END_MAX, START_END_MAX};
use crate::log::{self, Log};
use crate::service_manager::ServiceManager;
use crate::shutdown::Shutdown;
use crate::{huge_pages, resource_limits};

/// After a start that came to nothing, its forwarder is waited for so long: there is a bound for all of it.
const MINDER_OF_START_END_MAX: Duration = START_END_MAX.saturating_sub(LOG_END_MAX);

/// A panic is waited for so long until it is told.
const PANIC_WORDS_MAX: Duration = Duration::from_millis(100);

/// Runs the receiver until SIGTERM or SIGINT; returns when every message under way was stored and answered.
/// `file` is what a reload reads, `recipients` are the entries of the file that the configuration names;
/// `warnings` on both are told first. `with_forward`: a forwarder of its mail runs beside it. When this
/// returns, an error was told, with what was left when the time for that was over: in the log, in the
/// configured format, on standard error where there is no log.
pub fn serve(
    config: &Config,
    file: Option<&Path>,
    lists: Lists,
    warnings: &[Warning],
    with_forward: bool,
    shutdown: &Arc<Shutdown>,
) -> Result<(), ServeError> {
    shutdown.speak(config.log.format);
    tell_panics(config.log.format);
    // A huge page for the few KiB that a shard's heap or pool touches costs up to 2 MiB each: 10,000 idle
    // connections took 17 MiB instead of 6, and messages came no faster.
    huge_pages::on_request_only();
    resource_limits::raise();
    let (mut log, writer, log_file) = start_log(config.log.format, config.log.file.as_deref())?;
    report::warnings(warnings, &mut log);
    let service_manager = service_manager(&mut log);
    // Sockets are taken before, and what is confined later starts no process.
    let lent = Lent::from_environment();
    let beside = lent.and_then(|lent| Ok((lent, ForwardedBy::new(config, file, with_forward)?)));
    let served = beside.and_then(|(lent, mut forwarded_by)| {
        let told = (&mut log, log_file.as_ref());
        let started = start::start(config, file, lists, lent, shutdown, service_manager, told);
        // The writer closes it when it is to be opened again.
        drop(log_file);
        match started {
            Ok(Some(control)) => control.run(forwarded_by, &mut log),
            not_started => {
                let until = Instant::now() + MINDER_OF_START_END_MAX;
                // One that takes longer ends by itself.
                let _ = forwarded_by.end(until, MINDER_OF_START_END_MAX, || {});
                not_started.map(|_| report::never_listened(&mut log))
            }
        }
    });
    if let Err(error) = &served {
        report::error(&error.to_string(), &mut log);
    }
    drop(log);
    // A reader who does not read standard error loses these lines; nobody else is left to tell.
    let _ = writer.finish(LOG_END_MAX);
    served
}

/// The service manager that has started the process, if there is one.
fn service_manager(log: &mut Log) -> Arc<ServiceManager> {
    Arc::new(ServiceManager::from_environment().unwrap_or_else(|why| {
        report::notes(&[why], log);
        ServiceManager::default()
    }))
}

/// Tells why there is nothing to serve with, as [`serve`] tells its own errors.
pub fn refuse(format: LogFormat, problems: &[Problem], warnings: &[Warning]) -> Result<(), ServeError> {
    let (mut log, writer, _) = start_log(format, None)?;
    report::warnings(warnings, &mut log);
    for problem in problems {
        report::error(&problem.to_string(), &mut log);
    }
    drop(log);
    let _ = writer.finish(LOG_END_MAX);
    Err(ServeError::new("the configuration cannot be used"))
}

/// Starts the log, in this file or on standard error. Gives the open file once more.
fn start_log(format: LogFormat, file: Option<&Path>) -> Result<(Log, log::Writer, Option<File>), ServeError> {
    let output = match file {
        None => Ok((log::Output::Stderr, None)),
        Some(path) => open_log(path).map_err(|error| {
            let text = format!(
                "log.file {} cannot be opened: {error}; is its directory there and ours?",
                path.display()
            );
            ServeError::new(text)
        }),
    };
    let started = output.and_then(|(output, file)| {
        let (log, writer) = log::start_on(format, output)
            .map_err(|error| ServeError::of_machine("starting the log thread", &error))?;
        Ok((log, writer, file))
    });
    started.inspect_err(|error| {
        // Not by the standard library: it would wait for a reader that stands still.
        log::last_words(format, &log::events::ERROR, &error.to_string(), LAST_WORDS_MAX);
    })
}

fn open_log(path: &Path) -> io::Result<(log::Output, Option<File>)> {
    let output = log::Output::open(path)?;
    let file = output.file()?;
    Ok((output, file))
}

/// The standard library writes of a panic on standard error and waits for its reader: a panic that is caught
/// (`tls`) would stop a shard, one that is not would stop the end of the process.
fn tell_panics(format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let text = format!("thread {}: {panic}", thread.name().unwrap_or("without a name"));
        log::last_words(format, &log::events::PANIC, &text, PANIC_WORDS_MAX);
    }));
}

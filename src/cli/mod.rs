//! The command line: what was asked for, and the subcommands that need no server.
//!
//! Results go to standard output, problems and warnings to standard error.

mod arguments;
mod cert;
mod completion;
mod config_file;
mod control;
mod doctor;
mod explain;
mod man;
mod output;
mod queue;
mod recipients;
mod reload;
mod spool;
mod status;
mod summary;
mod version;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub use self::arguments::{Command, parse};
pub use self::cert::{CertCommand, cert};
pub use self::completion::completion;
pub use self::config_file::ConfigFile;
pub use self::doctor::doctor;
pub use self::explain::{ExplainCommand, explain};
pub use self::man::man;
pub use self::queue::{QueueCommand, queue};
pub use self::recipients::{RecipientsCommand, recipients};
pub use self::reload::reload;
pub use self::spool::{SpoolCommand, spool};
pub use self::status::status;
pub use self::version::commit;

use self::output::{print, print_each};
use self::summary::summary;
use crate::config::{Config, Warning};
use crate::limits::LAST_WORDS_MAX;
use crate::log::events;
use crate::shutdown::Shutdown;
use crate::{check, config, log, server};

/// `ringmx check FILE`.
pub fn check(file: Option<&Path>) -> ExitCode {
    let checked = check::check(file).with_service_user(file, false);
    print_each("warning: ", &checked.warnings);
    print_each("", &checked.problems);
    let Some(config) = checked.config else { return ExitCode::FAILURE };
    let file = file.map_or("the configuration without a file".into(), |file| file.display().to_string());
    print(&format!("{file} is good: {}\n{}", summary(&config), crate::doctor::memory_sum(&config)))
}

/// `ringmx config`.
pub fn reference() -> ExitCode {
    print(&config::reference())
}

/// `ringmx forward`. With `ends_with_input` it stops when standard input ends, too.
pub fn forward(file: Option<&Path>, ends_with_input: bool) -> ExitCode {
    let Some(file) = file else {
        print_each("ringmx: ", &["name the configuration file: `ringmx forward FILE`"]);
        return ExitCode::FAILURE;
    };
    // Before signals are taken: a process that becomes another one forgets those that came.
    let Some((config, warnings)) = read_as_forwarder(file) else { return ExitCode::FAILURE };
    let Some(shutdown) = take_signals() else { return ExitCode::FAILURE };
    if ends_with_input && let Err(error) = shutdown.begin_with_input_end() {
        let text = format!("the end of the input cannot be waited for: {error}");
        log::last_words(config.log.format, &events::ERROR, &text, LAST_WORDS_MAX);
        return ExitCode::FAILURE;
    }
    match server::forward(&config, file, &warnings, &shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Minds the forwarder of `ringmx serve --with-forward`.
pub fn mind_forwarder(file: Option<&Path>) -> ExitCode {
    // Whoever wants to end it ends the receiver.
    if Shutdown::by_no_signal().is_err() {
        return ExitCode::FAILURE;
    }
    let Some(file) = file else { return ExitCode::FAILURE };
    let Some((config, _)) = read_as_forwarder(file) else { return ExitCode::FAILURE };
    server::mind_forwarder(&config, file)
}

/// The configuration, with warnings on it, for a process that is the user whose spool it is; this one may
/// begin anew as that. None, and it was told, where that cannot be.
fn read_as_forwarder(file: &Path) -> Option<(Config, Vec<Warning>)> {
    server::name_process();
    let reading = config::read_for_others(file);
    let format = reading.log_format;
    let (config, warnings) = match reading.result() {
        Ok(read) => read,
        Err(problems) => {
            let _ = server::refuse(format, &problems, &[]);
            return None;
        }
    };
    if let Err(why) = server::become_user(&config) {
        log::last_words(format, &events::ERROR, &why, LAST_WORDS_MAX);
        return None;
    }
    Some((config, warnings))
}

/// `ringmx serve`.
pub fn serve(file: Option<&Path>, with_forward: bool) -> ExitCode {
    // First of all, so that no step of the start is cut short by a signal.
    let Some(shutdown) = take_signals() else { return ExitCode::FAILURE };
    let checked = check::check(file).with_service_user(file, true);
    let mut problems = checked.problems;
    if with_forward && let Some(config) = &checked.config {
        problems.extend(server::cannot_mind(config, file));
    }
    let served = match &checked.config {
        Some(config) if problems.is_empty() => {
            server::serve(config, file, checked.lists, &checked.warnings, with_forward, &shutdown)
        }
        _ => server::refuse(checked.log_format, &problems, &checked.warnings),
    };
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// From now on signals end the process in order. None, and it was told, where they cannot be listened for.
fn take_signals() -> Option<Arc<Shutdown>> {
    match Shutdown::on_signals() {
        Ok(shutdown) => Some(shutdown),
        Err(error) => {
            // Not by the standard library: it would wait for a reader that stands still.
            log::write_within(format!("ringmx: signals cannot be listened for: {error}\n"), LAST_WORDS_MAX);
            None
        }
    }
}

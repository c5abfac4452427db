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
use crate::limits::LAST_WORDS_MAX;
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

/// `ringmx forward`.
pub fn forward(file: Option<&Path>) -> ExitCode {
    let shutdown = match Shutdown::on_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            log::write_within(format!("ringmx: signals cannot be listened for: {error}\n"), LAST_WORDS_MAX);
            return ExitCode::FAILURE;
        }
    };
    let Some(file) = file else {
        print_each("ringmx: ", &["name the configuration file: `ringmx forward FILE`"]);
        return ExitCode::FAILURE;
    };
    let (read, warnings) = match config::read_alone(file).result() {
        Ok(read) => read,
        Err(problems) => {
            print_each("", &problems);
            return ExitCode::FAILURE;
        }
    };
    match server::forward(&read, &warnings, &shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `ringmx serve`.
pub fn serve(file: Option<&Path>) -> ExitCode {
    // First of all, so that no step of the start is cut short by a signal.
    let shutdown = match Shutdown::on_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            // Not by the standard library: it would wait for a reader that stands still.
            log::write_within(format!("ringmx: signals cannot be listened for: {error}\n"), LAST_WORDS_MAX);
            return ExitCode::FAILURE;
        }
    };
    let checked = check::check(file).with_service_user(file, true);
    let served = match &checked.config {
        Some(config) => server::serve(config, file, checked.lists, &checked.warnings, &shutdown),
        None => server::refuse(checked.log_format, &checked.problems, &checked.warnings),
    };
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Arguments → subcommand → exit code; nothing else.

use std::process::ExitCode;

use ringmx::cli::{self, Command};
use ringmx::signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::ignore_file_size_signal();
    match cli::parse() {
        Command::Check { config } => cli::check(config.path()),
        Command::Config => cli::reference(),
        Command::Doctor { config, script } => cli::doctor(config.path(), script),
        Command::Recipients(command) => cli::recipients(&command),
        Command::Explain(command) => cli::explain(&command),
        Command::Reload { config, forwarder } => cli::reload(config.path(), forwarder),
        Command::Forward { config, minder: true, .. } => cli::mind_forwarder(config.path()),
        Command::Forward { config, ends_with_input, .. } => cli::forward(config.path(), ends_with_input),
        Command::Queue(command) => cli::queue(&command),
        Command::Serve { config, with_forward } => cli::serve(config.path(), with_forward),
        Command::Cert(command) => cli::cert(&command),
        Command::Completion { shell } => cli::completion(shell),
        Command::Man { dir } => cli::man(&dir),
        Command::Spool(command) => cli::spool(&command),
        Command::Status { config, forwarder, json } => cli::status(config.path(), forwarder, json),
    }
}

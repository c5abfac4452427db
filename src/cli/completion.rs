//! `ringmx completion`: what a shell sources so that it completes our subcommands and options.

use std::process::ExitCode;

use clap_complete::Shell;

use super::arguments;
use super::output::print;

/// `ringmx completion SHELL`.
pub fn completion(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut arguments::command(), "ringmx", &mut text);
    print(&String::from_utf8_lossy(&text))
}

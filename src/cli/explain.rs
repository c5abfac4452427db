//! `ringmx explain`: what a client would be answered, and why.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::config_file::ConfigFile;
use super::output::{print, print_each};
use crate::check;
use crate::server::{self, Supposed};

/// Who sends what to whom.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ExplainCommand {
    /// By what configuration.
    #[command(flatten)]
    config: ConfigFile,
    /// The client's IP address.
    #[arg(long, value_name = "ADDRESS")]
    client: IpAddr,
    /// What the client calls itself.
    #[arg(long, value_name = "NAME", default_value = "client.invalid")]
    ehlo: String,
    /// The reverse-path, without angle brackets; the null one where it is not given.
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    from: String,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    rcpt: Vec<String>,
    /// A file with a message that it sends.
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Take the client for one that has proved good.
    #[arg(long)]
    proven: bool,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

/// What a command that was called wrongly ends with, as `clap` has it.
const BAD_CALL: u8 = 2;

/// `ringmx explain`.
pub fn explain(command: &ExplainCommand) -> ExitCode {
    let checked = check::check(command.config.path());
    print_each("warning: ", &checked.warnings);
    print_each("", &checked.problems);
    let Some(config) = checked.config else { return ExitCode::FAILURE };
    let ExplainCommand { client, ehlo, from, rcpt, proven, message, json, .. } = command.clone();
    let message = match message.map(|path| (std::fs::read(&path), path)) {
        Some((Err(error), path)) => {
            print_each("", &[format!("--message {}: {error}", path.display())]);
            return ExitCode::from(BAD_CALL);
        }
        Some((Ok(octets), _)) => Some(octets),
        None => None,
    };
    let supposed =
        Supposed { client, ehlo, reverse_path: from, recipients: rcpt, is_proven: proven, message };
    match server::explain(&config, checked.lists, &supposed, json) {
        Ok(text) => print(&text),
        Err(why) => {
            print_each("", &[why]);
            ExitCode::FAILURE
        }
    }
}

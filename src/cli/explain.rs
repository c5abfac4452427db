//! `ringmx explain`: what a client would be answered, and why.

use std::net::IpAddr;
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
    #[arg(long, value_name = "ADDRESS", required = true)]
    rcpt: Vec<String>,
    /// Take the client for one that has proved good.
    #[arg(long)]
    proven: bool,
}

/// `ringmx explain`.
pub fn explain(command: &ExplainCommand) -> ExitCode {
    let checked = check::check(command.config.path());
    print_each("warning: ", &checked.warnings);
    print_each("", &checked.problems);
    let Some(config) = checked.config else { return ExitCode::FAILURE };
    let ExplainCommand { client, ehlo, from, rcpt, proven, .. } = command.clone();
    let supposed = Supposed { client, ehlo, reverse_path: from, recipients: rcpt, is_proven: proven };
    match server::explain(&config, checked.lists, &supposed) {
        Ok(text) => print(&text),
        Err(why) => {
            print_each("", &[why]);
            ExitCode::FAILURE
        }
    }
}

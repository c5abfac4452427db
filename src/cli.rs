//! The command line: what was asked for, and the subcommands that need no server.
//!
//! Results go to standard output, problems and warnings to standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cert;
mod doctor;
mod spool;

pub use self::cert::{CertCommand, cert};
pub use self::doctor::doctor;
pub use self::spool::{SpoolCommand, spool};

use crate::config::{self, Config, SinkKind};
use crate::sink::file_limit;
use crate::sink::volatile;
use crate::{server, tls};

/// A high-throughput inbound SMTP receiver (front-line MX) for Linux on io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringmx", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Receive mail; this is what happens without a subcommand.
    Serve {
        /// The configuration file; without it 127.0.0.1:2525 and a maildir at ./ringmx-data.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Name every problem of a configuration file, and of the file of recipients that it names.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Print the reference of every configuration key; it is itself a configuration.
    Config,
    /// Say what limits this machine as a receiver, worst first, and what cures it. Changes nothing; measures the sink's disk
    /// for about a second with a temporary file.
    Doctor {
        /// The configuration file; without it what `serve` does without one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print the cures only, as a commented shell script.
        #[arg(long)]
        script: bool,
    },
    /// Read a spool, beside a running receiver or without.
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Make a certificate.
    #[command(subcommand)]
    Cert(CertCommand),
}

/// What the command line of this process asks for. Ends the process with a usage text if it makes no sense.
pub fn parse() -> Command {
    Arguments::parse().command.unwrap_or(Command::Serve { config: None })
}

/// `ringmx check FILE`.
pub fn check(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok((config, warnings)) => {
            print_each("warning: ", &warnings);
            print_each("warning: ", &file_limit::notes(&config, file_limit::bytes_max(), false));
            print_each("warning: ", volatile::warning(&config.sink).as_slice());
            match tls::context::Context::open(&config.tls, &config.hostname) {
                Ok((_, notes)) => print_each("warning: ", &notes),
                Err(why) => {
                    print_each("", &[why]);
                    return ExitCode::FAILURE;
                }
            }
            print(&format!("{} is good: {}\n", file.display(), summary(&config)))
        }
        Err(problems) => {
            print_each("", &problems);
            ExitCode::FAILURE
        }
    }
}

/// `ringmx config`.
pub fn reference() -> ExitCode {
    print(&config::reference())
}

/// The configuration that `ringmx serve` runs with; none when it has problems, which were then printed.
pub fn serve_config(file: Option<&Path>) -> Option<Config> {
    let Some(file) = file else { return Some(Config::embedded_default()) };
    match config::load(file) {
        Ok((config, warnings)) => {
            print_each("warning: ", &warnings);
            Some(config)
        }
        Err(problems) => {
            print_each("", &problems);
            None
        }
    }
}

/// `ringmx serve`.
pub fn serve(file: Option<&Path>) -> ExitCode {
    let Some(config) = serve_config(file) else { return ExitCode::FAILURE };
    match server::serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmx: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a configuration comes down to, in one line.
pub fn summary(config: &Config) -> String {
    let addresses: Vec<String> =
        config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    let domains = match config.domains.len() {
        0 => "any domain".to_owned(),
        1 => "1 domain".to_owned(),
        count => format!("{count} domains"),
    };
    let sink = match &config.sink.kind {
        SinkKind::Maildir { path, .. } => format!("maildir at {}", path.display()),
        SinkKind::Spool { path, .. } => format!("spool at {}", path.display()),
        SinkKind::Stdout { .. } => "stdout (not durable)".to_owned(),
        SinkKind::Discard => "discard (not durable)".to_owned(),
    };
    format!(
        "{} on {}, mail for {domains} into {sink}, {} on {}, at most {} MiB of memory for mail",
        config.hostname,
        addresses.join(" and "),
        counted(config.sink.workers, "sink worker"),
        counted(config.shards.len(), "shard"),
        config.mail_memory_max().div_ceil(1 << 20),
    )
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Standard output may be closed early (`ringmx config | head`): that is no error of ours.
fn print(text: &str) -> ExitCode {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            print_each("", &[format!("standard output cannot be written: {error}")]);
            ExitCode::FAILURE
        }
    }
}

fn print_each<T: Display>(before: &str, findings: &[T]) {
    let mut errors = std::io::stderr().lock();
    for finding in findings {
        // Nowhere is left to tell that standard error is closed.
        let _ = writeln!(errors, "{before}{finding}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Option<Command>, clap::Error> {
        Arguments::try_parse_from(["ringmx"].iter().chain(arguments)).map(|arguments| arguments.command)
    }

    #[test]
    fn every_subcommand_is_reached() {
        let serve = |config: Option<&str>| Command::Serve { config: config.map(PathBuf::from) };
        assert_eq!(parsed(&[]).expect("good"), None);
        assert_eq!(parsed(&["serve"]).expect("good"), Some(serve(None)));
        assert_eq!(parsed(&["serve", "--config", "a"]).expect("good"), Some(serve(Some("a"))));
        assert_eq!(parsed(&["check", "a"]).expect("good"), Some(Command::Check { file: "a".into() }));
        assert_eq!(parsed(&["config"]).expect("good"), Some(Command::Config));
        let doctor = Command::Doctor { config: Some("a".into()), script: true };
        assert_eq!(parsed(&["doctor", "--config", "a", "--script"]).expect("good"), Some(doctor));
        let list = SpoolCommand::List { dir: "d".into(), after: None };
        assert_eq!(parsed(&["spool", "list", "d"]).expect("good"), Some(Command::Spool(list)));
        let show = SpoolCommand::Show { dir: "d".into(), id: "i".to_owned(), envelope: false };
        assert_eq!(parsed(&["spool", "show", "d", "i"]).expect("good"), Some(Command::Spool(show)));
        for wrong in [&["check"][..], &["spool"], &["spool", "show", "d"], &["serve", "x"], &["send"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}

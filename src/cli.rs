//! The command line: what was asked for, and the subcommands that need no server.
//!
//! Results go to standard output, problems and warnings to standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind as UsageError};
use clap::{Args, CommandFactory, Parser, Subcommand};

mod cert;
mod doctor;
mod spool;
mod version;

pub use self::cert::{CertCommand, cert};
pub use self::doctor::doctor;
pub use self::spool::{SpoolCommand, spool};
pub use self::version::commit;

use crate::config::{self, Config};
use crate::limits::LAST_WORDS_MAX;
use crate::memory_sum::{MemorySum, Purpose, SocketMemory};
use crate::shutdown::Shutdown;
use crate::{check, log, server};

/// A high-throughput inbound SMTP receiver (front-line MX) for Linux on io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringmx", version = version::short(), long_version = version::long(), about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Receive mail; this is what happens without a subcommand. Without a file on 127.0.0.1:2525, into a
    /// maildir at ./ringmx-data.
    Serve {
        /// With what to serve.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Name every problem of a configuration file, of the files that it names, and of the store. Changes
    /// nothing.
    #[command(arg_required_else_help = true)]
    Check {
        /// What to check.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print the reference of every configuration key; it is itself a configuration.
    Config,
    /// Say what limits this machine as a receiver, worst first, and what cures it. Changes nothing; measures the sink's disk
    /// for about a second with a temporary file. Without a file it looks at what `serve` does without one.
    Doctor {
        /// What the machine is for.
        #[command(flatten)]
        config: ConfigFile,
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

/// The configuration file of a subcommand, in either place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file, wherever it was named; none if it was not.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }
}

/// What the command line of this process asks for. Ends the process with a usage text if it makes no sense.
pub fn parse() -> Command {
    match Arguments::try_parse() {
        Ok(arguments) => arguments.command.unwrap_or(Command::Serve { config: ConfigFile::default() }),
        Err(error) => with_hint(error, std::env::args_os().nth(1)).exit(),
    }
}

/// `ringmx FILE` and `ringmx --config FILE` are told what they lack; any other error is as it was.
fn with_hint(error: clap::Error, first: Option<std::ffi::OsString>) -> clap::Error {
    let Some(first) = first.as_ref().and_then(|first| first.to_str()) else { return error };
    let kind = match error.kind() {
        UsageError::InvalidSubcommand if first.contains(['.', '/']) => UsageError::InvalidSubcommand,
        UsageError::UnknownArgument if first == "-c" || first.starts_with("--config") => {
            UsageError::UnknownArgument
        }
        _ => return error,
    };
    let mut hinted = clap::Error::new(kind).with_cmd(&Arguments::command());
    let (context, shown) = match kind {
        UsageError::InvalidSubcommand => (ContextKind::InvalidSubcommand, first),
        _ => (ContextKind::InvalidArg, first),
    };
    hinted.insert(context, ContextValue::String(shown.to_owned()));
    let hint = "a configuration file follows a subcommand: `ringmx serve FILE`, `ringmx check FILE` or `ringmx doctor FILE`";
    hinted.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    hinted
}

/// `ringmx check FILE`.
pub fn check(file: Option<&Path>) -> ExitCode {
    let checked = check::check(file);
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
    let checked = check::check(file);
    let served = match &checked.config {
        Some(config) => server::serve(config, &checked.warnings, &shutdown),
        None => server::refuse(checked.log_format, &checked.problems, &checked.warnings),
    };
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
    let sink = config.sink.facts().summary();
    // What the kernel allows its sockets makes no difference to these.
    let sum = MemorySum::of(config, SocketMemory::default());
    let memory = |purpose| sum.bytes_for(purpose).div_ceil(1 << 20);
    format!(
        "{} on {}, mail for {domains} into {sink}, {} on {}, at most {} MiB of memory for mail and {} MiB for \
         connections",
        config.hostname,
        addresses.join(" and "),
        counted(config.sink.workers, "sink worker"),
        counted(config.shards.len(), "shard"),
        memory(Purpose::Mail),
        memory(Purpose::Connections),
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
        assert_eq!(parsed(&[]).expect("good"), None);
        assert_eq!(parsed(&["config"]).expect("good"), Some(Command::Config));
        let list = SpoolCommand::List { dir: "d".into(), after: None };
        assert_eq!(parsed(&["spool", "list", "d"]).expect("good"), Some(Command::Spool(list)));
        let show = SpoolCommand::Show { dir: "d".into(), id: "i".to_owned(), envelope: false };
        assert_eq!(parsed(&["spool", "show", "d", "i"]).expect("good"), Some(Command::Spool(show)));
        for wrong in [&["check"][..], &["spool"], &["spool", "show", "d"], &["serve", "x", "y"], &["send"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_configuration_file_is_named_in_either_way_by_every_subcommand_that_takes_one() {
        for name in ["serve", "check", "doctor"] {
            let path = |arguments: &[&str]| match parsed(arguments).expect("good").expect("a subcommand") {
                Command::Serve { config } | Command::Check { config } | Command::Doctor { config, .. } => {
                    config.path().map(Path::to_owned)
                }
                Command::Config | Command::Spool(_) | Command::Cert(_) => None,
            };
            for arguments in
                [&[name, "f"][..], &[name, "-c", "f"], &[name, "--config", "f"], &[name, "--config=f"]]
            {
                assert_eq!(path(arguments), Some(PathBuf::from("f")), "{arguments:?}");
            }
            for both in
                [&[name, "f", "-c", "g"][..], &[name, "--config", "f", "g"], &[name, "-c", "f", "-c", "g"]]
            {
                assert!(parsed(both).is_err(), "{both:?}");
            }
        }
        assert_eq!(parsed(&["serve"]).expect("good"), Some(Command::Serve { config: ConfigFile::default() }));
        let script = parsed(&["doctor", "f", "--script"]).expect("good");
        assert!(matches!(script, Some(Command::Doctor { script: true, .. })));
    }

    #[test]
    fn a_file_without_a_subcommand_is_told_what_it_lacks() {
        let told = |arguments: &[&str]| {
            let error = parsed(arguments).expect_err("no subcommand");
            with_hint(error, Some(arguments[0].into())).to_string()
        };
        for wrong in [
            &["mx.toml"][..],
            &["/etc/mx"],
            &["-c", "mx.toml"],
            &["--config", "mx.toml"],
            &["--config=mx.toml"],
        ] {
            let text = told(wrong);
            assert!(text.contains(wrong[0]) && text.contains("`ringmx serve FILE`"), "{text}");
        }
        assert!(!told(&["sever"]).contains("`ringmx serve FILE`"));
    }
}

//! What the command line asks for.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind as UsageError};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::cert::CertCommand;
use super::config_file::ConfigFile;
use super::explain::ExplainCommand;
use super::queue::QueueCommand;
use super::recipients::RecipientsCommand;
use super::spool::SpoolCommand;
use super::version;

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
        /// Run the forwarder of `[[forward]]`, too, as a process beside this one: it is started again
        /// whenever it ends, and ends with the receiver.
        #[arg(long)]
        with_forward: bool,
    },
    /// Deliver the mail of the spool to the next hops of `[[forward]]`, beside a running receiver or without.
    /// It tries again what a next hop does not take, and keeps what none takes.
    #[command(arg_required_else_help = true)]
    Forward {
        /// With what the receiver runs.
        #[command(flatten)]
        config: ConfigFile,
        /// End when standard input ends, as on SIGTERM.
        #[arg(long, hide = true)]
        ends_with_input: bool,
        /// Start the forwarder, again whenever it has ended, until standard input ends.
        #[arg(long, hide = true, conflicts_with = "ends_with_input")]
        minder: bool,
    },
    /// Look at what the forwarder has not delivered: what waits, and what was given up; or make its journal
    /// anew.
    #[command(subcommand)]
    Queue(QueueCommand),
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
    /// Have the running server read its configuration again, with the files that it names, and the forwarder
    /// after it; say what came of it. What is wrong changes nothing, and the exit code is 1. Without a file
    /// the server of /run/ringmx/control.sock is asked, and no forwarder.
    Reload {
        /// With what the server runs: it is read for the places of the control sockets only.
        #[command(flatten)]
        config: ConfigFile,
        /// Ask the forwarder alone.
        #[arg(long)]
        forwarder: bool,
    },
    /// Say how a running server does: live on a terminal (q quits), once elsewhere. Fails when none answers.
    Status {
        /// With what the server runs: it is read for the places where it can be asked only.
        #[command(flatten)]
        config: ConfigFile,
        /// Ask the forwarder, at the address of `[forward_admin]`.
        #[arg(long)]
        forwarder: bool,
        /// Print what the server says, as JSON (docs/status.md), once.
        #[arg(long)]
        json: bool,
    },
    /// Say what limits this machine as a receiver, worst first, and what cures it. Changes nothing; measures
    /// the sink's disk for about a second with a temporary file. Where mail comes from other machines it asks
    /// the DNS, too, for some seconds at most: whether host name, MX, SPF, DMARC and TLSA fit. Without a file
    /// it looks at what `serve` does without one.
    Doctor {
        /// What the machine is for.
        #[command(flatten)]
        config: ConfigFile,
        /// Print the cures only, as a commented shell script.
        #[arg(long)]
        script: bool,
    },
    /// Prepare files of recipients.
    #[command(subcommand)]
    Recipients(RecipientsCommand),
    /// Say what a client would be answered, and why, check by check: by the configuration, against the live
    /// DNS and the tables on the disk. Changes nothing, and sends nothing but questions: to name servers, to
    /// whom it asks about recipients, and with a message to filters.
    Explain(ExplainCommand),
    /// Read a spool, beside a running receiver or without.
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Make a certificate, or say what DNS should hold of one.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Write the manual pages into a directory.
    Man {
        /// The directory; it is made if there is none.
        dir: PathBuf,
    },
    /// Print what a shell sources to complete our command line.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

impl Command {
    /// What happens without a subcommand.
    fn default_one() -> Self {
        Self::Serve { config: ConfigFile::default(), with_forward: false }
    }
}

/// What the command line of this process asks for. Ends the process with a usage text if it makes no sense.
pub fn parse() -> Command {
    match Arguments::try_parse() {
        Ok(arguments) => arguments.command.unwrap_or_else(Command::default_one),
        Err(error) => with_hint(error, std::env::args_os().nth(1)).exit(),
    }
}

/// The whole command line, for those who describe it.
pub(super) fn command() -> clap::Command {
    Arguments::command()
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
        let compile = |case_sensitive| {
            let (input, output) = ("i".into(), "o".into());
            Some(Command::Recipients(RecipientsCommand::Compile { case_sensitive, input, output }))
        };
        assert_eq!(parsed(&["recipients", "compile", "i", "o"]).expect("good"), compile(false));
        let strictly = ["recipients", "compile", "--case-sensitive", "i", "o"];
        assert_eq!(parsed(&strictly).expect("good"), compile(true));
        for wrong in [&["check"][..], &["spool"], &["spool", "show", "d"], &["serve", "x", "y"], &["send"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_configuration_file_is_named_in_either_way_by_every_subcommand_that_takes_one() {
        for name in ["serve", "check", "doctor", "reload", "status", "forward"] {
            let path = |arguments: &[&str]| match parsed(arguments).expect("good").expect("a subcommand") {
                Command::Serve { config, .. }
                | Command::Check { config }
                | Command::Forward { config, .. }
                | Command::Reload { config, .. }
                | Command::Status { config, .. }
                | Command::Doctor { config, .. } => config.path().map(std::path::Path::to_owned),
                Command::Config
                | Command::Explain(_)
                | Command::Queue(_)
                | Command::Recipients(_)
                | Command::Spool(_)
                | Command::Cert(_)
                | Command::Man { .. }
                | Command::Completion { .. } => None,
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
        assert_eq!(parsed(&["serve"]).expect("good"), Some(Command::default_one()));
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

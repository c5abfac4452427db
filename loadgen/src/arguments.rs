//! The command line.

use std::num::{NonZeroU16, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use crate::verify::VerifyArguments;

/// Sends mail to an SMTP receiver as fast as its replies allow, and measures it.
///
/// Every connection is a closed loop: it sends the next message when the last one was answered. Each thread drives its share of
/// the connections over its own io_uring.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, after_help = EXAMPLES, after_long_help = AFTER)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CommandLine {
    /// Another job than sending mail.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to send; there unless a command is.
    #[command(flatten)]
    pub load: Option<Arguments>,
}

/// What loadgen does besides sending mail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compares a ledger with what is stored: finds lost, altered and duplicated mail by name
    Verify(VerifyArguments),
}

/// What to send, where and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The receiver: a name or an address, and a port
    #[arg(value_name = "HOST:PORT")]
    pub target: String,

    /// Connections held open at a time, over all threads
    #[arg(short, long, value_name = "N", default_value_t = 50, help_heading = "Load")]
    pub connections: usize,

    /// Messages of the whole run [default: 10000, unless --duration is given]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Load")]
    pub messages: Option<u64>,

    /// Begin no message after this time; with --messages, whichever comes first
    #[arg(short, long, value_name = "TIME", value_parser = positive_time, help_heading = "Load")]
    pub duration: Option<Duration>,

    /// Messages of a session, then QUIT and a new connection (1: a connection a message) [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub per_connection: Option<NonZeroU64>,

    /// Send MAIL, RCPT and DATA in one write, where the server offers PIPELINING (RFC 2920)
    #[arg(short, long, help_heading = "Load")]
    pub pipelining: bool,

    /// Octets of a message: header and text, without what transparency adds
    #[arg(short, long, value_name = "SIZE", default_value = "4KiB", help_heading = "Message")]
    pub size: ByteSize,

    /// Recipients of a message
    #[arg(long, value_name = "N", default_value_t = NonZeroU16::MIN, help_heading = "Message")]
    pub recipients: NonZeroU16,

    /// Reverse-path; "" is the null reverse-path
    #[arg(long, value_name = "MAILBOX", default_value = "sender@loadgen.test", help_heading = "Message")]
    pub from: String,

    /// Forward-path; of several recipients the second is local-part+2@domain, and so on
    #[arg(long, value_name = "MAILBOX", default_value = "recipient@example.test", help_heading = "Message")]
    pub to: String,

    /// Threads [default: one a core of --cpus, or 1]
    #[arg(short, long, value_name = "N", help_heading = "This machine")]
    pub threads: Option<NonZeroU16>,

    /// Cores to pin the threads to, one a thread [default: the last ones, from the end]
    #[arg(long, value_name = "CPU,CPU", value_delimiter = ',', help_heading = "This machine")]
    pub cpus: Vec<usize>,

    /// The longest wait for a connection, a reply, or the server to take what is sent
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive_time, help_heading = "This machine")]
    pub timeout: Duration,

    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "This machine")]
    pub json: Option<PathBuf>,

    /// Append to this file what was sent and how it was answered, for `loadgen verify`
    #[arg(long, value_name = "FILE", help_heading = "This machine")]
    pub ledger: Option<PathBuf>,

    /// Allow a target that is not a loopback address
    #[arg(long, help_heading = "This machine")]
    pub i_own_this_host: bool,
}

const EXAMPLES: &str = "Example: loadgen 127.0.0.1:2525 --duration 10s --connections 200 --pipelining";

const AFTER: &str = "\
Sizes are written 4096, 4KiB, 1.5MB; times 500ms, 10s, 2min.

Examples:
  loadgen 127.0.0.1:2525
  loadgen [::1]:2525 --duration 10s --connections 200 --pipelining
  loadgen 127.0.0.1:2525 --messages 5000 --per-connection 1 --size 64KiB --recipients 3
  loadgen 127.0.0.1:2525 --duration 10s --ledger sent.ledger; loadgen verify --ledger sent.ledger --maildir ringmx-data

Exit code: 0 if every reply was as expected and every message begun was accepted (Ctrl-C makes a run shorter, not wrong); 1 if \
not, and then the run has no result; 2 if the arguments make no run.";

/// A time above zero.
fn positive_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("must be longer than nothing".into()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_have_units() {
        let line = ["loadgen", "h:1", "--size", "64KiB", "--duration", "1min", "--cpus", "1,3"];
        let arguments = CommandLine::try_parse_from(line).expect("arguments").load.expect("a load");
        assert_eq!(arguments.size.as_u64(), 65_536);
        assert_eq!(arguments.duration, Some(Duration::from_mins(1)));
        assert_eq!(arguments.cpus, [1, 3]);
    }

    #[test]
    fn verify_takes_one_store_and_no_load() {
        let parse = |line: &str| CommandLine::try_parse_from(line.split(' '));
        let verify = parse("loadgen verify --ledger l --spool s").expect("arguments");
        assert!(matches!(verify.command, Some(Command::Verify(_))) && verify.load.is_none());
        for wrong in [
            "loadgen",
            "loadgen --size 4KiB",
            "loadgen verify --ledger l",
            "loadgen verify --maildir m",
            "loadgen verify --ledger l --maildir m --spool s",
            "loadgen h:1 verify --ledger l --maildir m",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

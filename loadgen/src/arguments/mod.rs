//! The command line. Each subcommand has its arguments in a file; what it does with them stands in a room of
//! its own.

pub mod compare;
pub mod load;
mod times;
pub mod verify;
pub mod zone;

use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use compare::CompareArguments;
use load::LoadArguments;
use verify::VerifyArguments;
use zone::ZoneArguments;

/// Sends mail to an SMTP receiver and measures it: as fast as its replies allow, or with --rate at intended
/// times.
///
/// Without --rate every connection is a closed loop: it sends the next message when the last one was
/// answered. With --rate each message has an intended time, and its latency counts from then. Each thread
/// drives its share of the connections over its own io_uring.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version = version(), after_help = EXAMPLES, after_long_help = AFTER)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CommandLine {
    /// Another job than sending mail.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to send; `None` if there is a command.
    #[command(flatten)]
    pub load: Option<LoadArguments>,
}

/// The version with the commit that it was built from.
fn version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), ringmx::cli::commit()))
}

/// What loadgen does besides sending mail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compares a ledger with what is stored: finds lost, altered and duplicated mail by name
    Verify(VerifyArguments),
    /// Prints reports written by --json side by side, with ratios, and marks what may be noise
    Compare(CompareArguments),
    /// Prints what the DNS has to know of the senders of signed messages (--sign)
    Zone(ZoneArguments),
}

const EXAMPLES: &str = "Example: loadgen 127.0.0.1:2525 --duration 10s --connections 200 --pipelining";

const AFTER: &str = "\
Sizes are written 4096, 4KiB, 1.5MB; times 500ms, 10s, 2min.

Scenarios:
  steady        connections are kept, one message after another
  burst         all connections at once, each with 20 messages; then silence to the end of the second
  churn         a connection for each message
  refused       unknown recipients: RCPT must be refused
  early-talker  EHLO before the greeting: refused, or served all the same
  slowloris     an octet of mail data a second, without end
  huge          messages of 25 MiB; 552 is an answer, too
  abort         closes in the middle of the mail data
  bare-lf       mail data of 1 MiB of nothing but LF: refused, stored, closed
  never-reads   RCPT without end, and no reply is read
  half-data     twenty octets of mail data, then nothing
  idle          connections held open, doing nothing
  bots          sessions of nine hostile kinds (--bots), from many addresses

Examples:
  loadgen 127.0.0.1:2525
  loadgen [::1]:2525 --duration 10s --connections 200 --pipelining
  loadgen 127.0.0.1:2525 --messages 5000 --per-connection 1 --size 64KiB --recipients 3
  loadgen 127.0.0.1:2525 --rate 5000/s --duration 30s --html report.html --fail-if 'p99>5ms'
  loadgen 127.0.0.1:2525 --duration 10s --scenario steady:8,churn:1,abort:1 --pipelining=2
  loadgen localhost:2525 --duration 10s --scenario churn --tls starttls --tls-resume
  loadgen 127.0.0.1:2525 --duration 10s --scenario refused --unknown 'nobody-{}@example.test'
  loadgen 127.0.0.1:2525 --rate 2000/s --duration 30s --beside bots --beside-rate 5000/s --beside-source 127.9.0.0/16
  loadgen 127.0.0.1:2525 --duration 10s --sign rsa-2048:8,ed25519,broken --sign-domains 1000
  loadgen 127.0.0.1:2525 --duration 10s --ledger sent.ledger; loadgen verify --ledger sent.ledger --maildir ringmx-data

Exit code: 0 if every reply was as expected and every message begun was accepted (Ctrl-C makes a run shorter, not wrong); 1 if \
not, and then the run has no result, or if a report cannot be written; 2 if the arguments make no run; 3 if a --fail-if \
failed.";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::size::Size;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_have_units() {
        let line = ["loadgen", "h:1", "--size", "64KiB", "--duration", "1min", "--cpus", "1,3"];
        let arguments = CommandLine::try_parse_from(line).expect("arguments").load.expect("a load");
        assert_eq!(arguments.size, Size::Fixed(65_536));
        assert_eq!(arguments.duration, Some(Duration::from_mins(1)));
        assert_eq!(arguments.cpus, [1, 3]);
    }

    #[test]
    fn verify_takes_one_store_or_several_and_no_load() {
        let parse = |line: &str| CommandLine::try_parse_from(line.split(' '));
        for right in [
            "loadgen verify --ledger l --spool s",
            // What a spool takes while a cluster is away is one store with the stream.
            "loadgen verify --ledger l --spool s --nats nats://h --stream S",
            "loadgen verify --ledger l --maildir m --spool s",
        ] {
            let verify = parse(right).expect(right);
            assert!(matches!(verify.command, Some(Command::Verify(_))) && verify.load.is_none(), "{right}");
        }
        for wrong in [
            "loadgen",
            "loadgen --size 4KiB",
            "loadgen verify --ledger l",
            "loadgen verify --maildir m",
            "loadgen verify --ledger l --nats nats://h",
            "loadgen verify --ledger l --spool s --stream S",
            "loadgen h:1 verify --ledger l --maildir m",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! loadgen: a load generator that measures any SMTP receiver.
//!
//! [`arguments`] become a [`plan`]; [`run`] gives each [`load_thread`] its share of connections and work; a
//! [`connection`] moves octets for one [`client`] after another, which says what the [`scenario`] has it say and sends the
//! [`corpus`], under [`tls`] if that was asked for. What a thread counts lies in its [`tally`]; the sum of all is the [`report`]. What was sent and how it was
//! answered goes into a [`ledger`], and [`verify`] compares that with what is stored.

pub mod arguments;
pub mod checksum;
pub mod client;
pub mod compare;
pub mod connection;
pub mod corpus;
pub mod histogram;
pub mod html;
pub mod ledger;
pub mod load_thread;
pub mod network;
pub mod plan;
pub mod progress;
pub mod rate;
pub mod reply;
pub mod report;
pub mod run;
pub mod samples;
pub mod scenario;
pub mod size;
pub mod tally;
pub mod threshold;
pub mod tls;
pub mod verify;
pub mod work;

use std::process::ExitCode;

use arguments::{Arguments, Command, CommandLine};
use plan::Plan;
use report::Report;

/// The run had no result.
const NO_RESULT: u8 = 1;

/// A threshold of `--fail-if` holds.
const THRESHOLD: u8 = 3;

/// The arguments make no run.
const USAGE: u8 = 2;

/// The whole program behind its arguments.
pub fn main(line: &CommandLine) -> ExitCode {
    match &line.command {
        Some(Command::Verify(arguments)) => verify::main(arguments),
        Some(Command::Compare { a, b }) => compare::main(a, b),
        None => line.load.as_ref().map_or(ExitCode::from(USAGE), run_load),
    }
}

fn run_load(arguments: &Arguments) -> ExitCode {
    let plan = match Plan::new(arguments) {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE, &error.0),
    };
    let outcome = match run::run(&plan) {
        Ok(outcome) => outcome,
        Err(error) => return fail(NO_RESULT, &error.to_string()),
    };
    let report = Report::new(&plan, &outcome);
    print!("{report}");
    if let Some(path) = &arguments.json
        && let Err(error) = std::fs::write(path, report.json())
    {
        return fail(NO_RESULT, &format!("cannot write the report to {}: {error}", path.display()));
    }
    for (path, content) in [
        (&arguments.html, html::page as fn(&Report<'_>) -> String),
        (&arguments.hgrm, |report| report.hgrm()),
    ] {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, content(&report))
        {
            return fail(NO_RESULT, &format!("cannot write the report to {}: {error}", path.display()));
        }
    }
    let broken: Vec<_> = arguments.fail_if.iter().filter(|threshold| threshold.holds(&report)).collect();
    for threshold in &broken {
        eprintln!("loadgen: {} holds", threshold.describe(&report));
    }
    match (report.has_result(), broken.is_empty()) {
        (false, _) => ExitCode::from(NO_RESULT),
        (true, false) => ExitCode::from(THRESHOLD),
        (true, true) => ExitCode::SUCCESS,
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("loadgen: {message}");
    ExitCode::from(code)
}

//! loadgen: a load generator that measures any SMTP receiver.
//!
//! [`arguments`] become a [`plan`]; [`run`] gives each [`load_thread`] its share of connections and work; a
//! [`connection`] moves octets for one [`client`] after another, which says what the [`scenario`] has it say and sends the
//! [`corpus`]. What a thread counts lies in its [`tally`]; the sum of all is the [`report`]. What was sent and how it was
//! answered goes into a [`ledger`], and [`verify`] compares that with what is stored.

pub mod arguments;
pub mod checksum;
pub mod client;
pub mod connection;
pub mod corpus;
pub mod histogram;
pub mod ledger;
pub mod load_thread;
pub mod plan;
pub mod progress;
pub mod reply;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tally;
pub mod verify;

use std::process::ExitCode;

use arguments::{Arguments, Command, CommandLine};
use plan::Plan;
use report::Report;

/// The run had no result.
const NO_RESULT: u8 = 1;

/// The arguments make no run.
const USAGE: u8 = 2;

/// The whole program behind its arguments.
pub fn main(line: &CommandLine) -> ExitCode {
    match &line.command {
        Some(Command::Verify(arguments)) => verify::main(arguments),
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
    if report.has_result() { ExitCode::SUCCESS } else { ExitCode::from(NO_RESULT) }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("loadgen: {message}");
    ExitCode::from(code)
}

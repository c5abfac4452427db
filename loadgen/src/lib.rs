//! loadgen: a load generator that measures any SMTP receiver.
//!
//! [`arguments`] become a [`plan`]; [`run`] gives each [`load_thread`] its share of connections and work; a
//! [`connection`] moves octets for one [`client`] after another, which says what the [`scenario`] has it say and sends the
//! [`corpus`]. What a thread counts lies in its [`tally`]; the sum of all is the [`report`].

pub mod arguments;
pub mod client;
pub mod connection;
pub mod corpus;
pub mod histogram;
pub mod load_thread;
pub mod plan;
pub mod progress;
pub mod reply;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tally;

use std::process::ExitCode;

use arguments::Arguments;
use plan::Plan;
use report::Report;

/// The run had no result.
const NO_RESULT: u8 = 1;

/// The arguments make no run.
const USAGE: u8 = 2;

/// The whole program behind its arguments.
pub fn main(arguments: &Arguments) -> ExitCode {
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

//! loadgen: a load generator that measures any SMTP receiver.
//!
//! [`arguments`] become a [`plan`]; [`run`] gives each [`load_thread`] its share of connections and work; a
//! [`connection`] moves octets for one [`client`] after another, which says what the [`scenario`] has it say and sends the
//! [`corpus`], under [`tls`] if that was asked for. What a thread counts lies in its [`tally`]; the sum of all is the [`report`]. What was sent and how it was
//! answered goes into a [`ledger`], and [`verify`] compares that with what is stored.

pub mod arguments;
pub mod chart;
pub mod checksum;
pub mod client;
pub mod compare;
pub mod connection;
pub mod corpus;
pub mod failures;
pub mod histogram;
pub mod html;
pub mod interval;
pub mod ledger;
pub mod load_thread;
pub mod network;
pub mod output;
pub mod paragraph;
pub mod plan;
pub mod progress;
pub mod provenance;
pub mod rate;
pub mod reply;
pub mod report;
pub mod report_files;
pub mod run;
pub mod samples;
pub mod scenario;
pub mod size;
pub mod tally;
pub mod threshold;
pub mod tls;
pub mod units;
pub mod verify;
pub mod work;

use std::fs::File;
use std::io;
use std::process::ExitCode;

use arguments::{Arguments, Command, CommandLine};
use ledger::writer::Writer;
use plan::Plan;
use provenance::Provenance;
use report::Report;
use report_files::ReportFiles;
use threshold::Verdict;

/// The run had no result, or its report could not be written.
const NO_RESULT: u8 = 1;

/// A threshold of `--fail-if` holds.
const THRESHOLD: u8 = 3;

/// The arguments make no run.
const USAGE: u8 = 2;

/// The whole program behind its arguments.
pub fn main(line: &CommandLine) -> ExitCode {
    match &line.command {
        Some(Command::Verify(arguments)) => verify::main(arguments),
        Some(Command::Compare(arguments)) => compare::main(arguments),
        None => line.load.as_ref().map_or(ExitCode::from(USAGE), run_load),
    }
}

fn run_load(arguments: &Arguments) -> ExitCode {
    let prepared = Plan::new(arguments).map_err(|error| error.0).and_then(|plan| {
        let files = ReportFiles::open(arguments)?;
        let ledger = ledger_of(&plan, &files)?;
        Ok((plan, files, ledger))
    });
    let (plan, mut files, ledger) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return fail(USAGE, &error),
    };
    let provenance = Provenance::now();
    let outcome = match run::run(&plan, ledger) {
        Ok(outcome) => outcome,
        Err(error) => return fail(NO_RESULT, &error.to_string()),
    };
    let report =
        Report { plan: &plan, outcome: &outcome, provenance: &provenance, thresholds: &arguments.fail_if };
    // Files first: a reader of standard output may take its time.
    let mut errors = files.write(&report);
    errors.extend(output::print(&report.to_string()).err());
    for error in &errors {
        output::complain(error);
    }
    let failed = report.judgements().iter().any(|judgement| judgement.verdict == Verdict::Failed);
    match (report.has_result() && errors.is_empty(), failed) {
        (false, _) => ExitCode::from(NO_RESULT),
        (true, true) => ExitCode::from(THRESHOLD),
        (true, false) => ExitCode::SUCCESS,
    }
}

fn ledger_of(plan: &Plan, files: &ReportFiles) -> Result<Option<Writer>, String> {
    let writer = |file: io::Result<File>| {
        file.and_then(|file| Writer::new(file, plan.corpus, plan.recipients, plan.threads.len()))
    };
    let ledger = files.ledger().map(writer).transpose();
    ledger.map_err(|error| format!("--ledger cannot be appended to: {error}"))
}

fn fail(code: u8, message: &str) -> ExitCode {
    output::complain(message);
    ExitCode::from(code)
}

//! The whole program, once its arguments were read: which command runs, and the exit code.

use std::fs::File;
use std::io;
use std::process::ExitCode;

use crate::arguments::load::LoadArguments;
use crate::arguments::zone::ZoneArguments;
use crate::arguments::{Command, CommandLine};
use crate::ledger::writer::Writer;
use crate::plan::Plan;
use crate::provenance::Provenance;
use crate::report::Report;
use crate::report::files::ReportFiles;
use crate::report::judgement::{Standing, judgements};
use crate::senders::zone;
use crate::{compare, output, run, verify};

/// The run had no result, or its report could not be written.
const NO_RESULT: u8 = 1;

/// A threshold of `--fail-if` holds.
const THRESHOLD: u8 = 3;

/// The arguments make no run.
const USAGE: u8 = 2;

/// Does what the command line says.
pub fn main(line: &CommandLine) -> ExitCode {
    match &line.command {
        Some(Command::Verify(arguments)) => verify::main(arguments),
        Some(Command::Compare(arguments)) => compare::main(arguments),
        Some(Command::Zone(arguments)) => print_zone(arguments),
        None => line.load.as_ref().map_or(ExitCode::from(USAGE), run_load),
    }
}

fn print_zone(arguments: &ZoneArguments) -> ExitCode {
    let domains = usize::try_from(arguments.sign_domains).unwrap_or(usize::MAX);
    match output::print(&zone::text(&arguments.sign, domains)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(NO_RESULT, &error),
    }
}

fn run_load(arguments: &LoadArguments) -> ExitCode {
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
    let failed = judgements(&report).iter().any(|judgement| judgement.standing == Standing::Failed);
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

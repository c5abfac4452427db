//! `loadgen verify`: compares a ledger with what a receiver has stored.
//!
//! A reader of a store (`maildir`, `spool`, `nats`) hands each stored copy to the `findings`; the `verdict`
//! says what is wrong by name. It knows three promises (lost, altered, unclean) and one courtesy
//! (duplicated), and keeps the classes of the ledger apart.

mod findings;
mod maildir;
mod nats;
mod results;
mod spool;
mod table;
mod verdict;

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use crate::arguments::verify::{StoreArguments, VerifyArguments};
use crate::ledger::reader::Ledger;
use crate::output;
use findings::Findings;
use verdict::Verdict;

/// The store does not keep the promise.
const BROKEN_PROMISE: u8 = 1;

/// There is no verdict.
const CANNOT_TELL: u8 = 2;

/// The whole subcommand.
pub fn main(arguments: &VerifyArguments) -> ExitCode {
    match verify(arguments) {
        Ok(verdict) => {
            if let Err(error) = output::print(&verdict.to_string()) {
                output::complain(error);
                return ExitCode::from(CANNOT_TELL);
            }
            let duplicated = arguments.no_duplicates && verdict.duplicated.count > 0;
            let forged = arguments.no_forged_results && verdict.forged.count > 0;
            if verdict.holds() && !duplicated && !forged && verdict.misjudged.count == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(BROKEN_PROMISE)
            }
        }
        Err(why) => {
            output::show(&format!("loadgen verify: {why}\n"));
            ExitCode::from(CANNOT_TELL)
        }
    }
}

fn verify(arguments: &VerifyArguments) -> Result<Verdict, String> {
    let path = arguments.ledger.display();
    let file =
        File::open(&arguments.ledger).map_err(|error| format!("opening the ledger {path}: {error}"))?;
    let ledger = Ledger::read(BufReader::new(file))
        .map_err(|error| format!("reading the ledger {path}: {error}"))?
        .map_err(|bad| format!("the ledger {path} is damaged, {bad}"))?;
    if ledger.messages.is_empty() {
        return Err(format!("the ledger {path} has no message"));
    }
    let mut findings = Findings::new(ledger, arguments.results.clone());
    let StoreArguments { maildir, spool, nats } = &arguments.store;
    if let Some(root) = maildir {
        maildir::read(root, &mut findings)?;
    }
    if let Some(root) = spool {
        spool::read(root, &mut findings)?;
    }
    if let Some((url, stream)) = nats.as_deref().zip(arguments.stream.as_deref()) {
        nats::read(url, stream, &mut findings)?;
    }
    Ok(findings.verdict())
}

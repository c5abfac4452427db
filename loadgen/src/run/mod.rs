//! Starts the load threads, waits for them while it shows the progress, and adds up what they counted.

mod class;
mod machine_error;
mod progress;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ledger::writer::{WRITE_PERIOD, Writer};
use crate::load_thread::counters::{Counters, Sample};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::stop::Stop;
use class::Class;
pub use machine_error::MachineError;
use progress::Progress;

/// Runs the plan and what runs beside it, and keeps the ledger if there is one.
pub fn run(plan: &Plan, mut ledger: Option<Writer>) -> Result<Outcome, MachineError> {
    let beside = plan.beside.as_deref();
    raise_descriptor_limit(plan.connections() + beside.map_or(0, |beside| beside.plan.connections()))?;
    let signals = Stop::on_signals().map_err(|error| MachineError(format!("handling signals: {error}")))?;
    // What runs beside ends after the first class, and not before: its end is no part of the measurement.
    let end_of_beside = Stop::default();
    let counters = counters_of(plan);
    let counters_beside = beside.map(|beside| counters_of(&beside.plan)).unwrap_or_default();
    let mut ledger_error = None;
    let (first, second) = thread::scope(|scope| {
        let second = match beside {
            Some(beside) => {
                let stops = (&end_of_beside, &signals);
                let class = Class::start(scope, &beside.plan, &counters_beside, stops, |_| None)?;
                wait(beside.lead, &signals);
                Some(class)
            }
            None => None,
        };
        let basket = |index| ledger.as_ref().and_then(|ledger| ledger.basket(index));
        let first = Class::start(scope, plan, &counters, (&signals, &signals), basket).inspect_err(|_| {
            end_of_beside.ask();
        })?;
        ledger_error = attend(plan, &first, &counters, ledger.as_mut(), &signals);
        end_of_beside.ask();
        let first = first.join();
        Ok((first?, second.map(Class::join).transpose()?))
    })?;
    let mut outcome = Outcome { interrupted: signals.is_asked(), beside: second.map(Box::new), ..first };
    outcome.interrupted &= outcome.tally.unsupported.is_none() && ledger_error.is_none();
    // What was measured is reported all the same. But without its ledger the run is not what was asked for.
    if let Some(error) = ledger_error {
        outcome.tally.failures.add(|| format!("writing the ledger: {error}"));
    }
    Ok(outcome)
}

fn counters_of(plan: &Plan) -> Vec<Counters> {
    plan.threads.iter().map(|_| Counters::default()).collect()
}

/// Lets time pass, unless the run is to end.
fn wait(time: Duration, signals: &Stop) {
    let until = Instant::now() + time;
    while !signals.is_asked() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::park_timeout(left.min(Progress::PERIOD));
    }
}

/// While the threads run: shows the progress, and writes the ledger. Gives why the ledger could not be
/// written, after which the run is stopped.
fn attend(
    plan: &Plan,
    class: &Class<'_>,
    counters: &[Counters],
    mut ledger: Option<&mut Writer>,
    signals: &Stop,
) -> Option<io::Error> {
    let period = if ledger.is_some() { WRITE_PERIOD } else { Progress::PERIOD };
    let mut progress = Progress::new(plan);
    let mut ledger_error = None;
    let started = Instant::now();
    let mut draw_at = started;
    loop {
        let over = class.is_finished();
        let now = Instant::now();
        // Also at the end: it says what the server does not offer.
        if over || now >= draw_at {
            draw_at = now + Progress::PERIOD;
            progress.draw(counters, Sample::take(counters, now - started));
        }
        // Nothing is written after a write that failed: it may have left a part of a line.
        if let Some(ledger) = ledger.as_mut().filter(|_| ledger_error.is_none())
            && let Err(error) = ledger.write()
        {
            signals.ask();
            ledger_error = Some(error);
        }
        if over {
            break;
        }
        thread::park_timeout(period);
    }
    progress.clear();
    ledger_error
}

/// Every connection is a descriptor; the soft limit is often 1024.
fn raise_descriptor_limit(connections: usize) -> Result<(), MachineError> {
    /// Rings, standard streams, a report, and sockets whose close is under way.
    const OTHERS: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let needed = connections as u64 + OTHERS;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum }).map_err(|error| {
        MachineError(format!("{connections} connections need {needed} descriptors (ulimit -n): {error}"))
    })
}

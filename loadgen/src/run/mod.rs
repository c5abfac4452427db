//! Starts the load threads, waits for them while it shows the progress, and adds up what they counted.

mod progress;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use ringmx::buffer::Pool;
use ringmx::ring::kernel::KernelRing;
use ringmx::ring::probe;
use ringmx::shard::affinity::pin_to;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::ledger::notes::{Basket, Notes};
use crate::ledger::writer::{WRITE_PERIOD, Writer};
use crate::load_thread::LoadThread;
use crate::load_thread::counters::{Counters, Sample};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::plan::shares::Share;
use crate::stop::Stop;
use crate::tally::Tally;
use progress::Progress;

/// This machine does not let the run happen, or stopped it.
#[derive(Debug)]
pub struct MachineError(String);

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MachineError {}

/// Runs the plan, and keeps the ledger if there is one.
pub fn run(plan: &Plan, mut ledger: Option<Writer>) -> Result<Outcome, MachineError> {
    raise_descriptor_limit(plan.connections())?;
    let signals = Stop::on_signals().map_err(|error| MachineError(format!("handling signals: {error}")))?;
    let counters: Vec<Counters> = plan.threads.iter().map(|_| Counters::default()).collect();
    let mut ledger_error = None;
    let main = thread::current();
    let started = Instant::now();
    let results: Vec<Result<(Tally, Duration), MachineError>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, (share, counters)) in plan.threads.iter().zip(&counters).enumerate() {
            let basket = ledger.as_ref().and_then(|ledger| ledger.basket(index));
            let (main, stop) = (main.clone(), signals.clone());
            let body = move || {
                let result = load(plan, share, counters, &stop, basket);
                if result.is_err() {
                    stop.ask();
                }
                main.unpark();
                result
            };
            let named = thread::Builder::new().name(format!("load-{}", share.cpu));
            let thread = named.spawn_scoped(scope, body).map_err(|error| {
                signals.ask();
                MachineError(format!("starting a thread: {error}"))
            })?;
            threads.push(thread);
        }
        ledger_error = attend(plan, &threads, &counters, ledger.as_mut(), &signals);
        let gone = |_| Err(MachineError("a load thread panicked".into()));
        Ok(threads.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect())
    })?;
    let mut outcome = Outcome {
        tally: Tally::default(),
        elapsed: Duration::ZERO,
        cpu: Duration::ZERO,
        interrupted: signals.is_asked(),
    };
    for result in results {
        let (tally, cpu) = result?;
        outcome.tally.merge(&tally);
        outcome.cpu += cpu;
    }
    // A run without accepted mail (refusals, idle connections) has no better end than its own.
    let last = outcome.tally.last_accepted.unwrap_or_else(Instant::now);
    outcome.elapsed = last - started;
    outcome.interrupted &= outcome.tally.unsupported.is_none() && ledger_error.is_none();
    // What was measured is reported all the same. But without its ledger the run is not what was asked for.
    if let Some(error) = ledger_error {
        outcome.tally.failures.add(|| format!("writing the ledger: {error}"));
    }
    Ok(outcome)
}

/// While the threads run: shows the progress, and writes the ledger. Gives why the ledger could not be
/// written, after which the run is stopped.
fn attend<T>(
    plan: &Plan,
    threads: &[ScopedJoinHandle<'_, T>],
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
        let over = threads.iter().all(ScopedJoinHandle::is_finished);
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

/// A thread's whole life. Also gives the CPU time that its load took.
fn load(
    plan: &Plan,
    share: &Share,
    counters: &Counters,
    stop: &Stop,
    basket: Option<Basket>,
) -> Result<(Tally, Duration), MachineError> {
    /// A reply line is at most 512 octets (RFC 5321 §4.5.3.1.5); a longer reply comes in several buffers.
    const BUFFER_BYTES: usize = 1024;
    /// The server's part of a TLS handshake takes one or two.
    const BUFFER_BYTES_TLS: usize = 4096;
    /// Fewer buffers than connections would do; this many stay in the first-level cache.
    const BUFFERS_MAX: usize = 256;
    const ENTRIES_MIN: usize = 64;
    const ENTRIES_MAX: usize = 4096;
    let cpu = share.cpu;
    pin_to(cpu).map_err(|error| MachineError(format!("pinning a thread to core {cpu}: {error}")))?;
    let buffers = (2 * share.connections).clamp(2, BUFFERS_MAX);
    let bytes = if plan.tls.is_some() { BUFFER_BYTES_TLS } else { BUFFER_BYTES };
    let pool =
        Pool::new(buffers, bytes, 0).map_err(|error| MachineError(format!("mapping buffers: {error}")))?;
    // A connection has a send and a receive to submit in one turn.
    let entries = (2 * share.connections).next_power_of_two().clamp(ENTRIES_MIN, ENTRIES_MAX);
    let ring = KernelRing::for_client(u32::try_from(entries).unwrap_or(u32::MAX), Arc::clone(pool.arena()))
        .map_err(|failed| MachineError(probe::explain(&failed).to_string()))?;
    let thread = LoadThread::new(plan, share, ring, pool, Notes::new(basket));
    let before = cpu_time();
    let tally =
        thread.run(counters, stop).map_err(|error| MachineError(format!("io_uring_enter: {error}")))?;
    Ok((tally, cpu_time().saturating_sub(before)))
}

/// CPU time of the calling thread.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
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

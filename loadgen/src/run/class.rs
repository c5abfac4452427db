//! The threads of one class of sessions: started, and added up at their end.

use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use ringmx::buffer::Pool;
use ringmx::ring::kernel::KernelRing;
use ringmx::ring::probe;
use ringmx::shard::affinity::pin_to;
use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};

use super::machine_error::MachineError;
use crate::ledger::notes::{Basket, Notes};
use crate::load_thread::LoadThread;
use crate::load_thread::bots::BotThread;
use crate::load_thread::counters::Counters;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::plan::shares::Share;
use crate::stop::Stop;
use crate::tally::Tally;

/// How much less urgent the threads are that run beside others (nice(2)): the most that there is. They may
/// share a core with those whose latencies are measured, and must not make them wait.
const NICE_BESIDE: i32 = 19;

/// What a load thread gives at its end.
struct Loaded {
    tally: Tally,
    /// CPU time that its load took.
    cpu: Duration,
    ended: Instant,
}

/// The running threads of a plan.
pub struct Class<'scope> {
    threads: Vec<ScopedJoinHandle<'scope, Result<Loaded, MachineError>>>,
    started: Instant,
    /// Before the open loop began.
    settle: Duration,
}

impl<'scope> Class<'scope> {
    /// Starts the threads of `plan`. They end when `stop` is asked for. One that cannot go on asks `signals`
    /// for the end of all classes, and each wakes the calling thread at its end. `basket` gives that of the
    /// ledger.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        plan: &'env Plan,
        counters: &'env [Counters],
        (stop, signals): (&Stop, &Stop),
        mut basket: impl FnMut(usize) -> Option<Basket>,
    ) -> Result<Self, MachineError> {
        let started = Instant::now();
        let mut threads = Vec::new();
        for (index, (share, counters)) in plan.threads.iter().zip(counters).enumerate() {
            let (main, of_thread, all) = (thread::current(), stop.clone(), signals.clone());
            let basket = basket(index);
            let body = move || {
                let result = load(plan, share, counters, &of_thread, basket);
                if result.is_err() {
                    all.ask();
                }
                main.unpark();
                result
            };
            let named = thread::Builder::new().name(format!("load-{}", share.cpu));
            let thread = named.spawn_scoped(scope, body).map_err(|error| {
                stop.ask();
                signals.ask();
                MachineError(format!("starting a thread: {error}"))
            })?;
            threads.push(thread);
        }
        Ok(Self { threads, started, settle: plan.settle })
    }

    /// Whether all its threads have ended.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(ScopedJoinHandle::is_finished)
    }

    /// Waits for its threads, and adds up what they counted.
    pub fn join(self) -> Result<Outcome, MachineError> {
        let (mut tally, mut cpu, mut ended) = (Tally::default(), Duration::ZERO, self.started);
        let gone = |_| Err(MachineError("a load thread panicked".into()));
        let results: Vec<_> =
            self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect();
        for result in results {
            let loaded = result?;
            tally.merge(&loaded.tally);
            cpu += loaded.cpu;
            ended = ended.max(loaded.ended);
        }
        // A run without accepted mail (refused, idle connections, bots) has no better end than its own.
        let elapsed =
            tally.last_accepted.unwrap_or(ended).saturating_duration_since(self.started + self.settle);
        Ok(Outcome { tally, elapsed, cpu, interrupted: false, beside: None })
    }
}

/// A thread's whole life.
fn load(
    plan: &Plan,
    share: &Share,
    counters: &Counters,
    stop: &Stop,
    basket: Option<Basket>,
) -> Result<Loaded, MachineError> {
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
    if plan.is_beside {
        // Anybody may be less urgent; where it fails all the same the report's latencies are worse, not
        // wrong.
        let _ = setpriority_process(None, NICE_BESIDE);
    }
    let buffers = (2 * share.connections).clamp(2, BUFFERS_MAX);
    let bytes = if plan.tls.is_some() { BUFFER_BYTES_TLS } else { BUFFER_BYTES };
    let pool =
        Pool::new(buffers, bytes, 0).map_err(|error| MachineError(format!("mapping buffers: {error}")))?;
    // A connection has a send and a receive to submit in one turn.
    let entries = (2 * share.connections).next_power_of_two().clamp(ENTRIES_MIN, ENTRIES_MAX);
    let ring = KernelRing::for_client(u32::try_from(entries).unwrap_or(u32::MAX), Arc::clone(pool.arena()))
        .map_err(|failed| MachineError(probe::explain(&failed).to_string()))?;
    let before = cpu_time();
    let tally = match plan.bots {
        Some(bots) => BotThread::new(plan, bots, share, ring, pool).run(counters, stop),
        None => LoadThread::new(plan, share, ring, pool, Notes::new(basket)).run(counters, stop),
    };
    let tally = tally.map_err(|error| MachineError(format!("io_uring_enter: {error}")))?;
    Ok(Loaded { tally, cpu: cpu_time().saturating_sub(before), ended: Instant::now() })
}

/// CPU time of the calling thread.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

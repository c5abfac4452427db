//! What the main thread may see of load threads while they run, and the progress that it shows on a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::Plan;
use crate::tally::Tally;

/// Counts of one load thread, written by it alone. A pair of cache lines of its own, for processors fetch two.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    accepted: AtomicU64,
    started: AtomicU64,
    done: AtomicU64,
    connections: AtomicU64,
    failures: AtomicU64,
    latency_sum: AtomicU64,
    /// The longest since the main thread last looked, which sets it to 0.
    latency_max: AtomicU64,
    pipelining_missing: AtomicBool,
}

/// What all threads had counted at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Since the start of the run.
    pub at: Duration,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages that ended as expected.
    pub done: u64,
    /// Messages begun and not ended.
    pub in_flight: u64,
    /// Connections made.
    pub connections: u64,
    /// Failures.
    pub failures: u64,
    /// Sum of all latencies, in microseconds.
    pub latency_sum: u64,
    /// The longest latency since the sample before, in microseconds.
    pub latency_max: u64,
}

impl Sample {
    /// Of these threads. Takes their longest latencies.
    pub fn take(threads: &[Counters], at: Duration) -> Self {
        let sum = |count: fn(&Counters) -> &AtomicU64| -> u64 {
            threads.iter().map(|thread| count(thread).load(Ordering::Relaxed)).sum()
        };
        let done = sum(|counters| &counters.done);
        Self {
            at,
            accepted: sum(|counters| &counters.accepted),
            done,
            in_flight: sum(|counters| &counters.started).saturating_sub(done),
            connections: sum(|counters| &counters.connections),
            failures: sum(|counters| &counters.failures),
            latency_sum: sum(|counters| &counters.latency_sum),
            latency_max: threads
                .iter()
                .map(|thread| thread.latency_max.swap(0, Ordering::Relaxed))
                .max()
                .unwrap_or(0),
        }
    }
}

/// Samples of a run, evenly apart. When there are many, every other one goes.
#[derive(Debug)]
pub struct Series {
    /// In order of time.
    pub samples: Vec<Sample>,
    period: Duration,
}

impl Default for Series {
    fn default() -> Self {
        Self { samples: vec![Sample::default()], period: Progress::PERIOD }
    }
}

impl Series {
    /// `samples.len() <= SAMPLES_MAX`
    const SAMPLES_MAX: usize = 600;

    /// Whether the next one is due.
    pub fn is_due(&self, at: Duration) -> bool {
        self.samples.last().is_none_or(|last| at >= last.at + self.period)
    }

    /// Adds one.
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() > Self::SAMPLES_MAX {
            self.period *= 2;
            let pairs = self.samples[1..].chunks(2).map(|pair| {
                let longest = pair.iter().map(|sample| sample.latency_max).max().unwrap_or(0);
                Sample { latency_max: longest, ..pair[pair.len() - 1] }
            });
            self.samples = std::iter::once(self.samples[0]).chain(pairs).collect();
        }
    }
}

impl Counters {
    /// Shows the thread's counts to the main thread.
    pub fn show(&self, tally: &mut Tally) {
        self.started.store(tally.started, Ordering::Relaxed);
        self.done.store(tally.done(), Ordering::Relaxed);
        self.connections.store(tally.connections, Ordering::Relaxed);
        self.latency_sum.store(tally.latency_sum, Ordering::Relaxed);
        let longest = std::mem::take(&mut tally.latency_max);
        // Read first: a turn rarely has a new one, and a locked operation each turn is not free.
        if longest > self.latency_max.load(Ordering::Relaxed) {
            self.latency_max.fetch_max(longest, Ordering::Relaxed);
        }
        self.accepted.store(tally.accepted, Ordering::Relaxed);
        self.failures.store(tally.failures.count, Ordering::Relaxed);
        if tally.pipelining_missing {
            self.pipelining_missing.store(true, Ordering::Relaxed);
        }
    }
}

/// Set by signals (and by a thread that cannot go on); read by load threads.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ctrl-C and SIGTERM ask for the stop; the second one ends the process.
    pub fn on_signals() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let this = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset and sets it, the second one finds it set.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&this.0))?;
            signal_hook::flag::register(signal, Arc::clone(&this.0))?;
        }
        Ok(this)
    }

    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Asks for it on behalf of a thread that found the run to make no sense.
    pub fn ask_all_threads(&self) {
        self.ask();
    }

    /// Whether it is asked for.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A line on the terminal. Nothing is drawn when standard error is something else.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    bounded: bool,
    told_pipelining: bool,
    /// What is shown.
    shown: Sample,
}

impl Progress {
    /// How often it is drawn.
    pub const PERIOD: Duration = Duration::from_millis(100);

    /// For a run of this plan.
    pub fn new(plan: &Plan) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = "{bar:24} {percent:>3} %  {msg}";
        let bounded = plan.messages.is_some();
        let length = plan.messages.unwrap_or_else(|| millis(plan.duration));
        let style = ProgressStyle::with_template(template).expect("a constant");
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        Self { bar, bounded, told_pipelining: false, shown: Sample::default() }
    }

    /// Shows where the threads are.
    pub fn draw(&mut self, threads: &[Counters], sample: Sample) {
        self.bar.set_position(if self.bounded { sample.done } else { millis(sample.at) });
        let (before, since) = (self.shown, (sample.at.saturating_sub(self.shown.at)).as_secs_f64());
        let accepted = sample.accepted - before.accepted;
        let rate = accepted as f64 / since.max(f64::EPSILON);
        let mean = (sample.latency_sum - before.latency_sum) as f64 / accepted.max(1) as f64 / 1e3;
        let longest = sample.latency_max as f64 / 1e3;
        self.bar.set_message(format!(
            "{rate:.0}/s  {} in flight  {} errors  latency {mean:.1} ms, at most {longest:.1} ms",
            sample.in_flight, sample.failures
        ));
        self.shown = sample;
        let missing = threads.iter().any(|thread| thread.pipelining_missing.load(Ordering::Relaxed));
        if missing && !self.told_pipelining {
            self.told_pipelining = true;
            self.bar.suspend(|| eprintln!("loadgen: the server does not offer PIPELINING: going on without"));
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

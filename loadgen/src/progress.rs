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
    failures: AtomicU64,
    pipelining_missing: AtomicBool,
}

impl Counters {
    /// Shows the thread's counts to the main thread.
    pub fn show(&self, tally: &Tally) {
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
        let (length, template) = match (plan.duration, plan.messages) {
            (None, Some(messages)) => (messages, "{bar:30} {percent:>3} %  {msg}"),
            (Some(duration), _) => (millis(duration), "{bar:30} {percent:>3} %  {msg}"),
            (None, None) => (0, "{msg}"),
        };
        let style = ProgressStyle::with_template(template).expect("a constant");
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        Self { bar, bounded: plan.duration.is_none(), told_pipelining: false }
    }

    /// Shows where the threads are.
    pub fn draw(&mut self, threads: &[Counters]) {
        let sum = |count: fn(&Counters) -> &AtomicU64| -> u64 {
            threads.iter().map(|thread| count(thread).load(Ordering::Relaxed)).sum()
        };
        let accepted = sum(|counters| &counters.accepted);
        let failures = sum(|counters| &counters.failures);
        let elapsed = self.bar.elapsed();
        self.bar.set_position(if self.bounded { accepted } else { millis(elapsed) });
        let rate = accepted as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        self.bar.set_message(format!("{accepted} accepted  {rate:.0}/s  {failures} failures"));
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

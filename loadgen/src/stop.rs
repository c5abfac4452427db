//! The request that a run ends: by a signal, or by a thread that cannot go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by signals (and by a thread that cannot go on); read by load threads.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ctrl-C and SIGTERM ask for the stop; the second one ends the process. A file that may not grow
    /// (`ulimit -f`) ends nothing: writing to it fails, and that is reported.
    pub fn on_signals() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
        let this = Self::default();
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
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

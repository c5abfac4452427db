//! Whether another program is up. One that is down is tried again until it answers, and nobody waits for it
//! meanwhile.
//!
//! One that answers when it is tried, and hangs over the next message as over the one before, is tried ever
//! later: 2, 4, 8 … 64 seconds after it hung, until a message goes well.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::caught::caught;
use crate::metrics::StationMetrics;

/// One that is down is tried again so often.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// After so many times in a row that it hung it is not tried any later than after one time less.
const HANGS_MAX: u32 = 6;

/// See the module.
pub(super) struct Standing {
    is_down: Cell<bool>,
    hangs: Cell<Hangs>,
    probe_every: Duration,
    metrics: Arc<StationMetrics>,
}

/// Times in a row that it answered when it was tried, and hung over a message then.
#[derive(Debug, Clone, Copy, Default)]
struct Hangs(u32);

impl Hangs {
    /// One more. So long it is not tried then: the first time may be because it stood still, as a whole.
    fn again(&mut self) -> Duration {
        let before = self.0;
        self.0 = (before + 1).min(HANGS_MAX);
        if before == 0 { Duration::ZERO } else { Duration::from_secs(1 << before) }
    }
}

impl Standing {
    /// Taken to be up.
    pub(super) fn new(metrics: &Arc<StationMetrics>) -> Rc<Self> {
        let (is_down, hangs) = (Cell::new(false), Cell::default());
        Rc::new(Self { is_down, hangs, probe_every: PROBE_EVERY, metrics: Arc::clone(metrics) })
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down.get()
    }

    /// A message went well.
    pub(super) fn note_well(&self) {
        self.hangs.set(Hangs::default());
    }

    /// It is down from now on, until a probe says yes. `hangs`: it did not answer in time.
    pub(super) fn note_down<F: Future<Output = bool> + 'static>(
        self: &Rc<Self>,
        hangs: bool,
        mut probe: impl FnMut() -> F + 'static,
    ) {
        if self.is_down.replace(true) {
            return;
        }
        let mut so_far = self.hangs.get();
        let rest = if hangs { so_far.again() } else { Duration::ZERO };
        self.hangs.set(so_far);
        self.metrics.down.add(1);
        let standing = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(rest).await;
            // What panics has not said yes, and is tried again like any other.
            while caught(probe()).await != Some(true) {
                tokio::time::sleep(standing.probe_every).await;
            }
            standing.is_down.set(false);
            let down = &standing.metrics.down;
            down.set(down.value().saturating_sub(1));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_again_and_again_is_tried_ever_later() {
        let mut hangs = Hangs::default();
        let seconds: Vec<_> = (0..9).map(|_| hangs.again().as_secs()).collect();
        assert_eq!(seconds, [0, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn a_probe_that_fails_or_panics_is_made_again_and_one_trouble_at_a_time_is_noted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let standing = Standing::new(&Arc::default());
            let standing = Rc::new(Standing {
                probe_every: Duration::from_millis(1),
                ..Rc::try_unwrap(standing).ok().expect("one")
            });
            let probes = Rc::new(Cell::new(0));
            let count = Rc::clone(&probes);
            standing.note_down(true, move || {
                let number = count.replace(count.get() + 1);
                async move {
                    assert!(number != 1, "as a test wants it");
                    number == 3
                }
            });
            standing.note_down(true, || async { panic!("nobody asks twice at a time") });
            assert_eq!(standing.metrics.down.value(), 1);
            while standing.is_down() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!((probes.get(), standing.metrics.down.value()), (4, 0));
            assert_eq!(standing.hangs.get().again(), Duration::from_secs(2), "it has hung once");
            standing.note_well();
            assert_eq!(standing.hangs.get().again(), Duration::ZERO);
        });
    }
}
